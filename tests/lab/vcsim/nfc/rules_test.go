package nfc_test

import (
	"errors"
	"testing"

	"migratekit.invalid/lab/vcsim/nfc"
	"migratekit.invalid/lab/vcsim/nfctest"
)

// whole does everything once.
func (l *lab) whole() error {
	c, err := nfctest.Begin(l.ticket())
	if err != nil {
		return err
	}
	defer c.Close()
	handle, _, err := c.Open(disk)
	if err != nil {
		return err
	}
	if _, err = c.ReadMany(handle, 128<<10, 3, offsets(2)...); err != nil {
		return err
	}
	if err := c.CloseFile(handle); err != nil {
		return err
	}
	return c.End()
}

func TestRulesBreakEveryStep(t *testing.T) {
	for _, step := range []string{
		"connect", "greeting", "tls", "session", "banner", "thumbprint", "proxy", "tls2", "handshake", "names", "hello",
		"options", "pool", "open", "read", "chunk", "close", "end",
	} {
		t.Run(step, func(t *testing.T) {
			l := start(t)
			for _, mode := range []string{"cut", "delay", "refuse"} {
				rule := nfc.Rule{At: step, Mode: mode, Max: 1, Code: 530, Text: "as told"}
				if mode == "delay" {
					rule.Seconds = 0.01
				}
				if err := l.service.AddRule(rule); err != nil {
					if mode == "refuse" {
						continue
					}
					t.Fatal(err)
				}
				if err := l.whole(); (err == nil) != (mode == "delay") {
					t.Fatal(mode, err)
				}
				must(t, l.whole()) // once only
			}
			for _, rule := range l.service.Rules() {
				if rule.Hits != 1 {
					t.Fatalf("%+v", rule)
				}
			}
			l.eventually(func() bool { return l.service.Report().Hosts[0].InFlight == 0 })
		})
	}
}

// Each lie is one that a client can find out.
func TestLies(t *testing.T) {
	for _, lie := range []string{
		"sequence", "opcode", "magic", "payload", "status", "offset", "total", "beyond", "overlap", "longer", "shorter", "empty",
		"huge", "encoding", "zlib", "segment", "place",
	} {
		t.Run(lie, func(t *testing.T) {
			l := start(t, func(s *nfc.Switches) { s.ChunkOrder = "reverse" })
			must(t, l.service.AddRule(nfc.Rule{At: "chunk", Mode: "lie", Lie: lie, Skip: 1, Max: 1}))
			c, handle := l.open()
			encoding := uint32(0)
			if lie == "segment" || lie == "place" {
				encoding = 3
			}
			if _, err := c.Read(handle, 0, mib, encoding); err == nil {
				t.Fatal("believed")
			}
		})
	}
	l := start(t)
	for _, bad := range []nfc.Rule{{At: "open", Mode: "lie", Lie: "total"}, {At: "chunk", Mode: "lie", Lie: "white"}} {
		if l.service.AddRule(bad) == nil {
			t.Fatalf("%+v", bad)
		}
	}
}

func TestRulesChoose(t *testing.T) {
	l := start(t)
	must(t, l.service.AddRule(nfc.Rule{At: "open", Mode: "refuse", Code: nfc.CodeLocked, VM: "other"}))
	must(t, l.service.AddRule(nfc.Rule{At: "open", Mode: "refuse", Code: nfc.CodeLocked, Host: "esx2"}))
	must(t, l.whole())
	must(t, l.service.AddRule(nfc.Rule{At: "open", Mode: "refuse", Code: nfc.CodeLocked, VM: "vm", Skip: 1, Max: 1}))
	must(t, l.whole())
	mustRefuse(t, l.whole(), nfc.CodeLocked)
	must(t, l.whole())
	l.service.ClearRules()
	if len(l.service.Rules()) != 0 {
		t.Fatal("not cleared")
	}
	for _, bad := range []nfc.Rule{{At: "nowhere", Mode: "cut"}, {At: "open", Mode: "break"}, {At: "chunk", Mode: "refuse"}, {At: "open", Mode: "delay"}} {
		if l.service.AddRule(bad) == nil {
			t.Fatalf("%+v", bad)
		}
	}
}

func TestAReadThatIsNeverAnswered(t *testing.T) {
	l := start(t)
	must(t, l.service.AddRule(nfc.Rule{At: "read", Mode: "silent", Max: 1}))
	c, handle := l.open()
	_, err := c.Put(7, nfctest.ReadPayload(handle, 0, 512, 0), nil)
	must(t, err)
	_, err = c.Read(handle, 0, 512, 0) // the others go on
	must(t, err)
	if n := l.service.Report().Hosts[0].InFlight; n != 1 {
		t.Fatal(n)
	}
	must(t, c.CloseFile(handle))
	must(t, c.End())
	l.eventually(func() bool { return l.service.Report().Hosts[0].InFlight == 0 })
}

func TestSilence(t *testing.T) {
	l := start(t)
	must(t, l.service.AddRule(nfc.Rule{At: "banner", Mode: "silent", Max: 1}))
	c := l.login()
	must(t, c.Say("SESSION "+l.ticket().Session))
	must(t, c.Say("BANNER "))
	l.eventually(func() bool { return l.service.Rules()[0].Hits == 1 })
	c.Close()
	l.eventually(func() bool { return len(l.service.Report().Hosts[0].Connections) == 0 })
}

func TestDrop(t *testing.T) {
	l := start(t)
	c, handle := l.open()
	if n := l.host.Drop(); n != 1 {
		t.Fatal(n)
	}
	var failure *nfctest.Failure
	if _, err := c.Read(handle, 0, 512, 0); err == nil || errors.As(err, &failure) {
		t.Fatal(err)
	}
	l.eventually(func() bool { return len(l.service.Report().Open) == 0 })
}
