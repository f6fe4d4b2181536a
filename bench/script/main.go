// Command script is the honest yardstick: what a good engineer writes in an
// afternoon with goburrow/modbus, time.Ticker and the client's asynchronous
// WriteAPI. It has no durability.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/goburrow/modbus"
	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api/write"
)

func main() {
	server := flag.String("server", "127.0.0.1:15020", "Modbus server")
	url := flag.String("url", "http://127.0.0.1:18086", "InfluxDB")
	devices := flag.Int("devices", 50, "units, one connection each")
	period := flag.Duration("period", 10*time.Millisecond, "period")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client := influxdb2.NewClientWithOptions(*url, "", influxdb2.DefaultOptions().SetBatchSize(500).SetFlushInterval(1000).SetPrecision(time.Nanosecond))
	w := client.WriteAPI("", "bench")
	var failed atomic.Uint64
	go func() {
		for range w.Errors() {
			failed.Add(1)
		}
	}()
	var polls atomic.Uint64
	var wg sync.WaitGroup
	for unit := 1; unit <= *devices; unit++ {
		wg.Go(func() {
			h := modbus.NewTCPClientHandler(*server)
			h.SlaveId, h.Timeout = byte(unit), 500*time.Millisecond
			defer func() { _ = h.Close() }()
			c := modbus.NewClient(h)
			tick := time.NewTicker(*period)
			defer tick.Stop()
			tags := map[string]string{"rig": fmt.Sprintf("dev%d", unit)}
			for {
				select {
				case <-ctx.Done():
					return
				case now := <-tick.C:
					data, err := c.ReadHoldingRegisters(0, 125)
					if err != nil || len(data) != 250 {
						_ = h.Close()
						continue
					}
					fields := make(map[string]any, 125)
					fields["clock"] = float64(binary.BigEndian.Uint64(data))
					fields["unit"] = float64(binary.BigEndian.Uint16(data[8:]))
					for i := 5; i < 125; i++ {
						fields[fmt.Sprintf("r%d", i)] = float64(binary.BigEndian.Uint16(data[2*i:]))
					}
					w.WritePoint(write.NewPoint("pneumatics", tags, fields, now))
					polls.Add(1)
				}
			}
		})
	}
	wg.Wait()
	client.Close()
	fmt.Printf("{\"polls\": %d, \"failed\": %d}\n", polls.Load(), failed.Load())
}
