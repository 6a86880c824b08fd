package nfc

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Rule breaks a step of a connection.
type Rule struct {
	At      string  `json:"at"`   // see steps
	Mode    string  `json:"mode"` // "cut", "delay", "silent", "refuse", "lie"
	VM      string  `json:"vm,omitempty"`
	Host    string  `json:"host,omitempty"`
	Skip    int     `json:"skip"`
	Max     int     `json:"max"` // 0: always
	Seconds float64 `json:"seconds,omitempty"`
	Code    uint64  `json:"code,omitempty"` // "refuse": of the error record, or of the line
	Text    string  `json:"text,omitempty"`
	Lie     string  `json:"lie,omitempty"` // about a chunk; see lies
}

// steps are what a rule can break, with those that can be refused.
var steps = map[string]bool{
	"connect": false, "greeting": false, "tls": false, "session": false, "banner": true, "thumbprint": true, "proxy": true,
	"tls2": false, "handshake": true, "names": true, "hello": true, "options": true, "pool": true, "open": true, "read": true,
	"chunk": false, "close": true, "end": true,
}

type rule struct {
	Rule
	seen, hits int
}

// RuleReport says how often a rule has applied.
type RuleReport struct {
	Rule
	Hits int `json:"hits"`
}

// AddRule adds a rule; those that stand longer are asked first.
func (s *Service) AddRule(r Rule) error {
	refusable, known := steps[r.At]
	switch {
	case !known:
		return fmt.Errorf("no step %q", r.At)
	case !slices.Contains([]string{"cut", "delay", "silent", "refuse", "lie"}, r.Mode):
		return fmt.Errorf("no mode %q", r.Mode)
	case r.Mode == "refuse" && !refusable:
		return fmt.Errorf("%s cannot be refused", r.At)
	case r.Mode == "lie" && (r.At != "chunk" || lies[r.Lie] == nil):
		return fmt.Errorf("no lie %q about a %s", r.Lie, r.At)
	case r.Mode == "delay" && r.Seconds <= 0:
		return fmt.Errorf("delay needs seconds")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, &rule{Rule: r})
	return nil
}

// Rules are those that stand.
func (s *Service) Rules() []RuleReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []RuleReport{}
	for _, r := range s.rules {
		found = append(found, RuleReport{r.Rule, r.hits})
	}
	return found
}

// ClearRules takes them back.
func (s *Service) ClearRules() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

// rule is the one that applies to a step, nil for none.
func (c *conn) rule(at string) *Rule {
	s := c.host.service
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if r.At != at || (r.Host != "" && r.Host != c.host.name) || (r.VM != "" && (c.ticket == nil || c.ticket.machine.Name() != r.VM)) {
			continue
		}
		if r.seen++; r.seen <= r.Skip || (r.Max > 0 && r.seen > r.Skip+r.Max) {
			continue
		}
		r.hits++
		found := r.Rule
		return &found
	}
	return nil
}

var errCut = errors.New("cut by a rule")

// step begins a step: it is cut, delayed or left without an answer where a rule says so. A refusal is for the caller.
func (c *conn) step(at string) (*Rule, error) {
	c.enter(at)
	r := c.rule(at)
	if r == nil {
		return nil, nil
	}
	switch r.Mode {
	case "cut":
		c.wire.reset()
		return nil, errCut
	case "delay":
		c.sleep(r.Seconds)
		return nil, nil
	case "silent":
		c.stare()
		return nil, errCut
	}
	return r, nil
}

// sleep ends with the host.
func (c *conn) sleep(seconds float64) {
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
	case <-c.host.closing:
	}
}

// stare waits until the client has gone, and answers nothing.
func (c *conn) stare() {
	buf := make([]byte, 4096)
	_ = c.wire.SetDeadline(time.Time{})
	for {
		if _, err := c.wire.in.Read(buf); err != nil {
			return
		}
	}
}
