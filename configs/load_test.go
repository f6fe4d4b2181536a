package configs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pneudaq/configs"
	"pneudaq/devices/modbus"
	"pneudaq/devices/mqtt"
	"pneudaq/simulator"
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

func TestTwinOfAnEncryptedBusNamesItsCertificates(t *testing.T) {
	t.Parallel()
	file := mutated(t, "flow-bench.yaml", "simulate:\n", "simulate:\n  tls: { cert_file: twin.pem, key_file: twin.key, client_ca_file: ca.pem }\n")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), "tcp://127.0.0.1:5020", "tls://127.0.0.1:5020", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	rigs, problems := configs.Load(file)
	if problems != nil {
		t.Fatal(problems.Text(configs.English))
	}
	o, err := rigs[0].Simulator()
	if err != nil {
		t.Fatal(err)
	}
	if b := o.Buses[0]; b.Kind != simulator.BusTLS || filepath.Base(b.TLS.Certificate) != "twin.pem" || filepath.Base(b.TLS.ClientCA) != "ca.pem" {
		t.Errorf("%+v", b.TLS)
	}
}
