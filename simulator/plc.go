package simulator

import (
	"errors"
	"math"
)

// stepAborted is what plc.step shows while an aborted program vents.
const stepAborted = 99

// stage is one stretch of a program.
type stage struct {
	step   float64 // what plc.step shows
	point  float64 // what plc.point shows
	hold   float64 // s
	record float64 // s before its end in which plc.record is 1
	enter  func()
	run    func(left float64) // at every scan; may be nil
}

// machine is what a program drives.
type machine interface {
	program() []stage // of one complete test
	safe()            // puts every output where the rig empties and is harmless
	release()         // puts every output at rest once it has emptied
	venting() float64 // how long emptying takes, s
}

// A plc leads a rig through its program: a rising edge of plc.start starts it, a rising edge of plc.abort vents the rig
// at once and ends the program. While it runs it owns the outputs. It has transmitters of its own, which are exact.
//
// It also guards the rig against software that has died: once host.heartbeat has changed, host.timeout seconds without
// a further change do what an abort does.
type plc struct {
	m    machine
	dt   float64
	auto bool
	rest float64 // s between programs when auto

	stages  []stage
	at      int
	left    float64
	running bool
	done    bool
	aborted bool
	present bool
	idle    float64
	runs    float64
	start   float64
	abort   float64
	called  bool
	halt    bool
	beats   float64
	beating float64

	host        float64
	hostTimeout float64
	hostLeft    float64
	hostSeen    bool
}

// errLed tells why an output does not obey.
var errLed = errors.New("the PLC runs its program and owns the outputs: wait for plc.done or set plc.abort")

func newPLC(s *setup, m machine) *plc {
	c := &plc{
		m: m, dt: s.plant.dt.Seconds(),
		auto:        s.fixed("plc.auto", "1", 0, 0, 1, "1: the PLC starts by itself, again and again") == 1,
		rest:        s.fixed("plc.rest", "s", 5, 0, 86400, "rest before each start with plc.auto"),
		present:     s.fixed("dut.fitted", "1", 1, 0, 1, "1: there is a test item, without one no program starts") == 1,
		hostTimeout: s.fixed("host.timeout", "s", 0, 0, 3600, "silence of host.heartbeat that puts the rig safe, 0 for ever"),
	}
	position := s.fixed("dut.place", "1", 1, 1, 100, "number of the test item's position")
	bit := func(on *bool) func() float64 {
		return func() float64 { return digit(*on) }
	}
	s.commanded("plc.start", "1", "a rising edge starts the program", 1,
		func() float64 { return c.start }, func(v float64) error {
			c.called = c.called || (v >= 0.5 && c.start < 0.5)
			c.start = v
			return nil
		})
	s.commanded("plc.abort", "1", "a rising edge ends the program and vents", 1,
		func() float64 { return c.abort }, func(v float64) error {
			c.halt = c.halt || (v >= 0.5 && c.abort < 0.5)
			c.abort = v
			return nil
		})
	s.commanded("host.heartbeat", "1", "any change is a sign of life of what commands the rig", math.MaxUint16,
		func() float64 { return c.host }, func(v float64) error {
			if v != c.host {
				c.host, c.hostSeen, c.hostLeft = v, true, c.hostTimeout
			}
			return nil
		})
	s.state("plc.step", "number of the program's step, 0 at rest, 99 aborted and venting", func() float64 {
		if !c.running {
			return 0
		}
		return c.stages[c.at].step
	})
	s.state("plc.point", "number of the set point or cycle within the step, 0 for none", func() float64 {
		if !c.running {
			return 0
		}
		return c.stages[c.at].point
	})
	s.state("plc.record", "1 in the last part of each dwell, when the figures stand", func() float64 {
		return digit(c.running && c.left <= c.stages[c.at].record)
	})
	s.state("plc.running", "1 while a program runs", bit(&c.running))
	s.state("plc.done", "1 from the end of a complete program to the next start", bit(&c.done))
	s.state("plc.aborted", "1 from an abort to the next start", bit(&c.aborted))
	s.state("plc.runs", "programs started", func() float64 { return c.runs })
	s.state("plc.heartbeat", "counts up every 0.1 s, from 65535 to 0", func() float64 { return c.beats })
	s.state("dut.present", "1 when a test item is fitted", bit(&c.present))
	s.state("dut.position", "number of the test item's position", func() float64 { return position })
	return c
}

// digit returns a bit as a figure.
func digit(on bool) float64 { //nolint:revive // a conversion, not a control flag
	if on {
		return 1
	}
	return 0
}

// owned wraps what a commanded output does, so that it obeys only when no program runs.
func (c *plc) owned(act func(float64)) func(float64) error {
	return func(v float64) error {
		if c.running {
			return errLed
		}
		act(v)
		return nil
	}
}

// scan is one pass of the PLC, at the end of every step of the plant.
func (c *plc) scan() {
	if c.beating += c.dt; c.beating >= 0.1 {
		c.beating -= 0.1
		c.beats = math.Mod(c.beats+1, 65536)
	}
	if c.hostSeen && c.hostTimeout > 0 {
		if c.hostLeft -= c.dt; c.hostLeft <= 0 {
			c.hostSeen = false
			c.halt = true
		}
	}
	if c.halt {
		c.halt, c.called = false, false
		c.stop()
	}
	if !c.running {
		c.idle += c.dt
		if c.called || (c.auto && !c.aborted && c.idle >= c.rest) {
			c.begin()
		}
		c.called = false
		return
	}
	c.called = false
	if c.left -= c.dt; c.left > c.dt/2 {
		if run := c.stages[c.at].run; run != nil {
			run(c.left)
		}
		return
	}
	if c.at++; c.at < len(c.stages) {
		c.enter()
		return
	}
	c.running, c.idle = false, 0
	c.done = !c.aborted
}

func (c *plc) begin() {
	c.done, c.aborted = false, !c.present
	if !c.present {
		return
	}
	c.runs++
	c.lead(c.m.program())
}

// stop ends what runs and vents.
func (c *plc) stop() {
	c.done, c.aborted = false, true
	c.lead(c.emptying(stepAborted, stepAborted))
}

// emptying returns the stages that vent the rig and leave its outputs at rest.
func (c *plc) emptying(vent, rest float64) []stage {
	return []stage{
		{step: vent, hold: c.m.venting(), enter: c.m.safe},
		{step: rest, hold: 0.2, enter: c.m.release},
	}
}

func (c *plc) lead(stages []stage) {
	c.stages, c.at, c.running = stages, 0, true
	c.enter()
}

func (c *plc) enter() {
	s := &c.stages[c.at]
	c.left = s.hold
	if s.enter != nil {
		s.enter()
	}
}
