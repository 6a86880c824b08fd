package nfc_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"migratekit.invalid/lab/vcsim/nfc"
	"migratekit.invalid/lab/vcsim/nfctest"
)

func TestGreeting(t *testing.T) {
	l := start(t)
	for greeting, want := range map[string][2]bool{"full": {true, true}, "no-sha256": {false, true}, "no-nfcssl": {true, false}} {
		l.change(func(s *nfc.Switches) { s.Greeting = greeting })
		said := l.dial().Greeting
		starts(t, said, nil, "220 ")
		if strings.Contains(said, "SHA256 supported") != want[0] || strings.Contains(said, "NFCSSL supported/t") != want[1] {
			t.Fatal(said)
		}
	}
}

// Each is what a client says after SESSION, in order, with what it is answered; "" is no answer.
func TestOrderOfTheDialogue(t *testing.T) {
	const tag = "0123456789abcdef"
	for name, c := range map[string]struct {
		lines     [][2]string
		violation string
	}{
		"banner first":        {[][2]string{{"BANNER ", "530 "}}, "BANNER before SESSION"},
		"thumbprint first":    {[][2]string{{"THUMBPRINT_SHA2 PlainText", "530 "}}, "THUMBPRINT_SHA2 before SESSION"},
		"proxy first":         {[][2]string{{"PROXY nfcssl", "530 "}}, "PROXY before SESSION"},
		"no banner":           {[][2]string{{"TICKET", ""}, {"THUMBPRINT_SHA2 PlainText", "501 "}}, "before BANNER"},
		"no thumbprint":       {[][2]string{{"TICKET", ""}, {"BANNER ", "220 "}, {"PROXY nfcssl", "501 "}}, "before THUMBPRINT_SHA2"},
		"no blank":            {[][2]string{{"TICKET", ""}, {"BANNER", "501 "}}, "without its blank"},
		"banner twice":        {[][2]string{{"TICKET", ""}, {"BANNER ", "220 "}, {"BANNER ", "501 "}}, "BANNER twice"},
		"session twice":       {[][2]string{{"TICKET", ""}, {"SESSION 1", "501 "}}, "SESSION twice"},
		"session of nothing":  {[][2]string{{"SESSION ", "501 "}}, "without a ticket"},
		"no tag":              {[][2]string{{"TICKET", ""}, {"BANNER ", "220 "}, {"THUMBPRINT_SHA2", "501 "}}, "neither"},
		"a short tag":         {[][2]string{{"TICKET", ""}, {"BANNER ", "220 "}, {"THUMBPRINT_SHA2 short", "501 "}}, "neither"},
		"plain records":       {[][2]string{{"TICKET", ""}, {"BANNER ", "220 "}, {"THUMBPRINT_SHA2 " + tag, "200 "}, {"PROXY nfc", "501 "}}, "in clear"},
		"another service":     {[][2]string{{"TICKET", ""}, {"BANNER ", "220 "}, {"THUMBPRINT_SHA2 " + tag, "200 "}, {"PROXY vpxa-nfcssl", "501 "}}, "not nfcssl"},
		"an unknown command":  {[][2]string{{"USER root", "501 "}}, "unknown command"},
		"as it should be":     {[][2]string{{"TICKET", ""}, {"BANNER ", "220 "}, {"THUMBPRINT_SHA2 " + tag, "200 "}, {"PROXY nfcssl", "200 Connect ha-nfcssl"}}, ""},
		"wrong, then as said": {[][2]string{{"BANNER ", "530 "}, {"TICKET", ""}, {"BANNER ", "220 "}}, "before SESSION"},
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			client := l.login()
			for _, line := range c.lines {
				say := line[0]
				if say == "TICKET" {
					say = "SESSION " + l.ticket().Session
				}
				must(t, client.Say(say))
				if line[1] != "" {
					answer, err := client.Hear()
					starts(t, answer, err, line[1])
				}
			}
			if c.violation == "" {
				l.none()
			} else {
				l.oneViolation(c.violation)
			}
		})
	}
}

