package simulator

import "math"

// valveStand shifts a 5/2 valve with plugged outlets (ISO 12238) and measures its leakage by pressure decay:
//
//	supply -> regulator -> supply valve -> inlet (port 1) -> test item -> outlet 2 and outlet 4, exhausts 3 and 5
//	                                         inlet <-> tank valve <-> tank -> vent valve -> atmosphere
//
// At rest port 1 leads to 2 and 4 to 5, energised 1 to 4 and 2 to 3.
type valveStand struct {
	s         *setup
	dt        float64
	net       Network
	air       *weather
	plc       *plc
	regulator *Regulator
	spool     *Spool
	shifts    shiftTimes

	source, inlet, two, four, tank, outside int // nodes
	line, fill2, fill4, empty2, empty4      int // paths
	leak, tankPath, ventPath                int
	leaking, faultLeak, supply, band        float64

	set                                     float64 // outputs: Pa and 0/1
	coil, supplyValve, tankValve, ventValve float64
	edge                                    float64 // the coil as it is on the wire, switched between two steps

	target, hold                    float64
	filling, stabilising, measuring float64
	conditioning, cycles            int
}

func newValveStand(s *setup) *valveStand {
	f := &valveStand{s: s, dt: s.plant.dt.Seconds()}
	s.ideal = s.fixed("sensors.ideal", "1", 0, 0, 1, "1: sensors without errors, lag and noise") == 1

	c := s.uniform("C", "m3/(s*Pa)", 2.3e-8, 2.9e-8, 1e-9, 1e-7, "sonic conductance of the test item, 1 to 2 and 1 to 4")
	b := s.uniform("b", "1", 0.3, 0.4, 0, 0.8, "critical back-pressure ratio, 1 to 2 and 1 to 4")
	supplyPath := Orifice{C: c, B: b, M: 0.5}
	exhaustPath := Orifice{C: c * s.uniform("exhaust.C", "1", 1.05, 1.1, 0.1, 10, "conductance of the exhaust paths in units of C"), B: 0.25, M: 0.5}
	const reference, ambient = 731325.0, 101325.0 // 630 kPa gauge
	laminar := 1 / (reference*reference - ambient*ambient)
	f.leaking = laminar * s.logUniform("leak", "kg/s", 2e-8, 4e-7, 0, 0.01, "leakage of the test item from port 1 at 630 kPa gauge")
	f.faultLeak = laminar * s.fixed("fault.leak", "kg/s", 2e-6, 0, 0.01, "further leakage with the fault leak, at 630 kPa gauge")

	f.target = s.fixed("p1.set", "Pa", 731325, 200e3, 850e3, "test pressure")
	f.conditioning = int(s.fixed("conditioning", "1", 2, 0, 1000, "cycles before the measured ones"))
	f.cycles = int(s.fixed("cycles", "1", 10, 1, 1e6, "measured cycles, each a shift on and a shift off"))
	f.hold = s.fixed("hold", "s", 0.3, 0.05, 60, "time between two edges of the coil")
	f.filling = s.fixed("fill", "s", 8, 0.1, 600, "filling of the tank")
	f.stabilising = s.fixed("stabilise", "s", 20, 0, 3600, "wait for equal temperatures after the supply is shut off")
	f.measuring = s.fixed("measure", "s", 30, 0.1, 3600, "measured pressure decay")

	f.air = newWeather(s)
	t, p := f.air.temperature(), f.air.pressure
	f.supply = s.fixed("supply.pressure", "Pa", 900e3, 300e3, 1.0e6, "mean supply pressure")
	f.band = s.fixed("supply.band", "Pa", 25e3, 0, 1e5, "half swing of the supply pressure, once a minute")
	inlet := s.fixed("V.inlet", "m3", 50e-6, 1e-6, 1e-2, "volume at port 1")
	outlet := s.fixed("V.outlet", "m3", 30e-6, 5e-6, 1e-3, "volume at each outlet")
	tank := s.uniform("V.tank", "m3", 0.2475e-3, 0.2525e-3, 1e-5, 1e-1, "volume of the tank")
	f.source = f.net.AddBoundary(f.supply, t)
	f.inlet = f.net.AddVolume(VolumeOptions{V: inlet, P: p, T: t, HA: 0.4})
	f.two = f.net.AddVolume(VolumeOptions{V: outlet, P: p, T: t, HA: 0.3})
	f.four = f.net.AddVolume(VolumeOptions{V: outlet, P: p, T: t, HA: 0.3})
	f.tank = f.net.AddVolume(VolumeOptions{V: tank, P: p, T: t, HA: s.fixed("tank.hA", "W/K", 0.6, 0, 100, "heat exchange of the tank with its wall")})
	f.outside = f.net.AddBoundary(p, t)

	f.line = f.net.Connect(Path{From: f.source, To: f.inlet, Orifice: Orifice{C: 2e-7, B: 0.5, M: 0.5, NonReturn: true}, Temper: 100, Wall: t})
	f.fill2 = f.net.Connect(Path{From: f.inlet, To: f.two, Orifice: supplyPath})
	f.fill4 = f.net.Connect(Path{From: f.inlet, To: f.four, Orifice: supplyPath})
	f.empty2 = f.net.Connect(Path{From: f.two, To: f.outside, Orifice: exhaustPath})
	f.empty4 = f.net.Connect(Path{From: f.four, To: f.outside, Orifice: exhaustPath})
	f.leak = f.net.Connect(Path{From: f.inlet, To: f.outside, Open: 1, Laminar: f.leaking})
	f.tankPath = f.net.Connect(Path{From: f.inlet, To: f.tank, Orifice: Orifice{C: 3e-8, B: 0.4, M: 0.5}})
	f.ventPath = f.net.Connect(Path{From: f.tank, To: f.outside, Orifice: Orifice{C: 2e-8, B: 0.4, M: 0.5}})

	f.set = p
	f.regulator = NewRegulator(RegulatorOptions{
		R1: 2.5e5, R2: 1e6, Supply: -0.007, SupplyRef: f.supply, Hysteresis: 2000, Play: 0.004, Lag: 0.02,
		Relief: 8000, ReliefSpan: 30e3,
	}, p)
	volts := s.fixed("coil.voltage", "V", 24, 18, 30, "supply of the coil; a volt more makes it 0.4 ms faster")
	faster := -0.4e-3 * (volts - 24)
	f.spool = NewSpool(SpoolOptions{
		DeadOn:  faster + s.uniform("dead.on", "s", 0.008, 0.015, 0, 0.1, "from the coil's edge to the spool's movement, on, at 24 V"),
		DeadOff: s.uniform("dead.off", "s", 0.012, 0.025, 0, 0.1, "from the coil's edge to the spool's movement, off"),
		Jitter:  s.uniform("dead.jitter", "s", 0.2e-3, 0.5e-3, 0, 0.01, "standard deviation of the dead times"),
		Omega:   2 * math.Pi * s.uniform("spool.frequency", "Hz", 60, 150, 1, 500, "natural frequency of the spool"),
		Zeta:    0.9, Overlap: 0.2,
	}, s.key("spool"))
	f.shifts = shiftTimes{dt: f.dt}

	f.signals(s)
	f.plc = newPLC(s, f)
	s.plant.recorder = newRecorder(s, f.bits, "p1", "p2", "p4", "coil")
	return f
}

