package simulator_test

import (
	"os"
	"testing"
)

// leaveOut skips a test for lack of a program, or fails it where everything is
// wanted.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("PNEUDAQ_REQUIRE_ALL") != "" {
		t.Fatal(why)
	}
	t.Skip("LEFT OUT: " + why)
}
