// Package nfctest is a small NFC client for the tests of the lab's NFC host. It is written from the protocol page and
// uses nothing of the host's: each step can be left out, repeated or sent otherwise.
package nfctest

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the protocol's thumbprint
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Ticket is what a client is given to get in.
type Ticket struct {
	Address, Thumbprint, Service, Session string
}

// Client is a connection, at any step.
type Client struct {
	Raw      net.Conn
	TLS      *tls.Conn
	Greeting string
	SHA1     string // of the certificate that was shown last
	SHA256   string
	Tag      string
	Sequence uint32
	Chunks   []Chunk // of the last reads, as they came
}

// Chunk is one piece of an answer to a read.
type Chunk struct {
	Sequence, Encoding, Total, At, Length, Wire uint32
	Status, Offset                              uint64
}

// Record is one of the host's.
type Record struct {
	Op, Sequence uint32
	Payload      []byte
	Trailer      []byte
}

// Failure is an error record, with the status of the reply behind it if one came.
type Failure struct {
	Code   uint64
	Text   string
	Status *uint64
}

func (f *Failure) Error() string { return fmt.Sprintf("%d: %s", f.Code, f.Text) }

var le = binary.LittleEndian

const patience = time.Minute

// Dial connects and reads the greeting.
func Dial(address string) (*Client, error) {
	raw, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	c := &Client{Raw: raw, Tag: "PlainText"}
	_ = raw.SetDeadline(time.Now().Add(patience))
	c.Greeting, err = line(raw)
	if err != nil {
		_ = raw.Close()
	}
	c.Raw = &oneRecord{Conn: raw}
	return c, err
}

// oneRecord gives TLS no byte that is behind the record which it reads: that may be the next session's.
type oneRecord struct {
	net.Conn
	head []byte // read, and not given out
	left int    // of the record, behind the head
}

func (o *oneRecord) Read(p []byte) (int, error) {
	if len(o.head) == 0 && o.left == 0 {
		head := make([]byte, 5)
		if _, err := io.ReadFull(o.Conn, head); err != nil {
			return 0, err
		}
		o.head, o.left = head, int(binary.BigEndian.Uint16(head[3:]))
	}
	if len(o.head) > 0 {
		n := copy(p, o.head)
		o.head = o.head[n:]
		return n, nil
	}
	n, err := o.Conn.Read(p[:min(len(p), o.left)])
	o.left -= n
	return n, err
}

// line reads to CR LF, byte by byte: what comes behind belongs to TLS.
func line(r io.Reader) (string, error) {
	var text []byte
	var b [1]byte
	for !bytes.HasSuffix(text, []byte("\r\n")) {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return string(text), err
		}
		text = append(text, b[0])
	}
	return strings.TrimSuffix(string(text), "\r\n"), nil
}

// StartTLS begins a TLS session, and drops the one before as it is.
func (c *Client) StartTLS() error {
	session := tls.Client(c.Raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}) //nolint:gosec // by thumbprint
	if err := session.Handshake(); err != nil {
		return err
	}
	der := session.ConnectionState().PeerCertificates[0].Raw
	one, two := sha1.Sum(der), sha256.Sum256(der) //nolint:gosec // the protocol's
	c.SHA1 = strings.ReplaceAll(fmt.Sprintf("% X", one[:]), " ", ":")
	c.SHA256 = strings.ReplaceAll(fmt.Sprintf("% X", two[:]), " ", ":")
	c.TLS = session
	return nil
}

// Say sends a line.
func (c *Client) Say(text string) error {
	_, err := io.WriteString(c.TLS, text+"\r\n")
	return err
}

// Hear reads a line.
func (c *Client) Hear() (string, error) { return line(c.TLS) }

// Ask sends a line and reads the answer.
func (c *Client) Ask(text string) (string, error) {
	if err := c.Say(text); err != nil {
		return "", err
	}
	return c.Hear()
}

// Login is the dialogue up to PROXY's answer.
func (c *Client) Login(t Ticket) error {
	if err := c.StartTLS(); err != nil {
		return err
	}
	if c.SHA1 != t.Thumbprint {
		return fmt.Errorf("the certificate is %s, not %s", c.SHA1, t.Thumbprint)
	}
	if err := c.Say("SESSION " + t.Session); err != nil {
		return err
	}
	for _, step := range []struct{ say, want string }{
		{"BANNER ", "220 "}, {"THUMBPRINT_SHA2 " + c.Tag, "200 " + c.SHA256}, {"PROXY " + t.Service + "ssl", "200 Connect ha-nfcssl"},
	} {
		answer, err := c.Ask(step.say)
		if err != nil {
			return fmt.Errorf("%s: %w", step.say, err)
		}
		if !strings.HasPrefix(answer, step.want) {
			return fmt.Errorf("%s: %s", step.say, answer)
		}
	}
	return nil
}

// Message makes one of the handshake.
func Message(kind, a, b uint32) []byte {
	m := make([]byte, 264)
	le.PutUint32(m, kind)
	le.PutUint32(m[4:], a)
	le.PutUint32(m[8:], b)
	return m
}

// TagMessage is number 43.
func TagMessage(tag string) []byte {
	m := Message(43, 0, 0)
	copy(m[4:20], tag)
	return m
}

// Send sends each piece in a TLS record of its own.
func (c *Client) Send(pieces ...[]byte) error {
	for _, p := range pieces {
		if _, err := c.TLS.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// Expect reads a message of the handshake, which has to come in a TLS record of its own.
func (c *Client) Expect(kind uint32) ([]byte, error) {
	m := make([]byte, 17<<10)
	n, err := c.TLS.Read(m)
	switch {
	case err != nil:
		return nil, err
	case n != 264:
		return nil, fmt.Errorf("a message of %d bytes", n)
	case le.Uint32(m) != kind:
		return nil, fmt.Errorf("message %d, not %d", le.Uint32(m), kind)
	}
	return m[:264], nil
}

// Handshake is all of it.
func (c *Client) Handshake(version, b uint32) error {
	if err := c.Send(TagMessage(c.Tag), Message(33, 0, 0), Message(51, version, b)); err != nil {
		return err
	}
	for _, kind := range []uint32{36, 51} {
		if _, err := c.Expect(kind); err != nil {
			return err
		}
	}
	if err := c.Send(Message(54, 7, 7), []byte("nfctest"), []byte("nbdmode"), Message(55, 3, 0), Message(52, 0, 0)); err != nil {
		return err
	}
	_, err := c.Expect(52)
	return err
}

// Connect does everything up to the first record.
func Connect(t Ticket) (*Client, error) {
	c, err := Dial(t.Address)
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return c.Login(t) }, c.StartTLS, func() error { return c.Handshake(11, 1) },
	} {
		if err := step(); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// Begin connects and sends the records that come before an open.
func Begin(t Ticket) (*Client, error) {
	c, err := Connect(t)
	if err != nil {
		return nil, err
	}
	for _, r := range []struct {
		op      uint32
		payload []byte
	}{{2, make([]byte, 16)}, {9, make([]byte, 12)}, {22, []byte{1, 0, 0, 0}}} {
		if _, err := c.Do(r.op, r.payload, nil); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}