func TestLinesEndInCRLF(t *testing.T) {
	l := start(t)
	c := l.login()
	must(t, c.Send([]byte("SESSION 1\n")))
	answer, err := c.Hear()
	starts(t, answer, err, "501 ")
	l.oneViolation("CR LF")
}

func TestLinesHaveAnEnd(t *testing.T) {
	l := start(t)
	must(t, l.login().Send([]byte("SESSION "+strings.Repeat("1", 2000))))
	l.oneViolation("more than")
}

// bad are the steps at which a ticket is refused, with what comes before.
func refusedTicket(t *testing.T, l *lab, session string) {
	t.Helper()
	for step, before := range map[string][]string{"banner": {}, "thumbprint": {"BANNER "}, "proxy": {"BANNER ", "THUMBPRINT_SHA2 PlainText"}} {
		l.change(func(s *nfc.Switches) { s.RefuseTicketAt = step })
		c := l.login()
		must(t, c.Say("SESSION "+session))
		for _, line := range before {
			answer, err := c.Ask(line)
			starts(t, answer, err, "2")
		}
		answer, err := c.Ask(map[string]string{"banner": "BANNER ", "thumbprint": "THUMBPRINT_SHA2 PlainText", "proxy": "PROXY nfcssl"}[step])
		starts(t, answer, err, "530 ")
	}
}

func TestATicketIsUsedUpByOneConnection(t *testing.T) {
	l := start(t)
	ticket := l.ticket()
	c, err := nfctest.Connect(ticket)
	must(t, err)
	defer c.Close()
	l.none()
	if _, err = nfctest.Connect(ticket); err == nil {
		t.Fatal("twice")
	}
	l.oneViolation("used twice")
}

func TestTicketsThatAreNotValid(t *testing.T) {
	l := start(t)
	refusedTicket(t, l, "unknown")
	other, err := l.service.Start("esx2", "127.0.0.1:0", false)
	must(t, err)
	refusedTicket(t, l, l.service.Issue(other, l.machine, "nfc", nil))
	revoked := l.ticket()
	l.service.Revoke()
	refusedTicket(t, l, revoked.Session)
	l.change(func(s *nfc.Switches) { s.TicketSeconds = 1e-9 })
	refusedTicket(t, l, l.ticket().Session)
	l.none() // it may happen to anybody
}

func TestThumbprints(t *testing.T) {
	l := start(t)
	c := l.login()
	if l.host.Thumbprint() != c.SHA1 {
		t.Fatal("the ticket's")
	}
	for sha, right := range map[string]bool{"right": true, "wrong": false} {
		l.change(func(s *nfc.Switches) { s.SHA256, s.TicketThumbprint = sha, sha })
		c := l.login()
		must(t, c.Say("SESSION "+l.ticket().Session))
		_, err := c.Ask("BANNER ")
		must(t, err)
		answer, err := c.Ask("THUMBPRINT_SHA2 PlainText")
		must(t, err)
		if (answer == "200 "+c.SHA256) != right || (l.host.Thumbprint() == c.SHA1) != right {
			t.Fatal(answer)
		}
	}
	l.change(func(s *nfc.Switches) { s.TicketThumbprint, s.Hex = "right", "lower" })
	if l.host.Thumbprint() != strings.ToLower(c.SHA1) {
		t.Fatal("not lower")
	}
}

func TestSecondTLSSession(t *testing.T) {
	l := start(t)
	for shown, same := range map[string]bool{"same": true, "other": false} {
		l.change(func(s *nfc.Switches) { s.SecondCertificate = shown })
		c := l.dial()
		must(t, c.Login(l.ticket()))
		first := c.SHA256
		must(t, c.StartTLS())
		if (c.SHA256 == first) != same {
			t.Fatal(shown)
		}
	}
}

