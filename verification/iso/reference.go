package iso

// The standard reference atmosphere (ANR) of ISO 8778: 20 °C, 100 kPa
// absolute, 65 % relative humidity.
const (
	T0   = 293.15           // reference temperature, K
	P0   = 100e3            // reference pressure, Pa absolute
	Rho0 = 1.185            // density of the reference atmosphere, kg/m³
	RANR = P0 / (Rho0 * T0) // gas constant that agrees with T0, P0 and Rho0, J/(kg·K)
	RDry = 287.05           // gas constant of dry air, J/(kg·K)
)

// Units in which the trade writes conductances and flows, in SI.
const (
	PracticalConductance = 1e-8        // 1 dm³/(s·bar) in m³/(s·Pa)
	LitrePerMinute       = 1e-3 / 60   // 1 dm³/min in m³/s
	CubicCmPerMinute     = 1e-6 / 60   // 1 cm³/min in m³/s
	LitrePerHour         = 1e-3 / 3600 // 1 dm³/h in m³/s
)

// VolumeFlowANR is the volume flow at the reference atmosphere, m³/s (ANR), of
// the mass flow qm, kg/s.
func VolumeFlowANR(qm float64) float64 { return qm / Rho0 }

// PVFlow is the flow of pressure times volume, Pa·m³/s at the reference
// temperature T0, of the mass flow qm, kg/s, of a gas with gas constant r,
// J/(kg·K). With r = RANR it equals P0 times the volume flow (ANR).
func PVFlow(qm, r float64) float64 { return qm * r * T0 }
