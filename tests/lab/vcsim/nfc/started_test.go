package nfc_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"migratekit.invalid/lab/vcsim/nfc"
	"migratekit.invalid/lab/vcsim/nfctest"
)

const mib = 1 << 20

// machine is one with its disks in memory.
type machine struct {
	name  string
	disks map[string][]byte
	fails bool
}

func (m *machine) Name() string { return m.name }

func (m *machine) Open(path string, _ bool) (nfc.File, error) {
	data, ok := m.disks[path]
	if !ok {
		return nil, &nfc.Refusal{Code: nfc.CodeLocked, Text: "Failed to lock the file"}
	}
	return &file{m, path, data}, nil
}

type file struct {
	m    *machine
	path string
	data []byte
}

func (f *file) Name() string { return f.path }
func (f *file) Size() int64  { return int64(len(f.data)) }
func (f *file) Close()       {}

func (f *file) ReadAt(p []byte, offset int64) error {
	if f.m.fails {
		return errors.New("a bad sector")
	}
	copy(p, f.data[offset:])
	return nil
}

const disk = "[store] vm/disk.vmdk"

// content is half zeros: every other 32 KiB.
func content(size int) []byte {
	data := make([]byte, size)
	source := rand.NewChaCha8([32]byte{1})
	for at := 0; at < size; at += 64 << 10 {
		_, _ = source.Read(data[at:min(at+32<<10, size)])
	}
	return data
}

// lab is one host with one machine.
type lab struct {
	t       *testing.T
	service *nfc.Service
	host    *nfc.Host
	machine *machine
}

func start(t *testing.T, change ...func(*nfc.Switches)) *lab {
	t.Helper()
	service := nfc.NewService()
	host, err := service.Start("esx1", "127.0.0.1:0", false)
	must(t, err)
	t.Cleanup(service.Close)
	l := &lab{t, service, host, &machine{name: "vm", disks: map[string][]byte{disk: content(4*mib + 512)}}}
	l.change(change...)
	return l
}

func (l *lab) change(change ...func(*nfc.Switches)) {
	l.t.Helper()
	switches := l.service.Switches()
	for _, c := range change {
		c(&switches)
	}
	must(l.t, l.service.Switch(switches))
}

func (l *lab) ticket() nfctest.Ticket {
	return nfctest.Ticket{
		Address: l.host.Address().String(), Thumbprint: l.host.Thumbprint(), Service: "nfc",
		Session: l.service.Issue(l.host, l.machine, "nfc", nil),
	}
}

func (l *lab) dial() *nfctest.Client {
	l.t.Helper()
	c, err := nfctest.Dial(l.host.Address().String())
	must(l.t, err)
	l.t.Cleanup(c.Close)
	return c
}

// login is a client that has a session with the authentication daemon, and the ticket is in.
func (l *lab) login() *nfctest.Client {
	l.t.Helper()
	c := l.dial()
	must(l.t, c.StartTLS())
	return c
}

// inside is a client before the handshake.
func (l *lab) inside() *nfctest.Client {
	l.t.Helper()
	c := l.dial()
	must(l.t, c.Login(l.ticket()))
	must(l.t, c.StartTLS())
	return c
}

func (l *lab) begin() *nfctest.Client {
	l.t.Helper()
	c, err := nfctest.Begin(l.ticket())
	must(l.t, err)
	l.t.Cleanup(c.Close)
	return c
}

func (l *lab) open() (*nfctest.Client, uint64) {
	l.t.Helper()
	c := l.begin()
	handle, capacity, err := c.Open(disk)
	must(l.t, err)
	if capacity != uint64(len(l.machine.disks[disk])) {
		l.t.Fatal(capacity)
	}
	return c, handle
}

func (l *lab) violations() []string {
	var all []string
	for _, v := range l.service.Report().Violations {
		all = append(all, v.What)
	}
	return all
}

// oneViolation is the only one, and has these words.
func (l *lab) oneViolation(words string) {
	l.t.Helper()
	l.eventually(func() bool { return len(l.violations()) > 0 })
	found := l.violations()
	if len(found) != 1 || !strings.Contains(found[0], words) {
		l.t.Fatalf("not %q but %q", words, found)
	}
}

func (l *lab) none() {
	l.t.Helper()
	if found := l.violations(); len(found) > 0 {
		l.t.Fatal(found)
	}
}

func (l *lab) eventually(done func() bool) {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("it does not happen: %+v", l.service.Report())
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustRefuse(t *testing.T, err error, code uint64) {
	t.Helper()
	var failure *nfctest.Failure
	if !errors.As(err, &failure) || failure.Code != code {
		t.Fatalf("not %d but %v", code, err)
	}
}

// same compares without printing megabytes.
func same(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatal("other bytes")
	}
}

func starts(t *testing.T, answer string, err error, with string) {
	t.Helper()
	if err != nil || !strings.HasPrefix(answer, with) {
		t.Fatalf("not %q but %q %v", with, answer, err)
	}
}
