package modbus_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	goburrow "github.com/goburrow/modbus"
	"github.com/google/go-cmp/cmp"

	"pneudaq/devices/modbus"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// crc16 is computed bit by bit, as the flow chart of MODBUS over Serial Line
// V1.02, section 6.2.2, has it.
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, v := range b {
		crc ^= uint16(v)
		for range 8 {
			odd := crc & 1
			crc >>= 1
			if odd == 1 {
				crc ^= 0xA001
			}
		}
	}
	return crc
}

func rtuFrame(unit byte, pdu []byte) []byte {
	f := append([]byte{unit}, pdu...)
	c := crc16(f)
	return append(f, byte(c), byte(c>>8))
}

func tcpFrame(tid uint16, unit byte, pdu []byte) []byte {
	f := binary.BigEndian.AppendUint16(nil, tid)
	f = binary.BigEndian.AppendUint16(append(f, 0, 0), uint16(len(pdu)+1))
	return append(append(f, unit), pdu...)
}

// wire is a peer at the other end of a pipe, byte for byte.
type wire struct {
	t    *testing.T
	conn net.Conn
	rtu  bool
	sent []byte // everything that the bus wrote
}

// request reads n bytes of PDU and returns them with the transaction id.
func (w *wire) request(n int) (tid uint16, pdu []byte, err error) {
	head, tail := 7, 0
	if w.rtu {
		head, tail = 1, 2
	}
	f := make([]byte, head+n+tail)
	if _, err := io.ReadFull(w.conn, f); err != nil {
		return 0, nil, err
	}
	w.sent = append(w.sent, f...)
	if w.rtu {
		if got, want := binary.LittleEndian.Uint16(f[len(f)-2:]), crc16(f[:len(f)-2]); got != want {
			w.t.Errorf("request % X has the check sum %04X, want %04X", f, got, want)
		}
		return 0, f[1 : 1+n], nil
	}
	if got, want := binary.BigEndian.Uint16(f[4:]), uint16(n+1); got != want || f[2] != 0 || f[3] != 0 {
		w.t.Errorf("request % X: length %d, want %d, protocol 0", f, got, want)
	}
	return binary.BigEndian.Uint16(f), f[7:], nil
}

// frame frames an answer PDU.
func (w *wire) frame(tid uint16, unit byte, pdu []byte) []byte {
	if w.rtu {
		return rtuFrame(unit, pdu)
	}
	return tcpFrame(tid, unit, pdu)
}

func (w *wire) write(b []byte) {
	_, _ = w.conn.Write(b) // a bus that hung up is what some tests are about
}

// onPipes makes connections pipes; peer is run for each. join waits for them.
func onPipes(t *testing.T, o *modbus.Options, peer func(w *wire)) (join func()) {
	t.Helper()
	rtu := strings.HasPrefix(o.Endpoint, "rtu")
	var peers sync.WaitGroup
	o.Dial = func(context.Context) (io.ReadWriteCloser, error) {
		here, there := net.Pipe()
		peers.Go(func() {
			defer there.Close()
			peer(&wire{t: t, conn: there, rtu: rtu})
		})
		return here, nil
	}
	return peers.Wait
}