func (f *valveStand) signals(s *setup) {
	pressure := func(node int) func() float64 { return func() float64 { return f.net.Pressure(node) } }
	// The -3 dB frequency of the transducers at the ports is 3 kHz.
	port := sensing{gain: 0.001, offset: 500, drift: 100.0 / 86400, errors: SensorOptions{
		Lag: 1 / (2 * math.Pi * 3000), Noise: 300, Quantum: 1e6 / 32768, DriftPeriod: 86400, Min: -1e5, Max: 1.1e6,
	}}
	decay := sensing{gain: 0.001, offset: 500, drift: 20.0 / 300, errors: SensorOptions{
		Lag: 0.01, Noise: 20, Quantum: 5, DriftPeriod: 3600, Max: 1.1e6,
	}}
	thermometer := sensing{offset: 0.1, drift: 5e-3 / 300, errors: SensorOptions{
		Lag: 0.5, Noise: 1e-3, Quantum: 1e-3, DriftPeriod: 3600, Min: 200, Max: 400,
	}}
	s.measured("p1", "Pa", "pressure at port 1", pressure(f.inlet), port)
	s.measured("p2", "Pa", "pressure at port 2", pressure(f.two), port)
	s.measured("p4", "Pa", "pressure at port 4", pressure(f.four), port)
	s.measured("p_tank", "Pa", "pressure of the tank", pressure(f.tank), decay)
	s.measured("T_tank", "K", "temperature of the air in the tank", func() float64 { return f.net.Temperature(f.tank) }, thermometer)
	s.measured("p_atm", "Pa", "atmospheric pressure", func() float64 { return f.air.pressure }, barometer())
	s.commanded("p_set", "Pa", "set pressure of the regulator", 1e6, func() float64 { return f.set }, f.owned(func(v float64) { f.set = v }))
	for _, valve := range []struct {
		name, description string
		output            *float64
	}{
		{"coil", "coil of the test item", &f.coil},
		{"supply_valve", "valve from the regulator to port 1", &f.supplyValve},
		{"tank_valve", "valve between port 1 and the tank", &f.tankValve},
		{"vent_valve", "valve from the tank to the atmosphere", &f.ventValve},
	} {
		s.commanded(valve.name, "1", valve.description, 1, func() float64 { return *valve.output },
			f.owned(func(v float64) { *valve.output = math.Round(v) }))
	}
}

