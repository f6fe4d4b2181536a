package simulator

import "math"

// flowBench is the set-up of ISO 6358-1 with constant upstream pressure:
//
//	compressor -> reservoir -> regulator -> flow meter -> upstream tube -> test item -> downstream tube -> throttle -> atmosphere
type flowBench struct {
	s         *setup
	dt        float64
	net       Network
	air       *weather
	plc       *plc
	regulator *Regulator
	spool     *Spool

	reservoir, up, down, outside                  int // nodes
	compressor, line, relief, dut, leak, throttle int // paths

	dutPath, throttlePath Orifice
	loadBelow, unloadAt   float64 // Pa
	compressorFlow        float64
	leaking, faultLeak    float64 // laminar coefficient of the item's outward leak, kg/(s·Pa²)

	set, valve, wanted float64 // outputs: Pa, 0/1, throttle 0..1
	position           float64 // of the throttle
	broken             map[string]bool

	target, dwell float64
	points        int
	reverse       bool
	learned       float64 // conductance that the PLC saw with the throttle open, m3/(s·Pa)
	bent          float64 // flow curve that the PLC saw last, in units of the usual one
	trimmed       float64
}

// stroke is the time in which the throttle's motor crosses its range, s.
const stroke = 0.5

func newFlowBench(s *setup) *flowBench {
	f := &flowBench{s: s, dt: s.plant.dt.Seconds(), broken: s.plant.faults}
	s.ideal = s.fixed("sensors.ideal", "1", 0, 0, 1, "1: sensors without errors, lag and noise") == 1

	f.dutPath = Orifice{
		C:     s.uniform("C", "m3/(s*Pa)", 1.5e-8, 6e-8, 1e-10, 2e-7, "sonic conductance of the test item"),
		B:     s.uniform("b", "1", 0.2, 0.45, 0, 0.8, "critical back-pressure ratio of the test item"),
		M:     s.uniform("m", "1", 0.45, 0.6, 0.3, 1.5, "subsonic index of the test item"),
		Crack: s.fixed("crack", "Pa", 0, 0, 1e5, "cracking pressure of the test item"),
	}
	const reference, ambient = 731325.0, 101325.0 // 630 kPa gauge
	laminar := 1 / (reference*reference - ambient*ambient)
	f.leaking = laminar * s.uniform("leak", "kg/s", 0, 1e-7, 0, 0.1, "outward leak of the test item at 630 kPa gauge")
	f.faultLeak = laminar * s.fixed("fault.leak", "kg/s", 1.5e-3, 0, 0.1, "further leak with the fault leak, at 630 kPa gauge")

	f.target = s.fixed("p1.set", "Pa", 730e3, 200e3, 800e3, "upstream pressure of the test")
	f.dwell = s.fixed("dwell", "s", 5, 0.2, 600, "time at each throttle position")
	f.points = int(s.fixed("points", "1", 13, 12, 40, "throttle positions of a sweep"))
	f.reverse = s.fixed("reverse", "1", 0, 0, 1, "1: sweep back from shut to open as well") == 1

	f.air = newWeather(s)
	t := f.air.temperature()
	band := s.fixed("supply.band", "Pa", 25e3, 0, 1e5, "compressor loads and unloads this far from supply.pressure")
	supply := s.fixed("supply.pressure", "Pa", 900e3, 300e3, 1.0e6, "middle of the reservoir's pressure")
	f.loadBelow, f.unloadAt = supply-band, supply+band
	f.compressorFlow = s.fixed("supply.flow", "kg/s", 0.09, 0, 1, "delivery of the compressor under load")
	upV := s.fixed("V1", "m3", 0.5e-3, 1e-5, 1e-2, "volume of the upstream tube")
	downV := s.fixed("V2", "m3", 0.2e-3, 1e-5, 1e-2, "volume of the downstream tube")
	f.reservoir = f.net.AddVolume(VolumeOptions{
		V: s.fixed("supply.volume", "m3", 1, 0.01, 100, "volume of the reservoir"), P: supply, T: t, HA: 200,
	})
	f.up = f.net.AddVolume(VolumeOptions{V: upV, P: f.air.pressure, T: t, HA: 2})
	f.down = f.net.AddVolume(VolumeOptions{V: downV, P: f.air.pressure, T: t, HA: 1})
	f.outside = f.net.AddBoundary(f.air.pressure, t)

	f.throttlePath = Orifice{
		C: s.fixed("throttle.C", "m3/(s*Pa)", 1e-6, 1e-8, 1e-5, "sonic conductance of the throttle, fully open"),
		B: 0.3, M: 0.5,
	}
	f.compressor = f.net.Connect(Path{From: f.outside, To: f.reservoir})
	f.line = f.net.Connect(Path{
		From: f.reservoir, To: f.up, Open: 1, Orifice: Orifice{C: 2.5e-7, B: 0.5, M: 0.5, NonReturn: true},
		Temper: s.fixed("supply.temper", "W/K", 150, 0, 1e4, "heat exchange of the line to the regulator"),
	})
	f.relief = f.net.Connect(Path{From: f.up, To: f.outside, Orifice: Orifice{C: 5e-8, B: 0.4, M: 0.5, NonReturn: true}})
	f.dut = f.net.Connect(Path{From: f.up, To: f.down, Orifice: f.dutPath})
	f.leak = f.net.Connect(Path{From: f.up, To: f.outside, Open: 1, Laminar: f.leaking})
	f.throttle = f.net.Connect(Path{From: f.down, To: f.outside, Orifice: f.throttlePath})

	f.set = f.air.pressure
	f.regulator = NewRegulator(RegulatorOptions{
		R1: 2.5e5, R2: 1e6, Supply: -0.007, SupplyRef: supply, Hysteresis: 6000, Play: 0.004, Lag: 0.04,
		Relief: 8000, ReliefSpan: 30e3,
	}, f.set)
	f.spool = NewSpool(SpoolOptions{
		DeadOn:  s.uniform("valve.dead_on", "s", 0.008, 0.015, 0, 0.1, "from the coil to the spool's movement, on"),
		DeadOff: s.uniform("valve.dead_off", "s", 0.012, 0.025, 0, 0.1, "from the coil to the spool's movement, off"),
		Jitter:  0.3e-3, Omega: 2 * math.Pi * 100, Zeta: 0.9, Overlap: 0.2,
	}, s.key("spool"))

	f.signals(s)
	f.plc = newPLC(s, f)
	return f
}

