package nfc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// stepSeconds is how long a client may take for a step before it has a session.
const stepSeconds = 60

// conn is one connection of a client, from the greeting to the end.
type conn struct {
	host    *Host
	id      int
	wire    *wire
	surplus bool // beyond the host's limit

	cert *tls.Certificate
	tls  *tls.Conn     // the session that is in force
	in   *recordReader // of that session

	ticket *ticket
	said   string // after THUMBPRINT_SHA2

	mu      sync.Mutex
	state   string
	client  string
	version uint32
	records int
	open    map[uint64]*openFile

	waiting atomic.Int32 // who wants to write
	writing sync.Mutex
	queue   *queue
}

// openFile is a file that is open on a connection.
type openFile struct {
	File
	stats *diskStats
	reads sync.WaitGroup // in flight
}

func newConn(h *Host, raw net.Conn) *conn {
	return &conn{host: h, wire: newWire(raw), state: "connect", open: map[uint64]*openFile{}}
}

var (
	errRefused = errors.New("refused")
	errEnded   = errors.New("ended by the client")
)

// serve takes a client through all steps, one after the other.
func (c *conn) serve() {
	_ = c.wire.SetDeadline(time.Now().Add(stepSeconds * time.Second))
	for _, step := range []func() error{c.greet, c.firstTLS, c.dialogue, c.secondTLS, c.handshake, c.session} {
		if err := step(); err != nil {
			c.over(err)
			return
		}
	}
}

// over counts how a connection ended. A refusal gets time to arrive: a close with unread bytes would overtake it.
func (c *conn) over(err error) {
	if errors.Is(err, errRefused) {
		c.writing.Lock()
		_ = c.wire.flush()
		c.writing.Unlock()
		if tcp, ok := c.wire.Conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		_ = c.wire.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, c.wire.in)
	}
	s := c.host.service
	s.mu.Lock()
	switch {
	case errors.Is(err, errEnded):
		s.counts.Ended++
	case !errors.Is(err, errRefused) && c.ticket != nil:
		s.counts.Aborted++
	}
	s.mu.Unlock()
	if !errors.Is(err, errEnded) && !errors.Is(err, errCut) {
		log.Printf("nfc: connection %d to %s, at %s: %v", c.id, c.host.name, c.about().State, err)
	}
}

// finish closes what a connection has left, whyever it ended.
func (c *conn) finish() {
	_ = c.wire.Close()
	if c.queue != nil {
		c.queue.close()
	}
	for _, file := range c.takeFiles() {
		c.shut(file)
	}
}

func (c *conn) takeFiles() []*openFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	var files []*openFile
	for handle, file := range c.open {
		files = append(files, file)
		delete(c.open, handle)
	}
	return files
}

// shut closes a file, when nobody reads it any more.
func (c *conn) shut(file *openFile) {
	file.reads.Wait()
	file.Close()
	c.host.service.update(file.stats, func(d *diskStats) { d.Open-- })
}

func (c *conn) enter(state string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = state
}

func (c *conn) about() ConnReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := ConnReport{ID: c.id, State: c.state, Client: c.client, Tag: c.said, Version: c.version, Records: c.records}
	if c.ticket != nil {
		r.VM = c.ticket.machine.Name()
	}
	return r
}

func (c *conn) files() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, file := range c.open {
		names = append(names, file.Name())
	}
	return names
}

// startTLS begins a TLS session on the connection. The one before is abandoned as it is.
func (c *conn) startTLS(cert *tls.Certificate) error {
	session := tls.Server(c.wire, &tls.Config{
		Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
		SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
	})
	if err := session.Handshake(); err != nil {
		if lost := net.Error(nil); errors.As(err, &lost) || errors.Is(err, io.EOF) {
			return fmt.Errorf("TLS: %w", err) // a client that has gone, or does not trust the certificate
		}
		c.violation("TLS: %v", err)
		return fmt.Errorf("%w: TLS: %w", errRefused, err)
	}
	c.tls, c.in = session, newRecordReader(session)
	return nil
}

func (c *conn) firstTLS() error {
	if _, err := c.step("tls"); err != nil {
		return err
	}
	c.cert = &c.host.cert
	return c.startTLS(c.cert)
}

func (c *conn) secondTLS() error {
	if _, err := c.step("tls2"); err != nil {
		return err
	}
	cert := c.cert
	if c.host.service.Switches().SecondCertificate == "other" {
		cert = &c.host.other
	}
	return c.startTLS(cert)
}

// send writes whole records. Writes of several at once are gathered, and the last of them sends what there is.
func (c *conn) send(frame []byte, before func()) error {
	c.waiting.Add(1)
	c.writing.Lock()
	defer c.writing.Unlock()
	left := c.waiting.Add(-1)
	if before != nil {
		before()
	}
	if _, err := c.tls.Write(frame); err != nil {
		return err
	}
	if left == 0 || len(c.wire.out) >= flushAt {
		return c.wire.flush()
	}
	return nil
}
