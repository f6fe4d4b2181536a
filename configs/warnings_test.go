package configs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pneudaq/configs"
)

const plainRig = `version: 1
rig: bench
buses:
  field: { modbus: "tcp://127.0.0.1:5020" }
devices:
  plc: { bus: field, unit: 10, address_base: 0 }
groups:
  main: { period: 100ms }
channels:
  p1: { group: main, device: plc, holding: 2, type: uint16, unit: kPa_a }
`

// What is allowed and probably not meant is a warning with its place; the
// files load all the same.
func TestWarnings(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		from, to, code string
		line           int
	}{
		"unused bus":           {"devices:\n", "  spare: { modbus: \"tcp://127.0.0.1:5021\" }\ndevices:\n", "PD1287", 5},
		"unused device":        {"groups:\n", "  io: { bus: field, unit: 11, address_base: 0 }\ngroups:\n", "PD1288", 7},
		"same register":        {"unit: kPa_a }\n", "unit: kPa_a }\n  p2: { group: main, device: plc, holding: 2, type: uint16, unit: kPa_a }\n", "PD1192", 11},
		"no safe state":        {"unit: kPa_a }\n", "unit: kPa_a }\n  v: { group: main, device: plc, coil: 0, writable: true }\n  beat: { group: main, device: plc, holding: 9, type: uint16, writable: true }\nheartbeat: { channel: beat, period: 1s }\n", "PD1234", 11},
		"entity number":        {"holding: 2", "holding: 40003", "PD1290", 10},
		"store too small":      {"unit: kPa_a }\n", "unit: kPa_a }\nstore: { days: 3650, size: 1MB }\n", "PD1289", 11},
		"influx without url":   {"unit: kPa_a }\n", "unit: kPa_a }\ninflux: { bucket: b/autogen }\n", "PD1286", 11},
		"lender not read":      {"unit: kPa_a }\n", "unit: kPa_a }\n  hall: { group: main, borrow: hall/p_atm, unit: hPa_a }\n", "PD1164", 11},
		"busy bus":             {"period: 100ms", "period: 120us", "PD1282", 4},
		"twin without signals": {"unit: kPa_a }\n", "unit: kPa_a }\nsimulate: { plant: flow-bench }\n", "PD1269", 6},
		"absent from the model": {
			"plc: { bus: field, unit: 10, address_base: 0 }", "plc: { bus: field, unit: 10, model: keller-33x }", "PD1188", 10,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(plainRig, tc.from, tc.to, 1)
			if name == "absent from the model" {
				text = strings.Replace(text, "holding: 2,", "holding: 0x0100,", 1)
			}
			rep, problems := configs.Check(written(t, "r.yaml", text))
			if problems != nil {
				t.Fatal(problems.Text(configs.English))
			}
			if len(rep.Warnings) != 1 || string(rep.Warnings[0].Code) != tc.code || rep.Warnings[0].Line != tc.line {
				t.Fatalf("want %s at line %d\n%s", tc.code, tc.line, rep.Warnings.Text(configs.English))
			}
		})
	}
}

// F098: an instrument without a certificate in force is named.
func TestF098CertificateOver(t *testing.T) {
	t.Parallel()
	for due, want := range map[string]string{"2020-03-31": "PD1246", "": "PD1247", "2999-12-31": ""} {
		text := "version: 1\ninstrument: SN5\nunit: bar_a\nrange: [0, 10]\n"
		if due != "" {
			text += "certificates:\n  - number: C1\n    laboratory: Lab\n    date: 2019-03-31\n    due: " + due + "\n    points:\n      - { reference: 0, indication: 0.001, U: 0.002 }\n"
		}
		file := written(t, "r.yaml", strings.Replace(plainRig, "unit: kPa_a }", "unit: kPa_a, instrument: SN5 }", 1))
		dir := filepath.Join(filepath.Dir(filepath.Dir(file)), "instruments")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "SN5.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		rep, problems := configs.Check(file)
		if problems != nil {
			t.Fatal(problems.Text(configs.English))
		}
		got := ""
		if len(rep.Warnings) == 1 {
			got = string(rep.Warnings[0].Code)
		}
		if got != want || len(rep.Warnings) > 1 {
			t.Errorf("due %q: %s, want %q", due, rep.Warnings.Text(configs.English), want)
		}
	}
}

func TestSeveralRigs(t *testing.T) {
	t.Parallel()
	hall := strings.NewReplacer("rig: bench", "rig: hall", "p1:", "p_atm:", "5020", "5021").Replace(plainRig)
	borrower := func(lender, unit string) string {
		return plainRig + "  hall: { group: main, borrow: " + lender + ", unit: " + unit + " }\n"
	}
	for name, tc := range map[string]struct{ text, code string }{
		"good":              {borrower("hall/p_atm", "hPa_a"), ""},
		"channel misnamed":  {borrower("hall/p_atn", "hPa_a"), "PD1165"},
		"another dimension": {borrower("hall/p_atm", "degC"), "PD1173"},
		"same name":         {hall, "PD1088"},
	} {
		a, b := written(t, "hall.yaml", hall), written(t, "r.yaml", tc.text)
		rigs, problems := configs.Load(a, b)
		if code(problems) != tc.code {
			t.Errorf("%s: %s", name, problems.Text(configs.English))
			continue
		}
		if name != "good" {
			continue
		}
		c := rigs[1].Channel("hall")
		if c == nil || c.Origin != configs.FromOtherRig || c.LenderRig != "hall" || c.Lender != "p_atm" || c.Decoding.Scale != 10 || c.MaxAge.String() != "1s" {
			t.Errorf("%+v", c)
		}
	}
}

func TestServiceFile(t *testing.T) {
	t.Setenv("PNEUDAQ_INFLUX_URL", "http://10.0.0.1:8086")
	t.Setenv("PNEUDAQ_INFLUX_TOKEN", "user:canary")
	t.Setenv("PNEUDAQ_LISTEN", "127.0.0.1:9000")
	rig := written(t, "r.yaml", plainRig)
	file := filepath.Join(filepath.Dir(rig), "service.yaml")
	text := "version: 1\nservice: gateway-3\nrigs: [r.yaml, flow-bench]\nlisten: 127.0.0.1:8470\nstore: { keep: during_recordings, days: 7 }\ninflux: { url: \"http://127.0.0.1:8086\", bucket: pneudaq/autogen }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, rigs, problems := configs.LoadService(file)
	if problems != nil {
		t.Fatal(problems.Text(configs.English))
	}
	if s.Name != "gateway-3" || s.Listen != "127.0.0.1:9000" || len(rigs) != 2 || rigs[0].Name != "bench" || rigs[1].Name != "flow-bench" {
		t.Fatalf("%+v %d", s, len(rigs))
	}
	if r := rigs[0].Retention; r.Keep != "during_recordings" || r.Days != 7 {
		t.Errorf("%+v", r)
	}
	if r := rigs[1].Retention; r.Keep != "always" || r.Days != 30 {
		t.Errorf("flow-bench states its own: %+v", r)
	}
	o, ok, err := rigs[0].Influx()
	if err != nil || !ok || o.URL != "http://10.0.0.1:8086" || o.Bucket != "pneudaq/autogen" {
		t.Fatalf("%+v %v %v", o, ok, err)
	}
	if token, err := o.Token(); err != nil || token != "user:canary" {
		t.Errorf("%q %v", token, err)
	}
	store, err := configs.Storage(rigs...)
	if err != nil || store.Retention.Keep.String() != "always" || store.Retention.Days != 30 || store.RecordingTick.String() != "50ms" {
		t.Errorf("%+v %v", store, err)
	}
}
