// Package nfc is the lab's NFC host: what answers on port 902 of an ESXi host, with the authentication daemon in front.
// It knows no vSphere: tickets are issued for a Machine, which opens its files. It follows the protocol page and
// nothing else; what that leaves open is a switch.
package nfc

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"
)

// Machine is what a ticket gives access to.
type Machine interface {
	// Name of the machine, for reports and rules.
	Name() string
	// Open opens a disk of the machine, read-only, by its datastore path. A *Refusal is told to the client as it is.
	Open(path string, exclusive bool) (File, error)
}

// File is an open disk: flat, whatever chain it is made of.
type File interface {
	// Name is the datastore path, for reports.
	Name() string
	// Size in bytes.
	Size() int64
	// ReadAt fills p.
	ReadAt(p []byte, offset int64) error
	// Close unlocks the file.
	Close()
}

// Refusal is an error with NFC's number for it.
type Refusal struct {
	Code uint64
	Text string
}

func (r *Refusal) Error() string { return fmt.Sprintf("%d: %s", r.Code, r.Text) }

// The numbers that are known, and (from CodeInvalid on) those that nobody knows: any number may come.
const (
	CodePermission = 11
	CodeLocked     = 16392
	CodeInvalid    = 5
	CodeMissing    = 7
	CodeMemory     = 9
	CodeRead       = 13
)

// Service is what all hosts of a lab share: tickets, switches, rules and what they saw of their clients.
type Service struct {
	mu         sync.Mutex
	switches   Switches
	rules      []*rule
	tickets    map[string]*ticket
	hosts      []*Host
	violations []Violation
	disks      map[string]*diskStats
	counts     counts
	serial     int // of connections
}

type counts struct {
	Issued  int `json:"issued"`
	Used    int `json:"used"`
	Refused int `json:"refused"` // unknown, used up, expired, or for another host
	Ended   int `json:"ended"`   // connections that their client ended
	Aborted int `json:"aborted"` // connections that stopped in the middle
}

// NewService makes a service without hosts.
func NewService() *Service {
	return &Service{switches: Standard(), tickets: map[string]*ticket{}, disks: map[string]*diskStats{}}
}

// ticket lets one connection in.
type ticket struct {
	machine Machine
	host    *Host
	service string
	only    func(path string) bool // nil: all files of the machine
	issued  time.Time
	used    bool
}

// Issue makes a ticket for the files of a machine at a host. service is what the client names in PROXY, without "ssl".
// only may leave out files.
func (s *Service) Issue(host *Host, machine Machine, service string, only func(path string) bool) string {
	var id [20]byte
	_, _ = rand.Read(id[:])
	name := hex.EncodeToString(id[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Issued++
	s.tickets[name] = &ticket{machine: machine, host: host, service: service, only: only, issued: time.Now()}
	return name
}

// redeem uses a ticket up. It returns nil for one that is not valid; again is one that was used before.
func (s *Service) redeem(host *Host, id string) (found *ticket, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tickets[id]
	limit := s.switches.TicketSeconds
	switch {
	case t == nil:
	case t.used:
		again = true
	case t.host != host:
	case limit > 0 && time.Since(t.issued).Seconds() > limit:
	default:
		t.used = true
		s.counts.Used++
		return t, false
	}
	s.counts.Refused++
	return nil, again
}

// Revoke makes the tickets useless that nobody has used.
func (s *Service) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range s.tickets {
		if !t.used {
			delete(s.tickets, id)
		}
	}
}

// Hosts are those that were started.
func (s *Service) Hosts() []*Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Host(nil), s.hosts...)
}

// Close ends all hosts and their connections.
func (s *Service) Close() {
	for _, h := range s.Hosts() {
		h.close()
	}
}