// owned defers to the PLC, which is made after the signals.
func (f *valveStand) owned(act func(float64)) func(float64) error {
	return func(v float64) error { return f.plc.owned(act)(v) }
}

// bits returns the coil as it is now, for the recorder.
func (f *valveStand) bits() float64 { return f.edge }

func (f *valveStand) step() {
	f.air.step(f.dt)
	t := f.air.temperature()
	f.net.SetBoundary(f.outside, f.air.pressure, t)
	supply := f.supply + f.band*math.Sin(2*math.Pi*f.air.t/60)
	f.net.SetBoundary(f.source, supply, t)
	for _, v := range []int{f.inlet, f.two, f.four, f.tank} {
		f.net.SetWall(v, t)
	}
	line := f.net.Path(f.line)
	line.Wall = t
	line.Open = f.supplyValve * digit(f.set > f.air.pressure)
	line.Reducer = f.regulator.Step(f.dt, max(f.set, f.air.pressure), supply, line.Flow())

	f.spool.Step(f.dt)
	energised, resting := f.spool.Openings()
	f.net.Path(f.fill2).Open, f.net.Path(f.empty4).Open = resting, resting
	f.net.Path(f.fill4).Open, f.net.Path(f.empty2).Open = energised, energised
	f.net.Path(f.tankPath).Open = f.tankValve
	f.net.Path(f.ventPath).Open = f.ventValve

	f.net.Step(f.dt)
	f.plc.scan()
	f.shifts.follow(f.net.Pressure(f.two), f.net.Pressure(f.four))
	if f.edge != f.coil {
		f.edge = f.coil
		f.spool.Energise(f.edge)
		f.shifts.start(f.edge, f.net.Pressure(f.inlet)-f.air.pressure)
	}
}

func (f *valveStand) faults() []string { return []string{"leak", "sticking_spool"} }

func (f *valveStand) breakdown(fault string, on bool) {
	switch fault {
	case "leak":
		f.net.Path(f.leak).Laminar = f.leaking + digit(on)*f.faultLeak
	case "sticking_spool":
		f.spool.Stick(on)
	}
}

func (f *valveStand) truth(into map[string]float64) {
	into["spool"] = f.spool.Position()
	into["q_leak"] = f.net.Path(f.leak).Flow()
	into["T1"] = f.net.Temperature(f.inlet)
	into["T_ambient"] = f.air.temperature()
	// What empties through the leak while the valve is at rest and the tank's valve open.
	into["V.test"] = f.net.Volume(f.inlet) + f.net.Volume(f.two) + f.net.Volume(f.tank)
	f.shifts.truth(into)
}

func (f *valveStand) safe() {
	f.set, f.coil, f.supplyValve = 0, 0, 0
	f.tankValve, f.ventValve = 1, 1
}

func (f *valveStand) release() { f.tankValve, f.ventValve = 0, 0 }

func (f *valveStand) venting() float64 { return 3 }

