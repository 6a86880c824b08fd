package nfc_test

import (
	"net"
	"sync"
)

// together sends two writes as one, from hold on.
type together struct {
	net.Conn
	mu     sync.Mutex
	held   []byte
	writes int
	both   chan struct{} // closed when both have gone
}

func (g *together) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.both = make(chan struct{})
}

func (g *together) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.both == nil || g.writes >= 2 {
		return g.Conn.Write(p)
	}
	g.held = append(g.held, p...)
	if g.writes++; g.writes < 2 {
		return len(p), nil
	}
	_, err := g.Conn.Write(g.held)
	close(g.both)
	return len(p), err
}

// later reads only when it may.
type later struct {
	net.Conn
	may chan struct{}
}

func (l *later) Read(p []byte) (int, error) {
	<-l.may
	return l.Conn.Read(p)
}