func (f *flowBench) signals(s *setup) {
	gauge := s.fixed("p1.gauge", "1", 0, 0, 1, "1: the p1 sensor measures against the atmosphere and nobody said so") == 1
	p1 := func() float64 { return f.net.Pressure(f.up) }
	seen := p1
	if gauge {
		seen = func() float64 { return f.net.Pressure(f.up) - f.air.pressure }
	}
	full := s.fixed("qm.full_scale", "kg/s", 0.06, 1e-4, 1, "full scale of the flow meter")
	flowMeter := sensing{gain: 0.005, errors: SensorOptions{
		Lag: 0.1, Noise: 0.0005 * full, NoiseReading: 0.003, CutOff: 0.01 * full, Quantum: full / 32000, Max: 1.2 * full,
	}}
	thermometer := sensing{offset: 0.1, errors: SensorOptions{Lag: 4, Noise: 0.01, Quantum: 0.001, Min: 200, Max: 400}}
	s.sensed("p1", "Pa", "pressure in the upstream tube", p1, seen, pressureSensor(0.5e-3, 100))
	s.measured("p2", "Pa", "pressure in the downstream tube", func() float64 { return f.net.Pressure(f.down) },
		pressureSensor(0.5e-3, 100))
	s.measured("T1", "K", "temperature of the air in the upstream tube", func() float64 { return f.net.Temperature(f.up) },
		thermometer)
	s.measured("qm", "kg/s", "mass flow into the upstream tube", func() float64 { return f.net.Path(f.line).Flow() }, flowMeter)
	s.measured("p_atm", "Pa", "atmospheric pressure", func() float64 { return f.air.pressure }, barometer())
	s.measured("p_supply", "Pa", "pressure of the reservoir", func() float64 { return f.net.Pressure(f.reservoir) },
		pressureSensor(0.1, 200))
	s.measured("throttle_position", "1", "position of the throttle, 0 shut to 1 open", func() float64 { return f.position },
		sensing{offset: 0.002, errors: SensorOptions{Lag: 0.02, Quantum: 1.0 / 4096, Min: -0.1, Max: 1.1}})
	s.commanded("p_set", "Pa", "set pressure of the regulator", 1e6, func() float64 { return f.set }, f.owned(f.setPressure))
	s.commanded("throttle", "1", "position that the throttle is sent to", 1, func() float64 { return f.wanted },
		f.owned(func(v float64) { f.wanted = v }))
	s.commanded("valve", "1", "coil of the test item", 1, func() float64 { return f.valve },
		f.owned(func(v float64) { f.valve = math.Round(v) }))
}