// piped returns a connected bus on pipes.
func piped(t *testing.T, o modbus.Options, peer func(w *wire)) *modbus.Bus {
	t.Helper()
	join := onPipes(t, &o, peer)
	b := open(t, o)
	t.Cleanup(func() {
		_ = b.Close()
		join()
	})
	if err := b.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// MODBUS Application Protocol V1.1b3, the examples of section 6, typed by hand.
// (In 6.21 the length of the product code is that of its text.)
func examples() []struct {
	name         string
	ask          func(c *modbus.Client) ([]byte, error)
	request      string
	answer, want string
} {
	type c = modbus.Client
	return []struct {
		name         string
		ask          func(c *c) ([]byte, error)
		request      string
		answer, want string
	}{
		{"6.1 read coils", func(c *c) ([]byte, error) { return c.ReadCoils(0x13, 0x13) }, "01 0013 0013", "01 03 CD6B05", "CD6B05"},
		{"6.2 read discrete inputs", func(c *c) ([]byte, error) { return c.ReadDiscreteInputs(0xC4, 0x16) }, "02 00C4 0016", "02 03 ACDB35", "ACDB35"},
		{"6.3 read holding registers", func(c *c) ([]byte, error) { return c.ReadHoldingRegisters(0x6B, 3) }, "03 006B 0003", "03 06 022B 0000 0064", "022B 0000 0064"},
		{"6.4 read input registers", func(c *c) ([]byte, error) { return c.ReadInputRegisters(8, 1) }, "04 0008 0001", "04 02 000A", "000A"},
		{"6.5 write single coil", func(c *c) ([]byte, error) { return c.WriteSingleCoil(0xAC, 0xFF00) }, "05 00AC FF00", "05 00AC FF00", "FF00"},
		{"6.6 write single register", func(c *c) ([]byte, error) { return c.WriteSingleRegister(1, 3) }, "06 0001 0003", "06 0001 0003", "0003"},
		{"6.11 write multiple coils", func(c *c) ([]byte, error) { return c.WriteMultipleCoils(0x13, 10, []byte{0xCD, 1}) }, "0F 0013 000A 02 CD01", "0F 0013 000A", "000A"},
		{"6.12 write multiple registers", func(c *c) ([]byte, error) { return c.WriteMultipleRegisters(1, 2, []byte{0, 10, 1, 2}) }, "10 0001 0002 04 000A 0102", "10 0001 0002", "0002"},
		{"6.16 mask write register", func(c *c) ([]byte, error) { return c.MaskWriteRegister(4, 0xF2, 0x25) }, "16 0004 00F2 0025", "16 0004 00F2 0025", "00F2 0025"},
		{
			"6.17 read/write multiple registers",
			func(c *c) ([]byte, error) {
				return c.ReadWriteMultipleRegisters(3, 6, 14, 3, []byte{0, 0xFF, 0, 0xFF, 0, 0xFF})
			},
			"17 0003 0006 000E 0003 06 00FF 00FF 00FF", "17 0C 00FE 0ACD 0001 0003 000D 00FF", "00FE 0ACD 0001 0003 000D 00FF",
		},
		{"6.18 read FIFO queue", func(c *c) ([]byte, error) { return c.ReadFIFOQueue(0x04DE) }, "18 04DE", "18 0006 0002 01B8 1284", "01B8 1284"},
		{"6.18 empty queue", func(c *c) ([]byte, error) { return c.ReadFIFOQueue(0x04DE) }, "18 04DE", "18 0002 0000", ""},
		{
			"6.21 device identification",
			func(c *c) ([]byte, error) {
				o, err := c.Identification(1)
				return []byte(fmt.Sprint(o[0], "|", o[1], "|", o[2])), err
			},
			"2B 0E 01 00",
			"2B 0E 01 01 00 00 03 00 16 436F6D70616E79206964656E74696669636174696F6E 01 0F 50726F6475637420636F6465 205858 02 05 56322E3131",
			hex.EncodeToString([]byte("Company identification|Product code XX|V2.11")),
		},
	}
}

// (c) and the example frames of every function, byte for byte, whole and split
// at every place.
func TestSpecificationFrames(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"tcp://10.0.0.1:502", "rtu+tcp://10.0.0.1:4001?baud=19200"} {
		for _, e := range examples() {
			t.Run(strings.Split(endpoint, ":")[0]+" "+e.name, func(t *testing.T) {
				t.Parallel()
				request, answer, want := unhex(t, e.request), unhex(t, e.answer), unhex(t, e.want)
				for cut := range len(answer) + 7 {
					synctest.Test(t, func(t *testing.T) {
						o := modbus.Options{Name: "b", Endpoint: endpoint, Devices: []modbus.Device{{Name: "d", Unit: 17}}}
						b := piped(t, o, func(w *wire) {
							tid, pdu, err := w.request(len(request))
							if err != nil {
								return
							}
							if diff := cmp.Diff(request, pdu); diff != "" {
								t.Errorf("request: %s", diff)
							}
							f := w.frame(tid, 17, answer)
							w.write(f[:min(cut, len(f))])
							time.Sleep(3 * time.Millisecond)
							w.write(f[min(cut, len(f)):])
							_, _, _ = w.request(1)
						})
						b.Arm(true)
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						defer cancel()
						got, err := e.ask(b.Client(ctx, 17))
						if err != nil || !bytes.Equal(got, want) {
							t.Errorf("cut at %d: got % X, %v; want % X", cut, got, err, want)
						}
					})
				}
			})
		}
	}
}

// (b) An exception is an exception however its bytes come in.
func TestExceptionSplitOverTwoReads(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"tcp://10.0.0.1:502", "rtu+tcp://10.0.0.1:4001"} {
		for cut := range 9 {
			synctest.Test(t, func(t *testing.T) {
				o := modbus.Options{Name: "b", Endpoint: endpoint, Devices: []modbus.Device{{Name: "d", Unit: 1}}}
				b := piped(t, o, func(w *wire) {
					tid, _, err := w.request(5)
					if err != nil {
						return
					}
					f := w.frame(tid, 1, []byte{0x83, 2})
					w.write(f[:min(cut, len(f))])
					time.Sleep(5 * time.Millisecond)
					w.write(f[min(cut, len(f)):])
					_, _, _ = w.request(1)
				})
				_, err := b.Client(t.Context(), 1).ReadHoldingRegisters(0, 10)
				var refused *goburrow.ModbusError
				if !errors.As(err, &refused) || refused.ExceptionCode != 2 || refused.FunctionCode != 0x83 {
					t.Errorf("%s cut at %d: %v, want exception 2", endpoint, cut, err)
				}
			})
		}
	}
}

// MODBUS over Serial Line V1.02, appendix B: 02 07 has the check sum 41 12.
func TestCheckSumOfTheSpecification(t *testing.T) {
	t.Parallel()
	if got := modbus.CheckSum([]byte{2, 7}); got != 0x1241 {
		t.Errorf("check sum %04X, want 1241", got)
	}
}
