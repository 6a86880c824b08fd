package nfc

import (
	"bufio"
	"encoding/binary"
	"net"
	"sync/atomic"
)

const flushAt = 256 << 10

// wire is a TCP connection under TLS. A read of it never goes beyond one TLS record, so that a TLS session which is
// abandoned has taken nothing of what comes after it. Writes can be gathered into large ones.
type wire struct {
	net.Conn
	in     *bufio.Reader
	left   int // of the record that is being read
	gather bool
	out    []byte

	received, sent atomic.Int64
}

func newWire(c net.Conn) *wire { return &wire{Conn: c, in: bufio.NewReaderSize(c, 32<<10)} }

func (w *wire) Read(p []byte) (int, error) {
	if w.left == 0 {
		head, err := w.in.Peek(5)
		if err != nil {
			return 0, err
		}
		w.left = 5 + int(binary.BigEndian.Uint16(head[3:]))
	}
	n, err := w.in.Read(p[:min(len(p), w.left)])
	w.left -= n
	w.received.Add(int64(n))
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	if w.gather {
		w.out = append(w.out, p...)
		return len(p), nil
	}
	n, err := w.Conn.Write(p)
	w.sent.Add(int64(n))
	return n, err
}

// flush sends what was gathered.
func (w *wire) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	n, err := w.Conn.Write(w.out)
	w.sent.Add(int64(n))
	w.out = w.out[:0]
	return err
}

// reset cuts the connection hard, as a host that is gone.
func (w *wire) reset() {
	if tcp, ok := w.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = w.Conn.Close()
}
