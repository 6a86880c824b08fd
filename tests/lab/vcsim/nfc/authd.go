package nfc

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds a line of the dialogue; maxRefusals is how often a client may be wrong.
const (
	maxLine     = 1024
	maxRefusals = 8
)

const plainTag = "PlainText"

// greet says in clear what the host can do.
func (c *conn) greet() error {
	if _, err := c.step("connect"); err != nil {
		return err
	}
	if _, err := c.step("greeting"); err != nil {
		return err
	}
	line := "220 VMware Authentication Daemon Version 1.10: SSL Required, ServerDaemonProtocol:SOAP, MKSDisplayProtocol:VNC , VMXARGS supported"
	switch c.host.service.Switches().Greeting {
	case "full":
		line += ", NFCSSL supported/t, SHA256 supported"
	case "no-sha256":
		line += ", NFCSSL supported/t"
	case "no-nfcssl":
		line += ", SHA256 supported"
	}
	_, err := io.WriteString(c.wire, line+"\r\n")
	return err
}

// dialogue is what a client says until it is connected to NFC.
type dialogue struct {
	*conn
	session, bad, banner, done bool
	refusals                   int
}

func (c *conn) dialogue() error {
	d := &dialogue{conn: c}
	for !d.done {
		line, err := c.line()
		if err != nil {
			return err
		}
		word, argument, blank := strings.Cut(line, " ")
		switch word {
		case "SESSION":
			err = d.takeSession(argument)
		case "BANNER":
			err = d.takeBanner(argument, blank)
		case "THUMBPRINT_SHA2":
			err = d.takeThumbprint(argument)
		case "PROXY":
			err = d.takeProxy(argument)
		default:
			err = d.wrong(501, "an unknown command %q", word)
		}
		if err != nil {
			return err
		}
	}
	if c.in.rest() > 0 {
		c.violation("something behind PROXY, in the session that is abandoned")
		return errRefused
	}
	return nil
}

// line reads one that ends in CR LF.
func (c *conn) line() (string, error) {
	var text []byte
	for {
		b, err := c.in.ReadByte()
		if err != nil {
			return "", err
		}
		text = append(text, b)
		if b == '\n' {
			break
		}
		if len(text) > maxLine {
			c.violation("a line of more than %d bytes", maxLine)
			return "", errRefused
		}
	}
	line, ok := strings.CutSuffix(string(text), "\r\n")
	if !ok {
		c.violation("a line that does not end in CR LF")
		return "", errors.Join(errRefused, c.answer("501 bad argument"))
	}
	return line, nil
}

func (c *conn) answer(line string) error {
	_, err := io.WriteString(c.tls, line+"\r\n")
	return err
}

// wrong refuses a command that breaks the protocol.
func (d *dialogue) wrong(code int, format string, args ...any) error {
	d.violation(format, args...)
	return d.refuse(code, "")
}

// refuse answers a command with an error; the client may try again for a while.
func (d *dialogue) refuse(code int, text string) error {
	if text == "" {
		text = map[int]string{501: "bad argument", 530: "not logged in"}[code]
	}
	if err := d.answer(fmt.Sprintf("%d %s", code, text)); err != nil {
		return err
	}
	d.refusals++
	if d.refusals >= maxRefusals || d.host.service.Switches().CloseOnRefusal {
		return fmt.Errorf("%w with %d", errRefused, code)
	}
	return nil
}

// ruled refuses a command because a rule says so.
func (d *dialogue) ruled(r *Rule) error {
	code := int(r.Code)
	if code == 0 {
		code = 530
	}
	return d.refuse(code, r.Text)
}

// stranger says whether a step is refused because nobody is logged in, at this step or one before.
func (d *dialogue) stranger(here ...string) bool {
	if !d.session {
		return true
	}
	at := d.host.service.Switches().RefuseTicketAt
	for _, step := range here {
		if d.bad && step == at {
			return true
		}
	}
	return false
}

func (d *dialogue) takeSession(id string) error {
	if _, err := d.step("session"); err != nil {
		return err
	}
	switch {
	case d.session:
		return d.wrong(501, "SESSION twice")
	case id == "":
		return d.wrong(501, "SESSION without a ticket")
	}
	found, again := d.host.service.redeem(d.host, id)
	if again {
		d.violation("a ticket is used twice")
	}
	d.mu.Lock()
	d.ticket = found
	d.mu.Unlock()
	d.session, d.bad = true, found == nil
	return nil // no answer comes
}

func (d *dialogue) takeBanner(argument string, blank bool) error {
	rule, err := d.step("banner")
	switch {
	case err != nil:
		return err
	case rule != nil:
		return d.ruled(rule)
	case !d.session:
		return d.wrong(530, "BANNER before SESSION")
	case !blank || argument != "":
		return d.wrong(501, "BANNER without its blank, or with more")
	case d.banner:
		return d.wrong(501, "BANNER twice")
	case d.stranger("banner"):
		return d.refuse(530, "")
	}
	d.banner = true
	if d.host.service.Switches().ShortGreetingLine {
		return d.answer("220 ")
	}
	return d.answer("220 VMware Authentication Daemon Version 1.10: logged in")
}

func (d *dialogue) takeThumbprint(tag string) error {
	rule, err := d.step("thumbprint")
	switch {
	case err != nil:
		return err
	case rule != nil:
		return d.ruled(rule)
	case !d.session:
		return d.wrong(530, "THUMBPRINT_SHA2 before SESSION")
	case d.stranger("banner", "thumbprint"):
		return d.refuse(530, "")
	case !d.banner:
		return d.wrong(501, "THUMBPRINT_SHA2 before BANNER")
	case d.said != "":
		return d.wrong(501, "THUMBPRINT_SHA2 twice")
	case tag != plainTag && len(tag) != tagBytes:
		return d.wrong(501, "THUMBPRINT_SHA2 with neither %s nor a tag of %d characters", plainTag, tagBytes)
	}
	want := d.host.service.Switches().Tag
	if (want == plainTag && tag != plainTag) || (want == "tag" && tag == plainTag) {
		return d.refuse(501, "") // a host that takes the other one only
	}
	d.mu.Lock()
	d.said = tag
	d.mu.Unlock()
	return d.answer("200 " + d.host.sha256())
}

func (d *dialogue) takeProxy(service string) error {
	rule, err := d.step("proxy")
	switch {
	case err != nil:
		return err
	case rule != nil:
		return d.ruled(rule)
	case !d.session:
		return d.wrong(530, "PROXY before SESSION")
	case d.stranger("banner", "thumbprint", "proxy"):
		return d.refuse(530, "")
	case d.said == "":
		return d.wrong(501, "PROXY before THUMBPRINT_SHA2")
	case service == d.ticket.service:
		return d.wrong(501, "PROXY %s: records would be in clear", service)
	case service != d.ticket.service+"ssl":
		return d.wrong(501, "PROXY %s, not %sssl", service, d.ticket.service)
	}
	d.done = true
	return d.answer("200 Connect ha-nfcssl")
}
