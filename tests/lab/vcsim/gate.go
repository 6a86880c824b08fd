package main

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

// gate is what stands before the API and the datastore: it records each call, and breaks those that a rule names.
// The lab's own endpoints are never broken.
func (s *server) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/lab/") {
			s.ours(r)
			next.ServeHTTP(w, r)
			return
		}
		c, err := s.lab.callOf(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.lab.record(c)
		s.lab.endOldSessions(c.Session)
		switch rule := s.lab.breakage(c); {
		case rule != nil:
			s.lab.broken(c, rule.Mode)
			s.breakCall(rule, c, next, w, r)
		case (c.Type != "" || strings.HasSuffix(c.Object, "/session") || strings.HasSuffix(c.Method, " /folder")) && s.lab.full(c.Session):
			s.lab.broken(c, "session-limit")
			unavailable(w, http.StatusServiceUnavailable, "")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// breakCall does to a call what the rule says.
func (s *server) breakCall(rule *gateRule, c *call, next http.Handler, w http.ResponseWriter, r *http.Request) {
	pause := time.Duration(rule.Seconds * float64(time.Second))
	began := time.Now()
	switch rule.Mode {
	case "status":
		if rule.After {
			answerOf(next, r)
		}
		unavailable(w, rule.Status, rule.Text)
	case "cut":
		if rule.After {
			answerOf(next, r)
		}
		s.cut(r)
	case "torn":
		answer := answerOf(next, r)
		answer.send(w, answer.body.Len()/2)
		_ = http.NewResponseController(w).Flush()
		s.cut(r)
	case "late":
		answer := answerOf(next, r)
		sleep(r, pause)
		answer.send(w, answer.body.Len())
	case "at-limit":
		answer := answerOf(next, r)
		if rule.Seconds == 0 {
			pause = time.Duration(c.seconds * float64(time.Second))
		}
		sleep(r, pause-time.Since(began))
		answer.send(w, answer.body.Len())
	case "timeout":
		done := make(chan *answer, 1)
		go func() { done <- answerOf(next, r) }()
		select {
		case answer := <-done:
			answer.send(w, answer.body.Len())
		case <-time.After(pause):
			unavailable(w, rule.Status, rule.Text)
		}
	case "session-ended":
		s.lab.endSession(c.Session)
		next.ServeHTTP(w, r)
	case "down":
		if rule.Restart && rule.first == c.N {
			s.lab.endAllSessions() // a restarted vpxd knows none of them
			s.dropClients(r)
		}
		if rule.ForgetTasks && rule.first == c.N {
			s.lab.forgetTasks()
		}
		unavailable(w, rule.Status, rule.Text)
	case "vm-deleted":
		if vm := s.lab.machineOf(c.target); vm != nil {
			s.lab.deleteVM(vm)
		}
		next.ServeHTTP(w, r)
	}
}

// unavailable answers as the proxy in front of vCenter's services does: no SOAP.
func unavailable(w http.ResponseWriter, status int, text string) {
	if text == "" {
		text = http.StatusText(status)
	}
	w.Header().Set("Content-Type", "text/plain")
	if strings.HasPrefix(text, "<") {
		w.Header().Set("Content-Type", "text/html")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// sleep waits, but not for a client that has gone.
func sleep(r *http.Request, pause time.Duration) {
	select {
	case <-time.After(pause):
	case <-r.Context().Done():
	}
}

// cut breaks the connection of a request, without an answer.
func (s *server) cut(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		reset(c)
	}
	panic(http.ErrAbortHandler)
}

// answer is one that is held back.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func answerOf(next http.Handler, r *http.Request) *answer {
	a := &answer{header: http.Header{}, status: http.StatusOK}
	next.ServeHTTP(a, r)
	return a
}

// Header belongs to http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader belongs to http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }

func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// send sends the first bytes of the body, with the length of all of it.
func (a *answer) send(w http.ResponseWriter, bytes int) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if bytes < a.body.Len() {
		w.Header().Set("Content-Length", itoa(a.body.Len()))
	}
	w.WriteHeader(a.status)
	if _, err := w.Write(a.body.Bytes()[:bytes]); err != nil {
		log.Printf("late answer: %v", err)
	}
}