// owned defers to the PLC, which is made after the signals.
func (f *flowBench) owned(act func(float64)) func(float64) error {
	return func(v float64) error { return f.plc.owned(act)(v) }
}

// setPressure sets the regulator, whose converter has 12 bits for 1 MPa.
func (f *flowBench) setPressure(v float64) {
	const bit = 1e6 / 4096
	f.set = math.Round(v/bit) * bit
}

func (f *flowBench) step() {
	f.air.step(f.dt)
	t := f.air.temperature()
	f.net.SetBoundary(f.outside, f.air.pressure, t)
	for _, v := range []int{f.reservoir, f.up, f.down} {
		f.net.SetWall(v, t)
	}

	load := f.net.Path(f.compressor)
	switch p := f.net.Pressure(f.reservoir); {
	case f.broken["compressor_off"] || p > f.unloadAt:
		load.Fixed = 0
	case p < f.loadBelow:
		load.Fixed = f.compressorFlow
	}

	line := f.net.Path(f.line)
	line.Wall = t
	line.Open = digit(f.set > f.air.pressure)
	line.Reducer = f.regulator.Step(f.dt, max(f.set, f.air.pressure), f.net.Pressure(f.reservoir), line.Flow())
	f.net.Path(f.relief).Open = f.regulator.Relieves(f.net.Pressure(f.up))

	f.spool.Energise(f.valve)
	f.spool.Step(f.dt)
	f.net.Path(f.dut).Open, _ = f.spool.Openings()

	if !f.broken["throttle_shut"] {
		f.position += min(max(f.wanted-f.position, -f.dt/stroke), f.dt/stroke)
	}
	f.net.Path(f.throttle).Open = throttleArea(f.position)

	f.net.Step(f.dt)
	f.plc.scan()
}

// throttleArea is the opening of the throttle at a position, finer towards shut.
func throttleArea(position float64) float64 { return position * position }

func (f *flowBench) faults() []string {
	return []string{"throttle_shut", "leak", "sticking_spool", "compressor_off"}
}

func (f *flowBench) breakdown(fault string, on bool) {
	switch fault {
	case "throttle_shut":
		f.position = 0
	case "leak":
		f.net.Path(f.leak).Laminar = f.leaking + digit(on)*f.faultLeak
	case "sticking_spool":
		f.spool.Stick(on)
	}
}

func (f *flowBench) truth(into map[string]float64) {
	into["valve_opening"], _ = f.spool.Openings()
	into["T2"] = f.net.Temperature(f.down)
	into["T_supply"] = f.net.Temperature(f.reservoir)
	into["T_ambient"] = f.air.temperature()
	into["q_dut"] = f.net.Path(f.dut).Flow()
	into["q_leak"] = f.net.Path(f.leak).Flow()
	into["q_throttle"] = f.net.Path(f.throttle).Flow()
}

func (f *flowBench) safe() {
	f.setPressure(0)
	f.wanted, f.valve = 1, 1 // the upstream tube empties through the test item
}

func (f *flowBench) release() { f.wanted, f.valve = 0, 0 }

func (f *flowBench) venting() float64 { return 3 }

