package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// gateRule breaks calls on their way in or out.
type gateRule struct {
	faultRule
	seen  int
	hits  int
	first int       // "down": the call that it began with
	until time.Time // and its end
}

// gateModes are the ways, with the status that each answers if none is given.
var gateModes = map[string]int{
	"status": http.StatusServiceUnavailable, "cut": 0, "torn": 0, "late": 0, "at-limit": 0,
	"timeout": http.StatusRequestTimeout, "session-ended": 0, "down": http.StatusServiceUnavailable, "vm-deleted": 0,
}

func (l *Lab) addGateRule(rule faultRule) error {
	if rule.Status == 0 {
		rule.Status = gateModes[rule.Mode]
	}
	if rule.Seconds <= 0 && slices.Contains([]string{"late", "timeout", "down"}, rule.Mode) {
		return fmt.Errorf("%s needs seconds", rule.Mode)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gates = append(l.gates, &gateRule{faultRule: rule})
	return nil
}

// breakage is the rule that applies to a call, nil for none. While vCenter is down everything is broken.
func (l *Lab) breakage(c *call) *gateRule {
	concerned := map[*gateRule]bool{}
	for _, rule := range l.gateRules() { // looking an object up takes the lock
		concerned[rule] = l.meets(rule, c)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rule := range l.gates {
		if time.Now().Before(rule.until) {
			rule.hits++
			return rule
		}
	}
	for _, rule := range l.gates {
		if !concerned[rule] {
			continue
		}
		rule.seen++
		if rule.seen <= rule.Skip || (rule.Max > 0 && rule.seen > rule.Skip+rule.Max) {
			continue
		}
		rule.hits++
		if rule.Mode == "down" {
			rule.until, rule.first = time.Now().Add(time.Duration(rule.Seconds*float64(time.Second))), c.N
		}
		return rule
	}
	return nil
}

func (l *Lab) gateRules() []*gateRule {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.gates)
}

func (l *Lab) meets(rule *gateRule, c *call) bool {
	if rule.Method != "*" && rule.Method != c.Method {
		return false
	}
	if rule.Type != "" && rule.Type != c.Type {
		return false
	}
	if rule.Property != "" && !slices.Contains(c.Properties, rule.Property) {
		return false
	}
	return rule.Object == "*" || rule.Object == c.Object || (c.target != nil && l.concerns(c.target, rule.Object))
}

// ruleReport says how often a rule has applied.
type ruleReport struct {
	faultRule
	Hits int `json:"hits"`
}

func (s *server) labFaults(http.ResponseWriter, *http.Request) (any, error) {
	s.lab.mu.Lock()
	defer s.lab.mu.Unlock()
	rules := []ruleReport{}
	for _, g := range s.lab.gates {
		rules = append(rules, ruleReport{g.faultRule, g.hits})
	}
	s.lab.faults.mu.Lock()
	defer s.lab.faults.mu.Unlock()
	for _, r := range s.lab.faults.rules {
		rules = append(rules, ruleReport{r.faultRule, r.hits})
	}
	return map[string]any{"faults": rules}, nil
}
