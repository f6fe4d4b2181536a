package iso

// Methods lists what this package judges by, in the order of their worth to a
// rig. The version after the slash rises whenever a figure can change.
func Methods() []Method {
	pressure := func(name string, rate float64) Channel {
		return Channel{Name: name, Quantity: AbsolutePressure, Unit: "Pa", Required: true, MinRate: rate}
	}
	temperature := func(name string, rate float64) Channel {
		return Channel{Name: name, Quantity: Temperature, Unit: "K", Required: true, MinRate: rate}
	}
	flow := func(name string, rate float64) Channel {
		return Channel{Name: name, Quantity: MassFlow, Unit: "kg/s", Required: true, MinRate: rate}
	}
	optional := func(c Channel) Channel { c.Required = false; return c }
	ambient := Channel{Name: "p_atm", Quantity: AtmosphericPressure, Unit: "Pa", MinRate: 0.01}
	required := func(c Channel) Channel { c.Required = true; return c }
	return []Method{
		{
			Name: methodFlow, English: "Flow-rate characteristics C, b, m", Chinese: "流量特性 C、b、m", Standard: "ISO 6358-1:2013",
			Channels:   []Channel{pressure("p1", 1), pressure("p2", 1), temperature("T1", 0.5), flow("qm", 1), ambient},
			MaxMissing: 0.05, MaxGap: 2,
			Conventions: []string{"P-1", "P-2", "P-4", "P-5", "P-6", "P-7"},
		}, {
			Name: methodLeak, English: "Leakage by pressure decay", Chinese: "压降法泄漏量", Standard: "EN 13184 (pressure change)",
			Channels:   []Channel{pressure("p", 1), temperature("T", 0.5), optional(ambient)},
			MaxMissing: 0.05, MaxGap: 5,
			Conventions: []string{"P-1"},
		}, {
			Name: methodShift, English: "Shifting time", Chinese: "换向时间", Standard: "ISO 12238:2023",
			Channels: []Channel{
				pressure("p_out", leastShiftRate), pressure("p1", 1), required(ambient),
				{Name: "control", Quantity: Signal, Unit: "V", Required: true, MinRate: leastShiftRate},
			},
			MaxMissing: 0, MaxGap: 2 / leastShiftRate,
			Conventions: []string{"P-13"},
		}, {
			Name: methodEndurance, English: "Endurance: termination life and Weibull", Chinese: "耐久性：终止寿命与威布尔分布", Standard: "ISO 19973-1:2015",
			Channels: []Channel{
				{Name: "cycles", Quantity: Cycles, Unit: "1", Required: true},
				{Name: "value", Quantity: Degradation, Unit: "any", Required: true},
			},
			MaxMissing: 0.1, MaxGap: 7 * 86400,
			Conventions: []string{"P-10", "P-11", "P-12"},
		}, {
			Name: methodWeibull, English: "Life distribution", Chinese: "寿命分布", Standard: "ISO 19973-1:2015, IEC 61649",
			Conventions: []string{"P-12"},
		}, {
			Name: methodRegulator, English: "Regulator characteristics", Chinese: "减压阀特性", Standard: "ISO 6953-2:2015",
			Channels:   []Channel{pressure("p1", 1), pressure("p2", 1), flow("qm", 1), optional(temperature("T1", 0.1))},
			MaxMissing: 0.05, MaxGap: 2,
			Conventions: []string{"P-1", "P-2"},
		}, {
			Name: methodStatic, English: "Static characteristics of electro-pneumatic pressure valves", Chinese: "电-气压力控制阀静态特性", Standard: "ISO 10094-2:2021",
			Channels: []Channel{
				{Name: "signal", Quantity: Signal, Unit: "V", Required: true, MinRate: 1}, pressure("p2", 1), optional(pressure("p1", 1)),
			},
			MaxMissing: 0.05, MaxGap: 2,
			Conventions: []string{"P-2"},
		}, {
			Name: methodStep, English: "Step response of electro-pneumatic pressure valves", Chinese: "电-气压力控制阀阶跃响应", Standard: "ISO 10094-2:2021",
			Channels: []Channel{
				{Name: "signal", Quantity: Signal, Unit: "V", Required: true, MinRate: leastStepRate}, pressure("p2", leastStepRate),
			},
			MaxMissing: 0, MaxGap: 2.0 / leastStepRate,
			Conventions: []string{"P-15"},
		}, {
			Name: methodDischarge, English: "Discharge test with an isothermal tank", Chinese: "等温容器放气试验", Standard: "ISO 6358-2:2019",
			Channels:   []Channel{pressure("p_tank", 50), temperature("T_tank", 0.1), required(ambient)},
			MaxMissing: 0, MaxGap: 0.1,
			Conventions: []string{"P-1", "P-8"},
		}, {
			Name: methodCharge, English: "Charge test with an isothermal tank", Chinese: "等温容器充气试验", Standard: "ISO 6358-2:2019",
			Channels:   []Channel{pressure("p_tank", 50), pressure("p1", 1), temperature("T_tank", 0.1), ambient},
			MaxMissing: 0, MaxGap: 0.1,
			Conventions: []string{"P-1", "P-8"},
		}, {
			Name: methodIsothermal, English: "Isothermality of a tank (stop method)", Chinese: "容器等温性（停止法）", Standard: "ISO 6358-2:2019",
			Channels:   []Channel{pressure("p_tank", 10), temperature("T_wall", 0.1), ambient},
			MaxMissing: 0, MaxGap: 0.5,
			Conventions: []string{"P-8"},
		}, {
			Name: methodSeries, English: "Systems of components in series", Chinese: "串联组件系统", Standard: "ISO 6358-3:2014",
			Conventions: []string{"P-9"},
		}, {
			Name: methodCylinder, English: "Cylinder functional test", Chinese: "气缸功能试验", Standard: "ISO 10099:2001",
			Channels: []Channel{
				{Name: "x", Quantity: Position, Unit: "m", Required: true, MinRate: 100},
				{Name: "control", Quantity: Signal, Unit: "V", Required: true, MinRate: 100},
				{Name: "p_gauge", Quantity: GaugePressure, Unit: "Pa", MinRate: 10},
			},
			MaxMissing: 0, MaxGap: 0.02,
			Conventions: []string{"P-14"},
		}, {
			Name: methodFlow1989, English: "Flow-rate characteristics C, b (five points)", Chinese: "流量特性 C、b（五点法）", Standard: "ISO 6358:1989",
			Channels:   []Channel{pressure("p1", 1), pressure("p2", 1), temperature("T1", 0.5), flow("qm", 1), ambient},
			MaxMissing: 0.05, MaxGap: 2,
			Conventions: []string{"P-1", "P-2"},
		},
	}
}

// MethodNamed is the method of this name and version; false where there is none.
func MethodNamed(name string) (Method, bool) {
	for _, m := range Methods() {
		if m.Name == name {
			return m, true
		}
	}
	return Method{}, false
}
