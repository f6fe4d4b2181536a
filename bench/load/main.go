// Command load is a Modbus TCP server whose registers say what they are: of
// every unit, holding registers 0-3 are the server's clock at the time of the
// read (Unix ns, big endian), register 4 is the unit, and register n from 5 on
// is unit·256 + n. It shares no code with the product.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:15020", "address")
	delay := flag.Duration("delay", 0, "time that one answer takes; answers of one connection follow each other unless -parallel")
	parallel := flag.Bool("parallel", false, "answers of one connection may overlap")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	var requests atomic.Uint64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c, *delay, *parallel, &requests)
		}
	}()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	_ = l.Close()
	fmt.Printf("{\"requests\": %d}\n", requests.Load())
}

func serve(c net.Conn, delay time.Duration, parallel bool, requests *atomic.Uint64) {
	defer func() { _ = c.Close() }()
	in := make([]byte, 4096)
	have := 0
	var mu sync.Mutex
	for {
		n, err := c.Read(in[have:])
		if err != nil {
			if err != io.EOF {
				return
			}
			return
		}
		have += n
		at := 0
		for have-at >= 12 {
			req := in[at : at+12]
			length := int(binary.BigEndian.Uint16(req[4:]))
			if length != 6 {
				return // only reads are expected here
			}
			at += 12
			requests.Add(1)
			if delay > 0 && parallel {
				own := append([]byte(nil), req...)
				time.AfterFunc(delay, func() {
					mu.Lock()
					defer mu.Unlock()
					_, _ = c.Write(answer(own, nil))
				})
				continue
			}
			if delay > 0 {
				time.Sleep(delay)
			}
			var buf [270]byte
			if _, err := c.Write(answer(req, buf[:0])); err != nil {
				return
			}
		}
		have = copy(in, in[at:have])
	}
}

func answer(req, out []byte) []byte {
	unit, function := req[6], req[7]
	from, count := binary.BigEndian.Uint16(req[8:]), binary.BigEndian.Uint16(req[10:])
	out = append(out, req[0], req[1], 0, 0)
	if function != 3 || count == 0 || count > 125 {
		return append(out, 0, 3, unit, function|0x80, 3)
	}
	out = binary.BigEndian.AppendUint16(out, 3+2*count)
	out = append(out, unit, function, byte(2*count))
	now := uint64(time.Now().UnixNano())
	for i := range count {
		n := from + i
		v := uint16(unit)*256 + n
		switch {
		case n < 4:
			v = uint16(now >> (48 - 16*n))
		case n == 4:
			v = uint16(unit)
		}
		out = binary.BigEndian.AppendUint16(out, v)
	}
	return out
}
