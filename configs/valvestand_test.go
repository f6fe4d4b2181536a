package configs_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/devices/mqtt"
	"pneudaq/simulator"
)

// The bursts of valve-stand come through a real broker as its rig file says,
// and show the twin's pressures.
func TestValveStandBurstsArrive(t *testing.T) {
	t.Parallel()
	rigs, problems := configs.Load("valve-stand")
	if problems != nil {
		t.Fatal(problems)
	}
	broker, err := simulator.OpenBroker(simulator.BrokerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	endpoint := "mqtt://" + broker.Addr()
	options, err := rigs[0].Simulator()
	if err != nil {
		t.Fatal(err)
	}
	options.Params["sensors.ideal"], options.Params["plc.rest"] = 1, 0.1
	for i := range options.Buses {
		options.Buses[i].Listen = "none"
	}
	for i := range options.Publishers {
		options.Publishers[i].Broker = endpoint
	}
	twin, err := simulator.Open(t.Context(), options, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- twin.Run(ctx) }()
	brokers, err := rigs[0].MQTT()
	if err != nil {
		t.Fatal(err)
	}
	o := brokers[0]
	o.Endpoint = endpoint
	o.Quarantine = func(topic string, _ []byte, why string) { t.Errorf("quarantine of %s: %s", topic, why) }
	client, err := mqtt.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	err = client.Receive(ctx, func(d *acquisition.Delivery) error {
		seen[d.Group.Name] += len(d.Scans)
		look(t, d)
		d.Ack()
		if seen["shift"] >= 2400 && seen["weather"] >= 1 {
			cancel()
		}
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_ = client.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if seen["shift"] < 2400 || seen["weather"] < 1 {
		t.Errorf("scans: %v", seen)
	}
}

func look(t *testing.T, d *acquisition.Delivery) {
	t.Helper()
	dec, err := acquisition.NewDecoder(d.Group, configs.Compile)
	if err != nil {
		t.Fatal(err)
	}
	values, quality := make([]float64, len(d.Group.Channels)), make([]acquisition.Quality, len(d.Group.Channels))
	for i := range d.Scans {
		s := &d.Scans[i]
		dec.Decode(s.Words, s.Numbers, s.Quality, values, quality)
		for j := range values {
			c := &d.Group.Channels[j]
			low, high := 90.0, 1000.0 // kPa between atmosphere and supply
			switch c.Name {
			case "coil_edge":
				low, high = 0, 1
			case "dp":
				low, high = -1000, 1000
			case "p_atm":
				low, high = 900, 1100 // hPa
			}
			if quality[j] != acquisition.Good || values[j] < low || values[j] > high {
				t.Fatalf("%s of scan %d: %v %v", c.Name, i, values[j], quality[j])
			}
		}
		if i > 0 && d.Group.Name == "shift" && math.Abs(float64(s.Time-d.Scans[i-1].Time)-1e5) > 2000 {
			t.Fatalf("scan %d follows after %d ns", i, s.Time-d.Scans[i-1].Time)
		}
	}
}
