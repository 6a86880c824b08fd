package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// call is one request of a client, as the recorder lists it and as rules match it.
type call struct {
	N          int       `json:"n"` // counts on over DELETE /lab/calls
	Time       time.Time `json:"time"`
	Method     string    `json:"method"`               // of the API; "GET /folder" where it is none
	Type       string    `json:"type"`                 // of the object that the call is about
	Object     string    `json:"object"`               // its managed object id, or the path
	VM         string    `json:"vm,omitempty"`         // the machine's name, where the object is one, or one's snapshot
	Properties []string  `json:"properties,omitempty"` // that are asked for
	Session    string    `json:"session,omitempty"`
	Mode       string    `json:"mode,omitempty"` // what broke it

	seconds float64 // WaitForUpdatesEx: how long it may wait at most
	target  mo.Reference
	about   types.ManagedObjectReference // the machine that a ticket is asked for
}

// maxCalls bounds the log; the oldest are dropped.
const maxCalls = 20000

// callOf reads what a request asks for, and leaves its body as it was.
func (l *Lab) callOf(r *http.Request) (*call, error) {
	c := &call{Time: time.Now().UTC()}
	if cookie, err := r.Cookie(soap.SessionCookieName); err == nil {
		c.Session = strings.Trim(cookie.Value, `"`)
	}
	if !strings.HasPrefix(r.URL.Path, l.registry().Path) || r.Method != http.MethodPost {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		c.Method, c.Object = r.Method+" /"+first, r.URL.Path
		return c, nil
	}
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	c.readSOAP(body)
	c.target = l.registry().Get(types.ManagedObjectReference{Type: c.Type, Value: c.Object})
	if c.about.Value != "" {
		c.target = l.registry().Get(c.about)
	}
	if vm := l.machineOf(c.target); vm != nil {
		c.VM = vm.label()
	}
	return c, nil
}

// readSOAP finds method, object and properties in a request. The object of a property collector's call is the first
// that is asked about. What is no SOAP stays nameless.
func (c *call) readSOAP(body []byte) {
	dec := xml.NewDecoder(bytes.NewReader(body))
	var path []string
	var kind string
	for {
		token, err := dec.Token()
		if err != nil {
			return
		}
		switch t := token.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
			if len(path) == 3 && path[1] == "Body" {
				c.Method = t.Name.Local
			}
			kind = ""
			for _, a := range t.Attr {
				if a.Name.Local == "type" {
					kind = a.Value
				}
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if len(path) > 3 && path[1] == "Body" {
				c.take(path[len(path)-1], kind, strings.TrimSpace(string(t)))
			}
		}
	}
}

func (c *call) take(element, kind, text string) {
	switch element {
	case "_this":
		c.Type, c.Object = kind, text
	case "obj":
		if c.Type == "PropertyCollector" && text != "" {
			c.Type, c.Object = kind, text
		}
	case "vm":
		if c.Type == "NfcService" && text != "" {
			c.about = types.ManagedObjectReference{Type: kind, Value: text}
		}
	case "prop", "pathSet":
		if text != "" && !slices.Contains(c.Properties, text) {
			c.Properties = append(c.Properties, text)
		}
	case "maxWaitSeconds":
		c.seconds, _ = strconv.ParseFloat(text, 64)
	}
}

// machineOf is the machine that an object is, or is a snapshot of; nil for all else.
func (l *Lab) machineOf(obj mo.Reference) *vmState {
	switch o := obj.(type) {
	case *simulator.VirtualMachine:
		return l.state(o.Self)
	case *simulator.VirtualMachineSnapshot:
		return l.state(o.Vm)
	case *simulator.Task:
		if o.Info.Entity != nil {
			return l.state(*o.Info.Entity)
		}
	}
	return nil
}

func (l *Lab) record(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serial++
	c.N = l.serial
	l.log = append(l.log, c)
	if len(l.log) > maxCalls {
		l.log = slices.Clone(l.log[len(l.log)-maxCalls/2:])
	}
}

// broken notes what was done to a call.
func (l *Lab) broken(c *call, mode string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Mode = mode
}

// labCallLog lists the calls one by one, from number `since` on.
func (s *server) labCallLog(_ http.ResponseWriter, r *http.Request) (any, error) {
	since, err := number(r, "since", new(int64))
	if err != nil {
		return nil, err
	}
	s.lab.mu.Lock()
	defer s.lab.mu.Unlock()
	calls := []call{}
	for _, c := range s.lab.log {
		if c.N >= int(since) {
			calls = append(calls, *c)
		}
	}
	return map[string]any{"calls": calls, "next": s.lab.serial + 1}, nil
}
