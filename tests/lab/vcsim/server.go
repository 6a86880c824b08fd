package main

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	vapi "github.com/vmware/govmomi/vapi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// account is the only user.
type account struct{ user, password string }

func (a account) matches(user, password string) bool {
	u := subtle.ConstantTimeCompare([]byte(user), []byte(a.user))
	return u&subtle.ConstantTimeCompare([]byte(password), []byte(a.password)) == 1
}

// server is the HTTPS server for everything: the API, the datastore and the lab's own endpoints. vcsim could start one
// itself, but that one serves the datastore to anybody and cannot drop its clients.
type server struct {
	lab     *Lab
	account account
	http    *http.Server

	cert atomic.Pointer[tls.Certificate] // that new connections are shown

	mu    sync.Mutex
	conns map[net.Conn]bool // true: of the lab's own endpoints
}

type connKey struct{}

func newServer(lab *Lab, who account, address string, cert tls.Certificate) *server {
	s := &server{lab: lab, account: who, conns: map[net.Conn]bool{}}
	service := lab.model.Service
	registry := lab.registry()
	service.RegisterSDK(registry, registry.Path+"/vimService")
	service.Listen = &url.URL{Scheme: "https", Host: address, Path: registry.Path, User: url.User(who.user)}
	s.cert.Store(&cert)
	config := &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.Load(), nil },
		MinVersion:     tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	}
	sessions := registry.SessionManager()
	sessions.ServiceHostName = address
	sessions.TLS = func() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{*s.cert.Load()}} }
	sessions.ValidLogin = func(req *types.Login) bool { return who.matches(req.UserName, req.Password) }

	mux := service.ServeMux
	mux.HandleFunc(registry.Path+"/vimServiceVersions.xml", service.ServiceVersions)
	mux.HandleFunc("/folder/", s.serveFolder)
	s.routeLab(mux)
	if registry.IsVPX() { // a host has no tags
		patterns, api := vapi.New(service.Listen, registry)
		for _, pattern := range patterns {
			service.Handle(pattern, api)
		}
	}
	s.http = &http.Server{
		Handler:   s.gate(mux),
		TLSConfig: config,
		// ESXi speaks HTTP/1.1; and with HTTP/2 one dropped connection would be all of a client's requests.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ConnState:    s.connState,
		ConnContext:  func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	return s
}

func (s *server) connState(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.conns[c] = false
	case http.StateClosed, http.StateHijacked:
		delete(s.conns, c)
	}
}

// drop cuts every connection but the one that asked for it, hard: a reset without TLS's good-bye, as when a firewall
// forgets its states.
func (s *server) drop(except any) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for c := range s.conns {
		if c == except {
			continue
		}
		reset(c)
		n++
	}
	return n
}

// dropClients cuts all connections but those to the lab's own endpoints, and the one of this request.
func (s *server) dropClients(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, ours := range s.conns {
		if !ours && c != r.Context().Value(connKey{}) {
			reset(c)
		}
	}
}

// ours notes that a connection is one to the lab's own endpoints.
func (s *server) ours(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		s.conns[c] = true
	}
}

func reset(c net.Conn) {
	t, ok := c.(*tls.Conn)
	if !ok {
		_ = c.Close()
		return
	}
	if raw, ok := t.NetConn().(*net.TCPConn); ok {
		_ = raw.SetLinger(0)
	}
	_ = t.NetConn().Close()
}

// authenticated takes what vSphere takes for files: the cookie of a session, or the user's password, which begins a
// session as any login does, and sets its cookie.
func (s *server) authenticated(w http.ResponseWriter, r *http.Request) bool {
	if cookie, err := r.Cookie(soap.SessionCookieName); err == nil && s.lab.sessionLives(strings.Trim(cookie.Value, `"`)) {
		return true
	}
	user, password, ok := r.BasicAuth()
	if !ok || !s.account.matches(user, password) {
		return false
	}
	http.SetCookie(w, &http.Cookie{
		Name: soap.SessionCookieName, Value: s.lab.beginFolderSession(), Quoted: true, Path: "/", HttpOnly: true, Secure: true,
	})
	return true
}
