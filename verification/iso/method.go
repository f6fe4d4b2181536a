package iso

import "slices"

// Quantity names what a channel measures.
type Quantity string

// Quantities that methods ask for, in SI units.
const (
	AbsolutePressure    Quantity = "absolute pressure"    // Pa
	GaugePressure       Quantity = "gauge pressure"       // Pa, needs an atmospheric pressure
	AtmosphericPressure Quantity = "atmospheric pressure" // Pa
	Temperature         Quantity = "temperature"          // K
	MassFlow            Quantity = "mass flow"            // kg/s
	Position            Quantity = "position"             // m
	Signal              Quantity = "signal"               // unit of the component's input
	Cycles              Quantity = "cycles"               // 1
	Degradation         Quantity = "degradation"          // unit of the measured parameter
)

// A Channel is one quantity that a method needs.
type Channel struct {
	Name     string
	Quantity Quantity
	Unit     string
	Required bool
	MinRate  float64 // Hz; 0 where any rate will do
}

// A Method describes one way of judging a record.
type Method struct {
	Name        string // and version: "iso6358-1/1"
	English     string // title
	Chinese     string // title
	Standard    string // as cited: "evaluated following ..."
	Channels    []Channel
	MaxMissing  float64 // tolerated share of missing samples inside evaluated windows
	MaxGap      float64 // longest tolerated gap inside evaluated windows, s
	Conventions []string
}

// An Offer is a channel as a record has it.
type Offer struct {
	Name     string
	Quantity Quantity
	Rate     float64 // Hz
	Missing  float64 // share of samples missing in the windows to be evaluated
	Gap      float64 // longest gap there, s
}

// Admit refuses a record that lacks what the method needs: a channel, an
// atmospheric pressure for a gauge pressure, samples fast enough, few enough
// missing.
func (m Method) Admit(offers []Offer) error {
	find := func(c Channel) (Offer, bool) {
		i := slices.IndexFunc(offers, func(o Offer) bool { return o.Name == c.Name })
		if i < 0 {
			return Offer{}, false
		}
		return offers[i], true
	}
	ambient := slices.ContainsFunc(offers, func(o Offer) bool { return o.Quantity == AtmosphericPressure })
	for _, c := range m.Channels {
		o, ok := find(c)
		if !ok {
			if c.Required {
				return refuse(m.Name, ChannelMissing, "channel %s (%s, %s) is not in the record; map a channel to it", c.Name, c.Quantity, c.Unit)
			}
			continue
		}
		pair := [2]Quantity{o.Quantity, c.Quantity}
		if pair == [...]Quantity{GaugePressure, AbsolutePressure} || pair == [...]Quantity{AbsolutePressure, GaugePressure} {
			if !ambient {
				return refuse(m.Name, GaugeWithoutAmbient, "%s is a %s, the method needs a %s, and the record has no atmospheric pressure; add a barometer channel or its reading", c.Name, o.Quantity, c.Quantity)
			}
		} else if o.Quantity != c.Quantity {
			return refuse(m.Name, ChannelMissing, "%s is a %s; the method needs a %s", c.Name, o.Quantity, c.Quantity)
		}
		if o.Rate < c.MinRate {
			return refuse(m.Name, SamplingTooSlow, "%s has %g samples per second; the method needs %g", c.Name, o.Rate, c.MinRate)
		}
		if o.Missing > m.MaxMissing {
			return refuse(m.Name, RecordIncomplete, "%.2f %% of %s is missing; the method tolerates %.2f %%", 100*o.Missing, c.Name, 100*m.MaxMissing)
		}
		if o.Gap > m.MaxGap {
			return refuse(m.Name, GapTooLong, "%s has a gap of %.3g s; the method tolerates %.3g s", c.Name, o.Gap, m.MaxGap)
		}
	}
	return nil
}

// Component is a type of component as the scopes of the standards name it.
type Component string

// Components of ISO 6358-2 Table 1 and those that the standard's scope leaves
// out.
const (
	DirectionalValve  Component = "directional control valve"
	FlowControlValve  Component = "flow control valve"
	Connector         Component = "connector"
	Manifold          Component = "manifold"
	ComponentAssembly Component = "assembly"
	Filter            Component = "filter"
	Lubricator        Component = "lubricator"
	NonReturnValve    Component = "non-return valve"
	Tube              Component = "tube"
	Silencer          Component = "silencer"
	OilMistSeparator  Component = "exhaust oil mist separator"
	BlowNozzle        Component = "blow nozzle"
	QuickExhaustValve Component = "quick-exhaust valve"
	Regulator         Component = "regulator"
	ElectroPneumatic  Component = "electro-pneumatic control valve"
	Cylinder          Component = "cylinder"
	Accumulator       Component = "accumulator"
)

// group is the component's group in Table 1 of ISO 6358-2; 0 is out of scope.
func (c Component) group() int {
	switch c {
	case DirectionalValve, FlowControlValve, Connector, Manifold, ComponentAssembly:
		return 1
	case Filter, Lubricator, NonReturnValve, Tube:
		return 2
	case Silencer, OilMistSeparator, BlowNozzle, QuickExhaustValve:
		return 3
	case Regulator, ElectroPneumatic, Cylinder, Accumulator:
	}
	return 0
}

// AdmitComponent refuses a component that the method's standard excludes:
// ISO 6358 tests group 1 in both circuits, group 2 with constant and group 3
// with variable upstream pressure, and no component with internal feedback or
// exchange of energy. ISO 6358-2 excludes cracking pressures too.
func AdmitComponent(method string, c Component, upstream Upstream) error {
	group := c.group()
	switch {
	case group == 0:
		return refuse(method, ComponentExcluded, "a %s has internal feedback or exchanges energy; ISO 6358 does not apply", c)
	case group == 2 && upstream == VariableUpstream:
		return refuse(method, ComponentExcluded, "a %s (group 2) is tested with constant upstream pressure only", c)
	case group == 3 && upstream == ConstantUpstream:
		return refuse(method, ComponentExcluded, "a %s (group 3) is tested with variable upstream pressure, exhausting to the atmosphere, only", c)
	case c == NonReturnValve && (method == methodDischarge || method == methodCharge):
		return refuse(method, ComponentExcluded, "a %s has a cracking pressure; ISO 6358-2 does not apply", c)
	}
	return nil
}

// Absolute adds the atmospheric pressure, Pa, to gauge pressures, Pa. It
// refuses an atmospheric pressure that was not measured or that no place on
// land has.
func Absolute(method string, gauge []float64, atmospheric float64) ([]float64, error) {
	if !(atmospheric >= 50e3 && atmospheric <= 110e3) {
		return nil, refuse(method, GaugeWithoutAmbient, "a gauge pressure with an atmospheric pressure of %g Pa; measure it (50 to 110 kPa)", atmospheric)
	}
	list := make([]float64, len(gauge))
	for i, p := range gauge {
		list[i] = p + atmospheric
	}
	return list, nil
}
