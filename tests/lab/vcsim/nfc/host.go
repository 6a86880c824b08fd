package nfc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the protocol's thumbprint
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"
)

// Host is one ESXi host: its address, its certificate, and the limits that all its clients share.
type Host struct {
	service    *Service
	name       string
	viaVCenter bool
	listener   net.Listener
	cert       tls.Certificate
	other      tls.Certificate // for a host that shows two

	closing chan struct{} // closed at the end

	mu    sync.Mutex
	conns map[*conn]bool
	stats hostStats
	done  sync.WaitGroup
}

type hostStats struct {
	maxConnections, total     int
	inFlight, maxInFlight     int
	buffers, maxBuffers       int64
	refusedConns, refusedMem  int
	received, sent, delivered int64 // of connections that are gone; bytes of disks
}

// Start has a host listen at an address; port 0 is any.
func (s *Service) Start(name, address string, viaVCenter bool) (*Host, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	h := &Host{service: s, name: name, viaVCenter: viaVCenter, listener: listener, closing: make(chan struct{}), conns: map[*conn]bool{}}
	for _, cert := range []*tls.Certificate{&h.cert, &h.other} {
		if *cert, err = newCertificate(name); err != nil {
			_ = listener.Close()
			return nil, err
		}
	}
	s.mu.Lock()
	s.hosts = append(s.hosts, h)
	s.mu.Unlock()
	go h.accept()
	return h, nil
}

// Name of the host.
func (h *Host) Name() string { return h.name }

// Address is where it listens.
func (h *Host) Address() *net.TCPAddr { return h.listener.Addr().(*net.TCPAddr) }

// Thumbprint is what a ticket says of the certificate.
func (h *Host) Thumbprint() string {
	sw := h.service.Switches()
	sum := sha1.Sum(h.cert.Certificate[0]) //nolint:gosec // the protocol's
	if sw.TicketThumbprint == "wrong" {
		sum[0] ^= 0xff
	}
	return colons(sum[:], sw.Hex)
}

func (h *Host) sha256() string {
	sw := h.service.Switches()
	sum := sha256.Sum256(h.cert.Certificate[0])
	if sw.SHA256 == "wrong" {
		sum[0] ^= 0xff
	}
	return colons(sum[:], sw.Hex)
}

func colons(sum []byte, letters string) string {
	text := strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
	if letters == "lower" {
		return strings.ToLower(text)
	}
	return text
}

// newCertificate is one that nobody has signed: ESXi's are trusted by their thumbprint.
func newCertificate(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"VMware"}, CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, DNSNames: []string{name},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func (h *Host) accept() {
	for {
		raw, err := h.listener.Accept()
		if err != nil {
			return
		}
		c := newConn(h, raw)
		if !h.enter(c) {
			_ = raw.Close()
			continue
		}
		h.done.Add(1)
		go func() {
			defer h.done.Done()
			defer h.leave(c)
			c.serve()
		}()
	}
}

// limit is how many connections there may be.
func (h *Host) limit() int {
	switch n := h.service.Switches().MaxConnections; {
	case n > 0:
		return n
	case h.viaVCenter:
		return 52
	}
	return 50
}

// enter counts a connection. One too many is let in to be refused later, or not at all.
func (h *Host) enter(c *conn) bool {
	limit, at := h.limit(), h.service.Switches().LimitAt
	h.service.mu.Lock()
	h.service.serial++
	c.id = h.service.serial
	h.service.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats.total++
	taken := 0
	for other := range h.conns {
		if !other.surplus {
			taken++
		}
	}
	if taken >= limit {
		c.surplus = true
		h.stats.refusedConns++
		if at == "connect" {
			return false
		}
	}
	h.conns[c] = true
	h.stats.maxConnections = max(h.stats.maxConnections, len(h.conns))
	return true
}

func (h *Host) leave(c *conn) {
	c.finish()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
	h.stats.received += c.wire.received.Load()
	h.stats.sent += c.wire.sent.Load()
}

// take books a read that came in; false: there are no buffers for it.
func (h *Host) take(bytes int64) bool {
	limit := h.service.Switches().BufferBytes
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats.inFlight++
	h.stats.maxInFlight = max(h.stats.maxInFlight, h.stats.inFlight)
	h.stats.buffers += bytes
	h.stats.maxBuffers = max(h.stats.maxBuffers, h.stats.buffers)
	if h.stats.buffers > limit {
		h.stats.refusedMem++
		return false
	}
	return true
}

func (h *Host) give(bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats.inFlight--
	h.stats.buffers -= bytes
}

// Drop cuts all connections of the host, and says how many.
func (h *Host) Drop() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		c.wire.reset()
	}
	return len(h.conns)
}

func (h *Host) close() {
	_ = h.listener.Close()
	close(h.closing)
	h.Drop()
	h.done.Wait()
}
