package modbus_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"pneudaq/acquisition"
	"pneudaq/devices/modbus"
)

// scripted is a connection that says the same bytes after every write, in
// pieces, and then nothing.
type scripted struct {
	says, left []byte
	piece      int
	written    []byte
}

func (c *scripted) Write(b []byte) (int, error) {
	c.left = c.says
	c.written = append(c.written[:0], b...)
	return len(b), nil
}

func (c *scripted) Read(b []byte) (int, error) {
	if len(c.left) == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(b[:min(len(b), c.piece)], c.left)
	c.left = c.left[n:]
	return n, nil
}

func (*scripted) Close() error                     { return nil }
func (*scripted) SetReadDeadline(time.Time) error  { return nil }
func (*scripted) SetWriteDeadline(time.Time) error { return nil }

func fuzzAnswers(f *testing.F, endpoint string) {
	f.Helper()
	isRTU := strings.HasPrefix(endpoint, "rtu")
	w := &wire{rtu: isRTU}
	good := []byte{3, 6, 1, 2, 3, 4, 5, 6}
	for _, pdu := range [][]byte{good, {0x83, 2}, {3, 4, 1, 2, 3, 4}, {4, 6, 1, 2, 3, 4, 5, 6}, {3, 8, 1, 2, 3, 4, 5, 6}, {0x98}, {24, 0, 2, 0, 0}} {
		f.Add(w.frame(1, 1, pdu), uint8(255))
		f.Add(w.frame(1, 2, pdu), uint8(1))
		f.Add(append(w.frame(9, 1, pdu), w.frame(1, 1, pdu)...), uint8(5))
	}
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), uint8(3))
	f.Add([]byte{0, 1, 0, 0, 0xFF, 0xFF, 1, 3}, uint8(255))
	f.Add([]byte{0, 1, 0, 0, 0, 0}, uint8(2))
	f.Fuzz(func(t *testing.T, says []byte, piece uint8) {
		c := &scripted{says: says, piece: max(int(piece), 1)}
		o := registers(endpoint, time.Second, 3, 1)
		o.Timeout, o.Late = time.Millisecond, time.Millisecond
		o.Dial = func(context.Context) (io.ReadWriteCloser, error) { return c, nil }
		b := open(t, o)
		connect(t, b)
		g := b.Groups()[0]
		s := acquisition.NewScan(g)
		for range 2 {
			s.Reset(g)
			if err := b.Poll(t.Context(), g, 1, s); err != nil {
				connect(t, b)
			}
			if s.Quality[0] != acquisition.Good {
				continue
			}
			// What is good stands in the bytes, framed as an answer to this very request.
			pdu := binary.BigEndian.AppendUint16([]byte{3, 6}, s.Words[0])
			pdu = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(pdu, s.Words[1]), s.Words[2])
			want := w.frame(binary.BigEndian.Uint16(c.written), 1, pdu)
			if !bytes.Contains(says, want) {
				t.Fatalf("words % X came out of % X", s.Words, says)
			}
		}
	})
}

func FuzzTCPAnswers(f *testing.F) { fuzzAnswers(f, "tcp://10.0.0.1") }

func FuzzRTUAnswers(f *testing.F) { fuzzAnswers(f, "rtu+tcp://10.0.0.1:1") }

func FuzzAnswerPDU(f *testing.F) {
	hexed := func(s string) []byte {
		var b []byte
		for c := range strings.FieldsSeq(s) {
			v := byte(0)
			for _, d := range c {
				v = v<<4 | byte(strings.IndexRune("0123456789ABCDEF", d))
			}
			b = append(b, v)
		}
		return b
	}
	f.Add(hexed("03 00 6B 00 03"), hexed("03 06 02 2B 00 00 00 64"))
	f.Add(hexed("01 00 13 00 13"), hexed("01 03 CD 6B 05"))
	f.Add(hexed("06 00 01 00 03"), hexed("06 00 01 00 03"))
	f.Add(hexed("18 04 DE"), hexed("18 00 06 00 02 01 B8 12 84"))
	f.Add(hexed("2B 0E 01 00"), hexed("2B 0E 01 01 00 00 01 00 02 41 42"))
	f.Add(hexed("16 00 04 00 F2 00 25"), hexed("16 00 04 00 F2 00 25"))
	f.Add(hexed("03 00 6B 00 03"), hexed("83 02"))
	f.Fuzz(func(t *testing.T, request, answer []byte) {
		if len(request) == 0 || request[0] >= 0x80 {
			return
		}
		reason, text := modbus.Judge(request, answer)
		if reason != acquisition.ReasonNone && text == "" {
			t.Errorf("a refusal without words: % X to % X", answer, request)
		}
		if reason == acquisition.ReasonNone {
			if answer[0] != request[0] {
				t.Errorf("function %d was taken for %d", answer[0], request[0])
			}
			switch request[0] {
			case 3, 4:
				if len(request) >= 5 && len(answer) != 2+2*int(binary.BigEndian.Uint16(request[3:])) {
					t.Errorf("% X was taken for the answer to % X", answer, request)
				}
			}
		}
		if n := modbus.FrameLength(append([]byte{1}, answer...)); n > 256 || n < -1 {
			t.Errorf("a frame of %d bytes", n)
		}
		modbus.Objects(answer)
	})
}
