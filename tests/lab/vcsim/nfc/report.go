package nfc

import (
	"fmt"
	"slices"
	"strings"
)

// Violation is what a client did and the protocol forbids.
type Violation struct {
	Connection int    `json:"connection"`
	Host       string `json:"host"`
	VM         string `json:"vm,omitempty"`
	What       string `json:"what"`
}

const maxViolations = 1000

func (c *conn) violation(format string, args ...any) {
	v := Violation{Connection: c.id, Host: c.host.name, What: fmt.Sprintf(format, args...)}
	if c.ticket != nil {
		v.VM = c.ticket.machine.Name()
	}
	s := c.host.service
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.violations) < maxViolations {
		s.violations = append(s.violations, v)
	}
}

// diskStats is what was read of one disk, over all connections and hosts.
type diskStats struct {
	VM          string         `json:"vm"`
	File        string         `json:"file"`
	Opens       int            `json:"opens"`
	Open        int            `json:"open"` // now
	Reads       int            `json:"reads"`
	Bytes       int64          `json:"bytes"`
	WireBytes   int64          `json:"wire_bytes"` // of those, as they were encoded
	InFlight    int            `json:"in_flight"`
	MaxInFlight int            `json:"max_in_flight"`
	Chunks      map[string]int `json:"chunks"` // by encoding
	encodings   [4]int
}

func (s *Service) disk(vm, file string) *diskStats {
	key := vm + "\x00" + file
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.disks[key]
	if d == nil {
		d = &diskStats{VM: vm, File: file}
		s.disks[key] = d
	}
	return d
}

// update changes the statistics of a disk under the lock.
func (s *Service) update(d *diskStats, change func(*diskStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(d)
}

// Report is the answer to GET /lab/nfc.
type Report struct {
	Hosts      []HostReport `json:"hosts"`
	Disks      []diskStats  `json:"disks"`
	Open       []OpenReport `json:"open"`
	Tickets    counts       `json:"tickets"`
	Violations []Violation  `json:"violations"`
}

// HostReport is what a host has seen.
type HostReport struct {
	Name               string       `json:"name"`
	Address            string       `json:"address"`
	Port               int          `json:"port"`
	Connections        []ConnReport `json:"connections"` // now
	MaxConnections     int          `json:"max_connections"`
	TotalConnections   int          `json:"total_connections"`
	RefusedConnections int          `json:"refused_connections"`
	InFlight           int          `json:"in_flight"`
	MaxInFlight        int          `json:"max_in_flight"`
	MaxBufferBytes     int64        `json:"max_buffer_bytes"`
	RefusedBuffers     int          `json:"refused_buffers"`
	BytesReceived      int64        `json:"bytes_received"` // on the wire, TLS included
	BytesSent          int64        `json:"bytes_sent"`
}

// ConnReport is one connection.
type ConnReport struct {
	ID      int    `json:"id"`
	VM      string `json:"vm"`
	State   string `json:"state"` // the step that it is at
	Client  string `json:"client"`
	Tag     string `json:"tag"`
	Version uint32 `json:"version"`
	Records int    `json:"records"`
}

// OpenReport is one file that a connection has open.
type OpenReport struct {
	Host       string `json:"host"`
	Connection int    `json:"connection"`
	VM         string `json:"vm"`
	File       string `json:"file"`
}

// Report says what the hosts have seen.
func (s *Service) Report() Report {
	r := Report{Hosts: []HostReport{}, Disks: []diskStats{}, Open: []OpenReport{}, Violations: []Violation{}}
	for _, h := range s.Hosts() {
		host, open := h.report()
		r.Hosts, r.Open = append(r.Hosts, host), append(r.Open, open...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.disks {
		shown := *d
		shown.Chunks = map[string]int{}
		for i, n := range d.encodings {
			if n > 0 {
				shown.Chunks[fmt.Sprint(i)] = n
			}
		}
		r.Disks = append(r.Disks, shown)
	}
	slices.SortFunc(r.Disks, func(a, b diskStats) int { return strings.Compare(a.VM+a.File, b.VM+b.File) })
	r.Tickets, r.Violations = s.counts, append(r.Violations, s.violations...)
	return r
}

func (h *Host) report() (HostReport, []OpenReport) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.Address()
	r := HostReport{
		Name: h.name, Address: at.IP.String(), Port: at.Port, Connections: []ConnReport{},
		MaxConnections: h.stats.maxConnections, TotalConnections: h.stats.total, RefusedConnections: h.stats.refusedConns,
		InFlight: h.stats.inFlight, MaxInFlight: h.stats.maxInFlight, MaxBufferBytes: h.stats.maxBuffers,
		RefusedBuffers: h.stats.refusedMem, BytesReceived: h.stats.received, BytesSent: h.stats.sent,
	}
	var open []OpenReport
	for c := range h.conns {
		r.BytesReceived += c.wire.received.Load()
		r.BytesSent += c.wire.sent.Load()
		about := c.about()
		r.Connections = append(r.Connections, about)
		for _, file := range c.files() {
			open = append(open, OpenReport{h.name, c.id, about.VM, file})
		}
	}
	slices.SortFunc(r.Connections, func(a, b ConnReport) int { return a.ID - b.ID })
	slices.SortFunc(open, func(a, b OpenReport) int { return a.Connection - b.Connection })
	return r, open
}

// Forget begins the figures anew. What is open and in flight now stays counted.
func (s *Service) Forget() {
	s.mu.Lock()
	s.violations, s.counts = nil, counts{}
	for key, d := range s.disks {
		if d.Open == 0 {
			delete(s.disks, key)
			continue
		}
		*d = diskStats{VM: d.VM, File: d.File, Opens: d.Open, Open: d.Open, InFlight: d.InFlight, MaxInFlight: d.InFlight}
	}
	s.mu.Unlock()
	for _, h := range s.Hosts() {
		h.mu.Lock()
		h.stats = hostStats{
			maxConnections: len(h.conns), total: len(h.conns), inFlight: h.stats.inFlight, maxInFlight: h.stats.inFlight,
			buffers: h.stats.buffers, maxBuffers: h.stats.buffers,
		}
		for c := range h.conns {
			c.wire.received.Store(0)
			c.wire.sent.Store(0)
		}
		h.mu.Unlock()
	}
}