// program is one complete test: 1 pressure on port 1, 2 conditioning shifts, 3 measured shifts (point is the cycle),
// 4 fill, 5 close, 6 stabilise, 7 measure the decay, 8 vent, 9 rest.
func (f *valveStand) program() []stage {
	stages := []stage{{step: 1, hold: 2, enter: func() {
		f.set, f.coil = f.target, 0
		f.supplyValve, f.tankValve, f.ventValve = 1, 0, 0
	}}}
	on, off := func() { f.coil = 1 }, func() { f.coil = 0 }
	for k := range f.conditioning {
		at := stage{step: 2, point: float64(k + 1), hold: f.hold}
		at.enter = on
		stages = append(stages, at)
		at.enter = off
		stages = append(stages, at)
	}
	for k := range f.cycles {
		at := stage{step: 3, point: float64(k + 1), hold: f.hold, record: f.hold}
		at.enter = on
		if k == 0 {
			at.enter = func() { f.shifts.reset(); on() }
		}
		stages = append(stages, at)
		at.enter = off
		stages = append(stages, at)
	}
	stages = append(stages,
		stage{step: 4, hold: f.filling, enter: func() { f.tankValve = 1 }},
		stage{step: 5, hold: 0.5, enter: func() { f.supplyValve = 0 }},
		stage{step: 6, hold: f.stabilising},
		stage{step: 7, hold: f.measuring, record: f.measuring})
	return append(stages, f.plc.emptying(8, 9)...)
}

// shiftTimes watches the true pressures of the outlets for the times of ISO 12238: from the coil's edge to a change of
// the outlet pressure by 10 % of the difference between supply and atmosphere.
type shiftTimes struct {
	dt    float64
	two   crossing
	four  crossing
	stats [4]spread // fill 4 and exhaust 2 (on), fill 2 and exhaust 4 (off)
	lost  float64   // shifts that the next edge overtook
}

// crossing waits for a pressure to pass a threshold.
type crossing struct {
	last, threshold float64
	rising, waiting bool
	since           float64 // s
	stat            int
}

// reset forgets the statistics; the measured shifts follow.
func (w *shiftTimes) reset() { w.stats, w.lost = [4]spread{}, 0 }

// names of the statistics, in the order of shiftTimes.stats.
func (*shiftTimes) names() [4]string {
	return [4]string{"shift.fill.4", "shift.exhaust.2", "shift.fill.2", "shift.exhaust.4"}
}

// start begins to wait after an edge to coil; difference is the supply pressure above the atmosphere in Pa.
func (w *shiftTimes) start(coil, difference float64) {
	on := coil == 1
	for _, c := range []*crossing{&w.two, &w.four} {
		if c.waiting {
			w.lost++
		}
		c.waiting, c.since = true, 0
		c.rising = on == (c == &w.four)
		if c.rising {
			c.threshold = c.last + 0.1*difference
		} else {
			c.threshold = c.last - 0.1*difference
		}
	}
	w.four.stat, w.two.stat = 0, 1
	if !on {
		w.two.stat, w.four.stat = 2, 3
	}
}

// follow looks at the pressures at the end of a step.
func (w *shiftTimes) follow(two, four float64) {
	w.see(&w.two, two)
	w.see(&w.four, four)
}

func (w *shiftTimes) see(c *crossing, p float64) {
	if c.waiting {
		if crossed := p >= c.threshold; crossed == c.rising && p != c.last {
			share := (c.threshold - c.last) / (p - c.last)
			w.stats[c.stat].add(c.since + share*w.dt)
			c.waiting = false
		}
		c.since += w.dt
	}
	c.last = p
}

func (w *shiftTimes) truth(into map[string]float64) {
	for i, name := range w.names() {
		w.stats[i].truth(name, into)
	}
	into["shift.lost"] = w.lost
}

// spread is the statistics of a series.
type spread struct{ n, mean, m2, least, most, last float64 }

func (s *spread) add(x float64) {
	if s.n == 0 {
		s.least, s.most = x, x
	}
	s.n++
	s.last, s.least, s.most = x, min(s.least, x), max(s.most, x)
	d := x - s.mean
	s.mean += d / s.n
	s.m2 += d * (x - s.mean)
}

func (s *spread) truth(name string, into map[string]float64) {
	into[name+".n"] = s.n
	if s.n == 0 {
		return
	}
	into[name+".last"], into[name+".mean"], into[name+".min"], into[name+".max"] = s.last, s.mean, s.least, s.most
	if s.n > 1 {
		into[name+".std"] = math.Sqrt(s.m2 / (s.n - 1))
	}
}
