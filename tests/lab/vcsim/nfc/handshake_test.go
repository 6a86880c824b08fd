package nfc_test

import (
	"encoding/binary"
	"testing"

	"migratekit.invalid/lab/vcsim/nfc"
	"migratekit.invalid/lab/vcsim/nfctest"
)

var (
	le      = binary.LittleEndian
	message = nfctest.Message
)

func TestHandshakeVersions(t *testing.T) {
	for _, version := range []uint32{11, 12} {
		for _, b := range []uint32{0, 1} {
			l := start(t, func(s *nfc.Switches) { s.Version, s.VersionB = version, b })
			for _, ours := range []uint32{11, 12} {
				c := l.inside()
				must(t, c.Handshake(ours, 1-b))
			}
			c := l.inside()
			must(t, c.Send(nfctest.TagMessage(c.Tag), message(33, 0, 0), message(51, version, b)))
			_, err := c.Expect(36)
			must(t, err)
			answer, err := c.Expect(51)
			must(t, err)
			if le.Uint32(answer[4:]) != version || le.Uint32(answer[8:]) != b {
				t.Fatalf("%x", answer[:12])
			}
			l.none()
		}
	}
}

func TestTags(t *testing.T) {
	for _, want := range []string{"any", "PlainText", "tag"} {
		for _, tag := range []string{"PlainText", "0123456789abcdef"} {
			l := start(t, func(s *nfc.Switches) { s.Tag = want })
			c := l.dial()
			c.Tag = tag
			err := c.Login(l.ticket())
			if fits := want == "any" || (want == "PlainText") == (tag == "PlainText"); fits != (err == nil) {
				t.Fatal(want, tag, err)
			}
			if err == nil {
				must(t, c.StartTLS())
				must(t, c.Handshake(11, 0))
			}
			l.none()
		}
	}
}

func TestEarlyAnswer(t *testing.T) {
	l := start(t, func(s *nfc.Switches) { s.EarlyAnswer = true })
	c := l.inside()
	must(t, c.Send(nfctest.TagMessage(c.Tag), message(33, 0, 0)))
	_, err := c.Expect(36)
	must(t, err)
	must(t, c.Send(message(51, 11, 1)))
	_, err = c.Expect(51)
	must(t, err)
	l.none()
}

func joined(pieces ...[]byte) []byte {
	var all []byte
	for _, p := range pieces {
		all = append(all, p...)
	}
	return all
}

// Each is a first half of the handshake that is refused with message 4.
func TestHandshakesThatAreRefused(t *testing.T) {
	tag := nfctest.TagMessage("PlainText")
	more := func(m []byte, at int) []byte { m[at] = 1; return m }
	for name, c := range map[string]struct {
		pieces    [][]byte
		violation string
	}{
		"another tag":             {[][]byte{nfctest.TagMessage("0123456789abcdef")}, "the tag is not"},
		"no tag":                  {[][]byte{message(43, 0, 0)}, "the tag is not"},
		"wrong order":             {[][]byte{message(33, 0, 0)}, "message 33, not 43"},
		"version before hello":    {[][]byte{tag, message(51, 11, 1)}, "message 51, not 33"},
		"two in a record":         {[][]byte{joined(tag, message(33, 0, 0))}, "not alone"},
		"one in two records":      {[][]byte{tag[:100], tag[100:]}, "not alone"},
		"a longer one":            {[][]byte{append(joined(tag), 0)}, "not alone"},
		"version 10":              {[][]byte{tag, message(33, 0, 0), message(51, 10, 1)}, "version 10"},
		"version 11 with 2":       {[][]byte{tag, message(33, 0, 0), message(51, 11, 2)}, "version 11 (2)"},
		"more behind the tag":     {[][]byte{more(nfctest.TagMessage("PlainText"), 263)}, "more than it may"},
		"more in hello":           {[][]byte{tag, message(33, 1, 0)}, "more than it may"},
		"more behind the version": {[][]byte{tag, message(33, 0, 0), more(message(51, 11, 1), 12)}, "more than it may"},
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			client := l.inside()
			must(t, client.Send(c.pieces...))
			_, err := client.Expect(4)
			must(t, err)
			l.oneViolation(c.violation)
		})
	}
}

// Each is a second half that is refused.
func TestNamesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		pieces    [][]byte
		violation string
	}{
		"another operation":     {[][]byte{message(54, 2, 7), []byte("me"), []byte("nbdwrit")}, "operation"},
		"no client":             {[][]byte{message(54, 0, 7)}, "names of 0"},
		"a long client":         {[][]byte{message(54, 100000, 7)}, "names of 100000"},
		"names in the message":  {[][]byte{joined(message(54, 2, 7), []byte("menbdmode"))}, "not alone"},
		"names with the next":   {[][]byte{message(54, 2, 7), joined([]byte("menbdmode"), message(55, 3, 0))}, "not alone"},
		"55 with 2":             {[][]byte{message(54, 2, 7), []byte("menbdmode"), message(55, 2, 0)}, "with 2"},
		"55 with more":          {[][]byte{message(54, 2, 7), []byte("menbdmode"), message(55, 3, 1)}, "more than it may"},
		"52 before 55":          {[][]byte{message(54, 2, 7), []byte("menbdmode"), message(52, 0, 0)}, "message 52, not 55"},
		"52 with more":          {[][]byte{message(54, 2, 7), []byte("menbdmode"), message(55, 3, 0), message(52, 1, 0)}, "more than it may"},
		"54 left out":           {[][]byte{message(55, 3, 0)}, "message 55, not 54"},
		"54 with more than two": {[][]byte{func() []byte { m := message(54, 2, 7); m[12] = 1; return m }()}, "more than it may"},
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			client := l.inside()
			must(t, client.Send(nfctest.TagMessage(client.Tag), message(33, 0, 0), message(51, 11, 1)))
			for _, kind := range []uint32{36, 51} {
				_, err := client.Expect(kind)
				must(t, err)
			}
			must(t, client.Send(c.pieces...))
			_, err := client.Expect(4)
			must(t, err)
			l.oneViolation(c.violation)
		})
	}
}