// ratio returns the pressure ratio that the PLC aims at with point k of n (1 is fully open): from 0.17 to 0.97, closer
// together towards the end.
func ratio(k, n int) float64 {
	u := float64(k-2) / float64(n-2)
	return 0.17 + 0.8*(1-math.Pow(1-u, 1.5))
}

// program is one complete test: 1 purge, 2 energise, 3 set point, 4 leak check with the throttle shut, then one step for
// each throttle position of the sweep, vent, rest.
func (f *flowBench) program() []stage {
	stages := []stage{
		{hold: 3, enter: func() { f.setPressure(300e3); f.wanted, f.valve = 1, 1 }},
		{hold: 0.5, enter: func() { f.valve = 1 }},
		{hold: 4, enter: func() { f.setPressure(f.target); f.trimmed = 0 }, run: func(float64) { f.trim() }},
		{hold: 4, record: 1.5, enter: func() { f.wanted = 0; f.trimmed = 0 }},
	}
	order := make([]int, 0, 2*f.points)
	for k := 1; k <= f.points; k++ {
		order = append(order, k)
	}
	for k := f.points - 1; f.reverse && k >= 1; k-- {
		order = append(order, k)
	}
	for i, k := range order {
		stages = append(stages, stage{
			point: float64(i + 1), hold: f.dwell, record: 0.4 * f.dwell,
			enter: func() { f.wanted = f.opening(k); f.trimmed = 0 },
			run: func(left float64) {
				if left > 0.4*f.dwell {
					f.trim()
				}
				if k == 1 {
					f.learn()
				} else if left > 0.8*f.dwell && left-f.dt <= 0.8*f.dwell {
					f.aim(k)
				}
			},
		})
	}
	stages = append(stages, f.plc.emptying(0, 0)...)
	for i := range stages {
		stages[i].step = float64(i + 1)
	}
	return stages
}

// trim corrects the set pressure every 0.25 s until the upstream pressure is what the test wants.
func (f *flowBench) trim() {
	if f.trimmed += f.dt; f.trimmed < 0.25 {
		return
	}
	f.trimmed = 0
	if missing := f.target - f.net.Pressure(f.up); math.Abs(missing) > 200 {
		f.setPressure(min(max(f.set+0.8*missing, 0), 1e6))
	}
}

// learn notes the conductance of the open rig, by which opening finds the throttle's positions.
func (f *flowBench) learn() {
	f.learned, f.bent = f.conductance(), 1
}

// conductance of the rig as the PLC sees it now, m3/(s·Pa).
func (f *flowBench) conductance() float64 {
	return f.net.Path(f.line).Flow() / (Rho0 * f.net.Pressure(f.up)) * math.Sqrt(f.net.Temperature(f.up)/T0)
}

// usual returns the flow curve of a usual valve.
func usual(r float64) float64 {
	o := Orifice{B: 0.32, M: 0.5}
	return o.Share(r, 1)
}

// nearlyChoked is the share of the choked flow above which the curve is too flat to aim by.
const nearlyChoked = 0.95

// aim corrects the throttle once, early in the dwell, by the flow curve that it sees.
func (f *flowBench) aim(k int) {
	share := usual(f.net.Pressure(f.down) / f.net.Pressure(f.up))
	if f.learned <= 0 || share <= 0 || share > nearlyChoked {
		return
	}
	f.bent = min(max(f.conductance()/(f.learned*share), 0.5), 2)
	f.wanted = f.opening(k)
}

// opening returns the throttle position for point k, from the conductance of the open rig and the flow curve; the ratio
// it leads to is near the one aimed at, not equal to it.
func (f *flowBench) opening(k int) float64 {
	if k == 1 {
		return 1
	}
	r := ratio(k, f.points)
	p2 := r * f.target
	through := f.throttlePath.Share(f.air.pressure/p2, 1)
	if f.learned <= 0 || through <= 0 {
		return 1
	}
	share := usual(r)
	if share < nearlyChoked {
		share *= f.bent
	}
	area := f.learned * min(share, 1) * f.target / (f.throttlePath.C * p2 * through)
	return math.Sqrt(min(max(area, 0), 1))
}