// A client that does not wait for PROXY's answer has its second hello read by the second session, though both come in
// one segment.
func TestSecondTLSSessionRightBehindTheFirst(t *testing.T) {
	l := start(t)
	c := l.dial()
	both := &together{Conn: c.Raw}
	c.Raw = both
	must(t, c.StartTLS())
	must(t, c.Say("SESSION "+l.ticket().Session))
	for _, line := range []string{"BANNER ", "THUMBPRINT_SHA2 PlainText"} {
		_, err := c.Ask(line)
		must(t, err)
	}
	first := &nfctest.Client{TLS: c.TLS}
	both.hold()
	must(t, c.Say("PROXY nfcssl"))
	second := &later{both, make(chan struct{})}
	c.Raw = second
	done := make(chan error, 1)
	go func() { done <- c.StartTLS() }()
	<-both.both
	answer, err := first.Hear()
	starts(t, answer, err, "200 Connect")
	close(second.may)
	must(t, <-done)
	must(t, c.Handshake(12, 0))
	l.none()
}

func TestSomethingBehindPROXY(t *testing.T) {
	l := start(t)
	c := l.login()
	must(t, c.Say("SESSION "+l.ticket().Session))
	for _, line := range []string{"BANNER ", "THUMBPRINT_SHA2 PlainText"} {
		_, err := c.Ask(line)
		must(t, err)
	}
	must(t, c.Say("PROXY nfcssl\r\nBANNER "))
	l.oneViolation("behind PROXY")
}

// A client that does not trust the certificate, or goes away, has broken no rule.
func TestTLSThatTheClientGivesUp(t *testing.T) {
	l := start(t)
	for range 2 {
		c := l.dial()
		if tls.Client(c.Raw, &tls.Config{ServerName: "esx1", MaxVersion: tls.VersionTLS12}).Handshake() == nil {
			t.Fatal("trusted")
		}
		c.Close()
		l.dial().Close()
	}
	l.eventually(func() bool {
		r := l.service.Report().Hosts[0]
		return r.TotalConnections == 4 && len(r.Connections) == 0
	})
	l.none()
}

func TestOnlyTLS12(t *testing.T) {
	l := start(t)
	c := l.login()
	if version := c.TLS.ConnectionState().Version; version != tls.VersionTLS12 {
		t.Fatal(version)
	}
	for _, version := range []uint16{tls.VersionTLS11, tls.VersionTLS13} {
		c := l.dial()
		config := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version} //nolint:gosec // it is refused
		if tls.Client(c.Raw, config).Handshake() == nil {
			t.Fatal(version)
		}
	}
}

func TestLimitOfConnections(t *testing.T) {
	for _, at := range []string{"handshake", "connect"} {
		l := start(t, func(s *nfc.Switches) { s.MaxConnections, s.LimitAt = 2, at })
		l.begin()
		second := l.begin()
		third, err := nfctest.Dial(l.host.Address().String())
		if (err == nil) != (at == "handshake") {
			t.Fatal(at, err)
		}
		if err == nil {
			must(t, third.Login(l.ticket()))
			must(t, third.StartTLS())
			must(t, third.Send(nfctest.TagMessage(third.Tag), message(33, 0, 0), message(51, 11, 1)))
			_, err = third.Expect(4)
			must(t, err)
			third.Close()
		}
		must(t, second.End())
		l.eventually(func() bool { return len(l.service.Report().Hosts[0].Connections) == 1 })
		l.begin()
		if report := l.service.Report().Hosts[0]; report.RefusedConnections != 1 {
			t.Fatalf("%+v", report)
		}
	}
}

func TestStandardLimitOfConnections(t *testing.T) {
	l := start(t)
	for range 50 {
		l.dial()
	}
	if _, err := nfctest.Connect(l.ticket()); err == nil {
		t.Fatal("51")
	}
}
