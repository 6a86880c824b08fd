package nfc_test

import (
	"net"
	"sync"
)

// ahead is a connection of which somebody else reads until release: who uses it can only write so far.
type ahead struct {
	net.Conn
	once   sync.Once
	answer chan struct{} // closed when something was written
	free   sync.Once
	gate   chan struct{}
	mu     sync.Mutex
}

func (a *ahead) Write(p []byte) (int, error) {
	n, err := a.Conn.Write(p)
	a.once.Do(func() { close(a.answer) })
	return n, err
}

func (a *ahead) wait() chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gate == nil {
		a.gate = make(chan struct{})
	}
	return a.gate
}

func (a *ahead) Read(p []byte) (int, error) {
	<-a.wait()
	return a.Conn.Read(p)
}

func (a *ahead) release() { a.free.Do(func() { close(a.wait()) }) }
