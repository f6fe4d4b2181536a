package configs_test

import (
	"testing"

	"pneudaq/configs"
	"pneudaq/devices/modbus"
	"pneudaq/devices/mqtt"
)

func TestBundledRigsLoad(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"flow-bench", "valve-stand"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rigs, problems := configs.Load(name)
			if problems != nil {
				t.Fatalf("%s:\n%s", name, problems.Text(configs.English))
			}
			if len(rigs) != 1 || rigs[0].Name != name {
				t.Fatalf("%s: got %d rigs", name, len(rigs))
			}
			for _, w := range rigs[0].Warnings {
				t.Error(w.Text(configs.English))
			}
			if _, err := rigs[0].Simulator(); err != nil {
				t.Error(err)
			}
			buses, err := rigs[0].Modbus()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range buses {
				b, err := modbus.New(o)
				if err != nil {
					t.Fatal(err)
				}
				t.Log(b.Plan())
			}
			brokers, err := rigs[0].MQTT()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range brokers {
				if _, err := mqtt.New(o); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestTheExampleServiceLoads(t *testing.T) {
	t.Parallel()
	s, rigs, problems := configs.LoadService("systemd/gateway.yaml")
	if problems != nil {
		t.Fatal(problems.Text(configs.English))
	}
	if s.Name != "gateway-1" || len(rigs) != 1 {
		t.Errorf("%+v, %d rigs", s, len(rigs))
	}
}
