package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
)

// maxWrite bounds one write of the guest: it is held in memory, so that it happens as a whole or not at all.
const maxWrite = 256 << 20

// httpError is an error with its status.
type httpError struct {
	status int
	text   string
}

func (e httpError) Error() string { return e.text }

func fail(status int, format string, args ...any) error {
	return httpError{status, fmt.Sprintf(format, args...)}
}

type labHandler func(w http.ResponseWriter, r *http.Request) (any, error)

// routeLab adds what no vCenter has: the guest's side of the machines, and the levers for tests.
func (s *server) routeLab(mux *http.ServeMux) {
	for pattern, handler := range map[string]labHandler{
		"GET /lab/vms":                         s.labList,
		"GET /lab/vms/{name}":                  s.labState,
		"POST /lab/vms/{name}/epoch":           s.labEpoch,
		"PUT /lab/vms/{name}/disks/{n}":        s.labWrite,
		"DELETE /lab/vms/{name}/disks/{n}":     s.labDiscard,
		"GET /lab/vms/{name}/disks/{n}":        s.labRead,
		"POST /lab/vms/{name}/disks/{n}/flush": s.labFlush,
		"GET /lab/calls":                       s.labCalls,
		"DELETE /lab/calls":                    s.labResetCalls,
		"GET /lab/calls/log":                   s.labCallLog,
		"GET /lab/sessions":                    s.labSessions,
		"DELETE /lab/sessions":                 s.labEndSessions,
		"GET /lab/switches":                    s.labSwitches,
		"PUT /lab/switches":                    s.labSwitch,
		"DELETE /lab/switches":                 s.labSwitchBack,
		"DELETE /lab/vms/{name}":               s.labDeleteVM,
		"GET /lab/datastore":                   s.labSpace,
		"PUT /lab/datastore":                   s.labLimitSpace,
		"DELETE /lab/datastore":                s.labUnlimitSpace,
		"PUT /lab/certificate":                 s.labCertificate,
		"GET /lab/faults":                      s.labFaults,
		"POST /lab/faults":                     s.labFault,
		"DELETE /lab/faults":                   s.labClearFaults,
		"POST /lab/drop":                       s.labDrop,
		"PUT /lab/properties/{type}/{id}":      s.labProperties,
		"POST /lab/privileges":                 s.labDeny,
		"DELETE /lab/privileges":               s.labAllow,
		"GET /lab/nfc":                         s.labNFC,
		"DELETE /lab/nfc":                      s.labForgetNFC,
		"GET /lab/nfc/switches":                s.labNFCSwitches,
		"PUT /lab/nfc/switches":                s.labNFCSwitch,
		"DELETE /lab/nfc/switches":             s.labNFCSwitchBack,
		"GET /lab/nfc/faults":                  s.labNFCFaults,
		"POST /lab/nfc/faults":                 s.labNFCFault,
		"DELETE /lab/nfc/faults":               s.labClearNFCFaults,
		"DELETE /lab/nfc/tickets":              s.labRevokeTickets,
		"POST /lab/nfc/drop":                   s.labDropNFC,
		"/lab/": func(http.ResponseWriter, *http.Request) (any, error) {
			return nil, fail(http.StatusNotFound, "no such endpoint")
		},
	} {
		mux.Handle(pattern, answerJSON(handler))
	}
}

// answerJSON answers in JSON, and only to this host: these endpoints ask for no password.
func answerJSON(handler labHandler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		answer, err := any(nil), error(nil)
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			err = fail(http.StatusForbidden, "only from loopback")
		} else {
			answer, err = handler(w, r)
		}
		if err == nil && answer == nil {
			return // the handler has written the body itself
		}
		status := http.StatusOK
		if err != nil {
			status, answer = statusOf(err), map[string]string{"error": err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			log.Printf("%s %s: %v", r.Method, r.URL.Path, err)
		}
	})
}

func statusOf(err error) int {
	var known httpError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &known):
		return known.status
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, errNoVM):
		return http.StatusNotFound
	case errors.Is(err, errAmbiguous):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

func (s *server) labList(http.ResponseWriter, *http.Request) (any, error) {
	all := []vmReport{}
	for _, vm := range s.lab.states() {
		all = append(all, vm.report())
	}
	return map[string]any{"vms": all}, nil
}

func (s *server) labState(_ http.ResponseWriter, r *http.Request) (any, error) {
	vm, err := s.lab.find(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return vm.report(), nil
}

func (s *server) labEpoch(_ http.ResponseWriter, r *http.Request) (any, error) {
	vm, err := s.lab.find(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	vm.newEpoch()
	s.lab.refresh(s.lab.freshContext(), vm)
	return vm.report(), nil
}

func (s *server) labCalls(http.ResponseWriter, *http.Request) (any, error) {
	s.lab.mu.Lock()
	defer s.lab.mu.Unlock()
	calls := map[string]int{}
	for name, n := range s.lab.calls {
		calls[name] = n
	}
	return map[string]any{"calls": calls}, nil
}

func (s *server) labResetCalls(http.ResponseWriter, *http.Request) (any, error) {
	s.lab.mu.Lock()
	defer s.lab.mu.Unlock()
	clear(s.lab.calls)
	return map[string]any{"calls": map[string]int{}}, nil
}

func (s *server) labFault(w http.ResponseWriter, r *http.Request) (any, error) {
	var rule faultRule
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rule); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	setDefault(&rule.Object, "*")
	if err := s.lab.addFault(rule); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	return rule, nil
}

func (s *server) labClearFaults(http.ResponseWriter, *http.Request) (any, error) {
	s.lab.clearFaults()
	return map[string]any{}, nil
}

func (s *server) labDrop(_ http.ResponseWriter, r *http.Request) (any, error) {
	return map[string]int{"dropped": s.drop(r.Context().Value(connKey{}))}, nil
}

// labCertificate renews the certificate: new connections are shown another one. Both are paths of PEM files, as for the
// command's options.
func (s *server) labCertificate(w http.ResponseWriter, r *http.Request) (any, error) {
	var files struct{ Cert, Key string }
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&files); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	s.cert.Store(&cert)
	return map[string]any{}, nil
}

// number reads a query parameter; without a default it is required.
func number(r *http.Request, name string, standard *int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" && standard != nil {
		return *standard, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fail(http.StatusBadRequest, "%s=%q is not a number of bytes", name, text)
	}
	return n, nil
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxWrite))
}
