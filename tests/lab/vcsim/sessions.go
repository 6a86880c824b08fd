package main

import (
	"crypto/rand"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// liveSession is one that a client has, with what ends together with it.
type liveSession struct {
	session    *simulator.Session
	since      time.Time
	collectors map[types.ManagedObjectReference]bool // that were asked for updates
}

// sessionManager stands in at a login, for vcsim does not say which sessions there are.
type sessionManager struct {
	*simulator.SessionManager
	lab *Lab
}

// Login is vcsim's.
func (m *sessionManager) Login(ctx *simulator.Context, req *types.Login) soap.HasFault {
	answer := m.SessionManager.Login(ctx, req)
	if ctx.Session != nil && answer.Fault() == nil {
		m.lab.mu.Lock()
		defer m.lab.mu.Unlock()
		m.lab.sessions[ctx.Session.Key] = &liveSession{ctx.Session, time.Now(), map[types.ManagedObjectReference]bool{}}
	}
	return answer
}

// endSession ends a session as TerminateSession does: it is not known any more, who waits for updates is told so, and
// its filters and views are gone.
func (l *Lab) endSession(key string) bool {
	live := l.forgetSession(key)
	if live == nil {
		return false
	}
	ctx := l.freshContext()
	ctx.Session = &simulator.Session{UserSession: types.UserSession{Key: "lab"}}
	l.registry().SessionManager().TerminateSession(ctx, &types.TerminateSession{SessionId: []string{key}})
	for _, collector := range live.waiting() {
		collector.CancelWaitForUpdates(new(types.CancelWaitForUpdates))
	}
	return true
}

// waiting are the collectors that somebody may wait at.
func (s *liveSession) waiting() []*simulator.PropertyCollector {
	var found []*simulator.PropertyCollector
	for ref := range s.collectors { // none in a session of the datastore alone
		if collector, ok := s.session.Registry.Get(ref).(*simulator.PropertyCollector); ok {
			found = append(found, collector)
		}
	}
	return found
}

// forgetSession takes a session off the list, and its collector off those that hear of changes.
func (l *Lab) forgetSession(key string) *liveSession {
	l.mu.Lock()
	live := l.sessions[key]
	delete(l.sessions, key)
	l.mu.Unlock()
	if live == nil {
		return nil
	}
	for _, collector := range live.waiting() {
		l.registry().RemoveHandler(collector) // nobody will ever ask for its updates again
	}
	return live
}

func (l *Lab) endAllSessions() int {
	ended := 0
	for _, key := range l.sessionKeys() {
		if l.endSession(key) {
			ended++
		}
	}
	return ended
}

func (l *Lab) sessionKeys() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var keys []string
	for key := range l.sessions {
		keys = append(keys, key)
	}
	return keys
}

// endOldSessions ends the session of a call if it is older than a session may become.
func (l *Lab) endOldSessions(key string) {
	l.mu.Lock()
	live, limit := l.sessions[key], l.switches.SessionSeconds
	l.mu.Unlock()
	if live != nil && limit > 0 && time.Since(live.since).Seconds() > limit {
		l.endSession(key)
	}
}

// full says whether a caller without a session finds no place for one. A real vCenter then refuses its first call
// already, whichever that is.
func (l *Lab) full(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.switches.SessionLimit
	return limit > 0 && l.sessions[key] == nil && len(l.sessions) >= limit
}

// staleVersion says whether a session asks for updates since a version that its collector never gave: it is another
// session's, which has ended.
func (l *Lab) staleVersion(ctx *simulator.Context, method *simulator.Method) bool {
	version, asks := "", false
	switch body := method.Body.(type) {
	case *types.WaitForUpdatesEx:
		version, asks = body.Version, true
	case *types.WaitForUpdates:
		version, asks = body.Version, true
	case *types.CheckForUpdates:
		version, asks = body.Version, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	live := l.sessions[ctx.Session.Key]
	if live == nil || !asks {
		return false
	}
	if version == "" || method.This != l.model.ServiceContent.PropertyCollector {
		live.collectors[method.This] = true
	}
	return !live.collectors[method.This]
}

// beginFolderSession begins a session by a password that came with a request for a file. It counts as a login and as a
// session, and nobody logs out of it.
func (l *Lab) beginFolderSession() string {
	l.count("Login")
	l.mu.Lock()
	defer l.mu.Unlock()
	key := rand.Text()
	l.sessions[key] = &liveSession{nil, time.Now(), map[types.ManagedObjectReference]bool{}}
	return key
}

// sessionLives says whether a session is there, for the datastore's files. A host does not answer SessionIsActive.
func (l *Lab) sessionLives(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions[key] != nil
}
