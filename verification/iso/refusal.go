package iso

import "fmt"

// Reason is the code of a refusal; it is stable and stands in reports.
type Reason string

// Reasons for which a method refuses an input.
const (
	NoChokedPoint          Reason = "NO_CHOKED_POINT"                  // the conductance still rises at the lowest pressure ratios
	NoSubsonicPoint        Reason = "NO_SUBSONIC_POINT"                // nothing from which b could follow
	TooFewPoints           Reason = "TOO_FEW_POINTS"                   // fewer measurements than unknowns and a check need
	NotSteady              Reason = "NOT_STEADY"                       // a dwell did not settle
	UpstreamNotConstant    Reason = "UPSTREAM_NOT_CONSTANT"            // the constant-upstream method on a varying p1
	GaugeWithoutAmbient    Reason = "GAUGE_WITHOUT_ATMOSPHERE"         // a gauge pressure and no atmospheric pressure
	GaugeAsAbsolute        Reason = "GAUGE_DECLARED_ABSOLUTE"          // an "absolute" pressure below what the place can have
	SamplingTooSlow        Reason = "SAMPLING_TOO_SLOW"                // the time asked for is below what the samples resolve
	RecordTooShort         Reason = "RECORD_TOO_SHORT"                 // ends before the event or the window does
	RecordIncomplete       Reason = "RECORD_INCOMPLETE"                // more missing than the method tolerates
	GapTooLong             Reason = "GAP_TOO_LONG"                     // one gap longer than the method tolerates
	ChannelMissing         Reason = "CHANNEL_MISSING"                  // a required channel is not offered
	ComponentExcluded      Reason = "COMPONENT_EXCLUDED"               // the standard's scope excludes this component or circuit
	NoFailures             Reason = "NO_FAILURES"                      // no failure: only a lower bound with an assumed shape
	FewDistinctFailures    Reason = "FEWER_THAN_TWO_DISTINCT_FAILURES" // two parameters cannot follow from one failure time
	NoCrossing             Reason = "NO_CROSSING"                      // the trace never passes the threshold for good
	NoStep                 Reason = "NO_STEP"                          // start and end of the trace do not differ
	NoFit                  Reason = "NO_FIT"                           // the least squares problem has no sound solution
	NotIsothermal          Reason = "NOT_ISOTHERMAL"                   // the tank cooled more than the method allows
	PressureChangeTooLarge Reason = "PRESSURE_CHANGE_TOO_LARGE"        // a leak test lost more than its share of the start pressure
	OutOfRange             Reason = "OUT_OF_RANGE"                     // a value that no such measurement can have
)

// A Refusal says that a method does not judge an input, and why. It is
// neither a pass nor a fail.
type Refusal struct { //nolint:errname // "a *Refusal" is what the reports and messages call it
	Method string // name and version, as "iso6358-1/1"
	Reason Reason // stable code
	Detail string // what was found, where, and what to do
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s refuses the input (%s): %s", r.Method, r.Reason, r.Detail)
}

func refuse(method string, reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Method: method, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
