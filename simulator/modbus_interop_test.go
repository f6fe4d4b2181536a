package simulator_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/simulator"
)

// foreign runs a twin for clients that others have written, on TCP and on a pseudo terminal.
func foreign(t *testing.T) *simulator.Twin {
	t.Helper()
	bit := func(table simulator.Table, address uint16, v float64) simulator.Register {
		return simulator.Register{Table: table, Address: address, Type: "bool", Value: new(v), Writable: table == simulator.Coils}
	}
	unit := simulator.UnitOptions{ID: 1, Registers: []simulator.Register{
		{Table: simulator.Holdings, Address: 0, Type: "float32", Value: new(-123.45)},
		{Table: simulator.Holdings, Address: 2, Type: "float32", Order: "CDAB", Value: new(612.345)},
		{Table: simulator.Inputs, Address: 0, Type: "int32", Order: "CDAB", Value: new(-100000.0)},
		bit(simulator.Coils, 0, 0), bit(simulator.Coils, 1, 1), bit(simulator.Coils, 2, 1), bit(simulator.Coils, 3, 0),
		bit(simulator.Discretes, 0, 1), bit(simulator.Discretes, 1, 0),
		{Table: simulator.Holdings, Address: 10, Type: "uint16", Writable: true},
		{Table: simulator.Holdings, Address: 11, Type: "uint16", Writable: true},
		{Table: simulator.Holdings, Address: 12, Type: "uint32", Writable: true},
	}}
	return start(t, simulator.Options{Rig: "r", Buses: []simulator.BusOptions{
		{Name: "tcp", Kind: simulator.BusTCP, Units: []simulator.UnitOptions{unit}},
		{Name: "rtu", Kind: simulator.BusRTU, Units: []simulator.UnitOptions{unit}},
	}})
}

func execute(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestLibmodbusReadsTheTwin(t *testing.T) {
	t.Parallel()
	compiler, err := exec.LookPath("cc")
	if err != nil {
		leaveOut(t, "no C compiler: interoperation with libmodbus was not tested")
	}
	program := filepath.Join(t.TempDir(), "libmodbus")
	if out, err := exec.CommandContext(t.Context(), compiler, "-o", program, "testdata/libmodbus.c", "-I/usr/include/modbus", "-lmodbus").CombinedOutput(); err != nil {
		t.Skipf("libmodbus is not installed: interoperation with it was not tested (%v: %s)", err, out)
	}
	const want = `read registers 4 C2F6 E666 1614 4419
float abcd -123.450
float cdab 612.345
read input registers 2 7960 FFFE
read bits 4 0 1 1 0
read input bits 2 1 0
write bit 1
write bits 3
read bits 4 1 0 1 1
write register 1
mask write 1
read registers 1 0017
write and read 4 0017 1111 2222 3333
write registers 3
beyond the table: -1 Illegal data address
read-only: -1 Illegal data address
`
	twin := foreign(t)
	host, port, _ := strings.Cut(twin.Addr("tcp"), ":")
	if diff := cmp.Diff(want, execute(t, program, "tcp", host, port)); diff != "" {
		t.Errorf("TCP: %s", diff)
	}
	if diff := cmp.Diff(want, execute(t, program, "rtu", twin.Addr("rtu"))); diff != "" {
		t.Errorf("RTU: %s", diff)
	}
}

func TestMbpollReadsTheTwin(t *testing.T) {
	t.Parallel()
	mbpoll, err := exec.LookPath("mbpoll")
	if err != nil {
		leaveOut(t, "mbpoll is not installed: interoperation with it was not tested")
	}
	twin := foreign(t)
	host, port, _ := strings.Cut(twin.Addr("tcp"), ":")
	serial := []string{"-m", "rtu", "-a", "1", "-b", "115200", "-P", "none", "-1", "-0"}
	network := []string{"-m", "tcp", "-a", "1", "-p", port, "-1", "-0"}
	for name, c := range map[string]struct {
		common []string
		target string
	}{"tcp": {network, host}, "rtu": {serial, twin.Addr("rtu")}} {
		for _, q := range []struct {
			args []string
			want string
		}{
			{[]string{"-B", "-t", "4:float", "-r", "0", "-c", "1"}, "-123.45"},
			{[]string{"-t", "4:float", "-r", "2", "-c", "1"}, "612.345"},
			{[]string{"-t", "3:int", "-r", "0", "-c", "1"}, "-100000"},
			{[]string{"-t", "0", "-r", "1", "-c", "1"}, "1"},
			{[]string{"-t", "1", "-r", "0", "-c", "1"}, "1"},
		} {
			out := execute(t, mbpoll, append(append(append([]string{}, c.common...), q.args...), c.target)...)
			at := strings.LastIndex(out, "]: ")
			if at < 0 || strings.TrimSpace(out[at+3:]) != q.want {
				t.Errorf("%s %v: want %s\n%s", name, q.args, q.want, out)
			}
		}
	}
}
