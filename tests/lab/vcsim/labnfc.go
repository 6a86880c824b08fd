package main

import (
	"encoding/json"
	"net/http"

	"migratekit.invalid/lab/vcsim/nfc"
)

// labNFC says what the hosts have seen of their NFC clients.
func (s *server) labNFC(http.ResponseWriter, *http.Request) (any, error) {
	return s.lab.nfc.Report(), nil
}

func (s *server) labForgetNFC(http.ResponseWriter, *http.Request) (any, error) {
	s.lab.nfc.Forget()
	return s.lab.nfc.Report(), nil
}

func (s *server) labNFCSwitches(http.ResponseWriter, *http.Request) (any, error) {
	return s.lab.nfc.Switches(), nil
}

// labNFCSwitch sets those that are given; the others stay as they are.
func (s *server) labNFCSwitch(w http.ResponseWriter, r *http.Request) (any, error) {
	next := s.lab.nfc.Switches()
	if err := readJSON(w, r, &next); err != nil {
		return nil, err
	}
	if err := s.lab.nfc.Switch(next); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	return next, nil
}

func (s *server) labNFCSwitchBack(http.ResponseWriter, *http.Request) (any, error) {
	return nfc.Standard(), s.lab.nfc.Switch(nfc.Standard())
}

func (s *server) labNFCFault(w http.ResponseWriter, r *http.Request) (any, error) {
	var rule nfc.Rule
	if err := readJSON(w, r, &rule); err != nil {
		return nil, err
	}
	if err := s.lab.nfc.AddRule(rule); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	return rule, nil
}

func (s *server) labNFCFaults(http.ResponseWriter, *http.Request) (any, error) {
	return map[string]any{"faults": s.lab.nfc.Rules()}, nil
}

func (s *server) labClearNFCFaults(http.ResponseWriter, *http.Request) (any, error) {
	s.lab.nfc.ClearRules()
	return map[string]any{}, nil
}

// labDropNFC cuts the connections of all hosts, or of the one that is named.
func (s *server) labDropNFC(_ http.ResponseWriter, r *http.Request) (any, error) {
	dropped, host := 0, r.URL.Query().Get("host")
	for _, h := range s.lab.nfc.Hosts() {
		if host == "" || h.Name() == host {
			dropped += h.Drop()
		}
	}
	return map[string]int{"dropped": dropped}, nil
}

// labRevokeTickets makes tickets useless that wait to be used.
func (s *server) labRevokeTickets(http.ResponseWriter, *http.Request) (any, error) {
	s.lab.nfc.Revoke()
	return map[string]any{}, nil
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fail(http.StatusBadRequest, "%v", err)
	}
	return nil
}
