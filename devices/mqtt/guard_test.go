package mqtt_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"pneudaq/devices/mqtt"
)

func publish(tb testing.TB, topic string, qos byte, id uint16, payload []byte) []byte {
	tb.Helper()
	p := &packets.PublishPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Publish, Qos: qos}, TopicName: topic, MessageID: id, Payload: payload}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func connack() []byte { return []byte{0x20, 2, 0, 0} }

// F039: a packet whose header claims 256 MB is never read into memory: it is
// thrown away in pieces, reported with topic and size, acknowledged, and what
// follows arrives.
//
//nolint:paralleltest // it measures what is allocated
func TestF039GuardRefusesHugePackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 256<<20 - 1
		near, far := net.Pipe()
		var told []string
		g := mqtt.NewGuard(near, 1<<20, 1, func(topic string, n int, head []byte) {
			told = append(told, fmt.Sprintf("%s %d %d", topic, n, len(head)))
		})
		acks := make(chan []byte, 1)
		go func() { // the broker
			defer close(acks)
			_, _ = far.Write(connack())
			_, _ = far.Write([]byte{0x32, 0xff, 0xff, 0xff, 0x7f, 0, 5, 'r', 'i', 'g', '/', 'x', 0x12, 0x34})
			chunk := make([]byte, 1<<20)
			for left := size - 9; left > 0; {
				n, err := far.Write(chunk[:min(left, len(chunk))])
				if err != nil {
					return
				}
				left -= n
			}
			ack := make([]byte, 4)
			_, _ = io.ReadFull(far, ack)
			acks <- ack
			_, _ = far.Write(publish(t, "rig/y", 1, 7, []byte("1")))
		}()
		if _, err := packets.ReadPacket(g); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := packets.ReadPacket(g)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatal(err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
			t.Errorf("%d bytes were allocated for a packet of %d", n, size)
		}
		if pub, ok := p.(*packets.PublishPacket); !ok || pub.TopicName != "rig/y" {
			t.Fatalf("%v after the huge packet", p)
		}
		if want := fmt.Sprintf("rig/x %d 256", size); len(told) != 1 || told[0] != want {
			t.Errorf("told %q, want %q", told, want)
		}
		if ack := <-acks; !bytes.Equal(ack, []byte{0x40, 2, 0x12, 0x34}) {
			t.Errorf("acknowledged with % x", ack)
		}
		_ = near.Close()
		_ = far.Close()
	})
}

// What a broker may not send ends the connection with the reason.
func TestGuardErrors(t *testing.T) {
	t.Parallel()
	after := func(b ...byte) []byte { return append(connack(), b...) }
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"HTTP", []byte("HTTP/1.1 400 Bad Request\r\n"), "no MQTT broker but an HTTP server"},
		{"TLS alert", []byte{0x15, 3, 1, 0, 2, 2, 40}, "mqtts://"},
		{"SSH", []byte("SSH-2.0-OpenSSH_9.2\r\n"), "no MQTT broker: it begins with 53"},
		{"CONNACK of MQTT 5", []byte{0x20, 3, 0, 0, 0}, "3.1.1"},
		{"CONNACK with an unknown code", []byte{0x20, 2, 0, 42}, "unknown code 42"},
		{"second CONNACK", append(connack(), connack()...), "open already"},
		{"length without end", after(0x30, 0xff, 0xff, 0xff, 0xff, 0x7f), "more than four bytes"},
		{"type of clients", after(0xc0, 0), "only clients send"},
		{"more SUBACK codes than filters", after(0x90, 4, 0, 1, 0, 0), "damaged"},
		{"SUBACK without codes", after(0x90, 2, 0, 1), "damaged"},
		{"PUBACK of 1 byte", after(0x40, 1, 0), "damaged"},
		{"PINGRESP with a body", after(0xd0, 1, 0), "damaged"},
		{"QoS 3", after(0x36, 6, 0, 1, 'a', 0, 1, 'x'), "QoS 3"},
		{"topic longer than the packet", after(0x30, 4, 0, 200, 'a', 'b'), "topic of 200"},
		{"empty topic", after(0x30, 3, 0, 0, 'x'), "topic of 0"},
		{"cut in the header", after(0x30), "unexpected EOF"},
		{"large and not a message", after(0x90, 0xff, 0xff, 0xff, 0x7f, 0, 1), "damaged"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := mqtt.NewGuardReader(tc.data, 1<<20, 1, func(string, int, []byte) { t.Error("reported as too large") })
			got, err := io.ReadAll(g)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want one with %q", err, tc.want)
			}
			if want := tc.data[:min(4, len(tc.data))]; len(got) > 0 && !bytes.Equal(got, want) {
				t.Errorf("passed % x", got)
			}
		})
	}
}

// F035: a partition with the TCP connection up is noticed when nothing has
// come for the guard's time.
func TestF035GuardNoticesADeadConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		g := mqtt.NewGuard(near, 1<<20, 1, nil) // a minute
		go func() { _, _ = far.Write(connack()) }()
		if _, err := packets.ReadPacket(g); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err := packets.ReadPacket(g)
		if err == nil || !strings.Contains(err.Error(), "nothing came from the broker for 1m0s") || time.Since(began) != time.Minute {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if _, err := g.Write([]byte{0xc0, 0}); err == nil { // nobody reads
			t.Error("a write to a dead connection succeeded")
		}
		if d := time.Since(began); d != 2*time.Minute {
			t.Errorf("the write took %s", d-time.Minute)
		}
		_ = near.Close()
		_ = far.Close()
	})
}

// FuzzGuard: whatever a peer sends, the library behind the guard does not
// panic, gets no packet above the limit, and gets every byte unchanged.
func FuzzGuard(f *testing.F) {
	f.Add(append(connack(), publish(f, "rig/a", 1, 5, []byte("12.5"))...))
	f.Add(append(connack(), publish(f, "rig/a", 0, 0, bytes.Repeat([]byte("x"), 300))...))
	f.Add([]byte{0x20, 2, 0, 0, 0x90, 3, 0, 1, 0x80, 0xd0, 0, 0x40, 2, 0, 1})
	f.Add([]byte("HTTP/1.0 200 OK\r\n\r\n"))
	f.Add(append(connack(), 0x32, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'a', 0, 9))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 200
		oversize := 0
		g := mqtt.NewGuardReader(data, limit, 2, func(_ string, n int, _ []byte) {
			oversize++
			if n <= limit {
				t.Errorf("%d bytes were reported as too large", n)
			}
		})
		var passed bytes.Buffer
		tee := io.TeeReader(g, &passed)
		for {
			p, err := packets.ReadPacket(tee)
			if err != nil {
				break
			}
			switch p := p.(type) {
			case *packets.SubackPacket:
				if len(p.ReturnCodes) > 2 {
					t.Errorf("%d codes passed", len(p.ReturnCodes))
				}
			case *packets.PublishPacket:
				if p.Qos > 1 || len(p.Payload) > limit {
					t.Errorf("passed %v", p)
				}
			case *packets.ConnackPacket:
				if p.ReturnCode > 5 {
					t.Errorf("code %d passed", p.ReturnCode)
				}
			}
		}
		if oversize == 0 && !bytes.HasPrefix(data, passed.Bytes()) {
			t.Errorf("passed % x of % x", passed.Bytes(), data)
		}
	})
}
