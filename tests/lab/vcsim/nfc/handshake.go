package nfc

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// messageBytes is the length of each message of the handshake.
const (
	messageBytes = 264
	tagBytes     = 16
	maxName      = 1024
)

// The types of those messages.
const (
	msgRefused  = 4 // from the host; from the client it is the end
	msgHello    = 33
	msgWelcome  = 36
	msgTag      = 43
	msgVersion  = 51
	msgReady    = 52
	msgNames    = 54
	msgSettings = 55
)

var (
	le          = binary.LittleEndian
	errNotAlone = errors.New("a message that is not alone in its TLS record")
)

// recordReader reads a TLS session and knows where its records begin and end: tls.Conn gives out one at a time.
type recordReader struct {
	session *tls.Conn
	buf     []byte
	r, w    int
}

func newRecordReader(session *tls.Conn) *recordReader {
	return &recordReader{session: session, buf: make([]byte, 17<<10)}
}

func (rr *recordReader) rest() int { return rr.w - rr.r }

func (rr *recordReader) fill() error {
	n, err := rr.session.Read(rr.buf)
	rr.r, rr.w = 0, n
	if n > 0 {
		return nil
	}
	return err
}

func (rr *recordReader) ReadByte() (byte, error) {
	for rr.rest() == 0 {
		if err := rr.fill(); err != nil {
			return 0, err
		}
	}
	rr.r++
	return rr.buf[rr.r-1], nil
}

func (rr *recordReader) Read(p []byte) (int, error) {
	for rr.rest() == 0 {
		if err := rr.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, rr.buf[rr.r:rr.w])
	rr.r += n
	return n, nil
}

// message reads a message of the handshake.
func (rr *recordReader) message() ([]byte, error) {
	if rr.rest() > 0 {
		return nil, errNotAlone
	}
	if err := rr.fill(); err != nil {
		return nil, err
	}
	if rr.w != messageBytes {
		return nil, fmt.Errorf("%w: %d bytes", errNotAlone, rr.w)
	}
	message := bytes.Clone(rr.buf[:rr.w])
	rr.r = rr.w
	return message, nil
}

// atMessage says whether the next record is one message of that type, and nothing else.
func (rr *recordReader) atMessage(kind uint32) (bool, error) {
	if rr.rest() == 0 {
		if err := rr.fill(); err != nil {
			return false, err
		}
	}
	return rr.r == 0 && rr.w == messageBytes && le.Uint32(rr.buf) == kind, nil
}

// say sends one message, in a record of its own.
func (c *conn) say(kind, a, b uint32) error {
	var message [messageBytes]byte
	le.PutUint32(message[0:], kind)
	le.PutUint32(message[4:], a)
	le.PutUint32(message[8:], b)
	if c.host.service.Switches().Reserved == "noise" {
		noise(message[12:])
	}
	_, err := c.tls.Write(message[:])
	return err
}

// decline ends the handshake with a refusal.
func (c *conn) decline(format string, args ...any) error {
	c.violation(format, args...)
	_ = c.say(msgRefused, 0, 0)
	return errRefused
}

// expect reads the client's next message, which has to be of this type, with zeros from offset on.
func (c *conn) expect(kind uint32, zerosFrom int) ([]byte, error) {
	message, err := c.in.message()
	if errors.Is(err, errNotAlone) {
		return nil, c.decline("handshake, for %d: %v", kind, err)
	}
	if err != nil {
		return nil, err
	}
	if got := le.Uint32(message); got != kind {
		return nil, c.decline("handshake: message %d, not %d", got, kind)
	}
	if !zero(message[zerosFrom:]) {
		return nil, c.decline("handshake: message %d has more than it may", kind)
	}
	return message, nil
}

func (c *conn) handshake() error {
	rule, err := c.step("handshake")
	if err != nil {
		return err
	}
	sw := c.host.service.Switches()
	message, err := c.expect(msgTag, 4+tagBytes)
	if err != nil {
		return err
	}
	if tag := bytes.TrimRight(message[4:4+tagBytes], "\x00"); string(tag) != c.said {
		return c.decline("handshake: the tag is not the one of THUMBPRINT_SHA2")
	}
	if _, err := c.expect(msgHello, 4); err != nil {
		return err
	}
	if rule != nil || c.surplus {
		_ = c.say(msgRefused, 0, 0)
		return fmt.Errorf("%w: a rule, or too many connections", errRefused)
	}
	if sw.EarlyAnswer {
		if err := c.say(msgWelcome, 0, 0); err != nil {
			return err
		}
	}
	if message, err = c.expect(msgVersion, 12); err != nil {
		return err
	}
	version, b := le.Uint32(message[4:]), le.Uint32(message[8:])
	if (version != 11 && version != 12) || b > 1 {
		return c.decline("handshake: version %d (%d)", version, b)
	}
	c.mu.Lock()
	c.version = version
	c.mu.Unlock()
	if !sw.EarlyAnswer {
		if err := c.say(msgWelcome, 0, 0); err != nil {
			return err
		}
	}
	if err := c.say(msgVersion, sw.Version, sw.VersionB); err != nil {
		return err
	}
	return c.names()
}

// names is the second half: who the client is and what it wants.
func (c *conn) names() error {
	message, err := c.expect(msgNames, 12)
	if err != nil {
		return err
	}
	client, operation := le.Uint32(message[4:]), le.Uint32(message[8:])
	if client < 1 || client > maxName || operation < 1 || operation > maxName {
		return c.decline("handshake: names of %d and %d bytes", client, operation)
	}
	text := make([]byte, client+operation)
	if _, err := io.ReadFull(c.in, text); err != nil {
		return err
	}
	c.mu.Lock()
	c.client = string(text[:client])
	c.mu.Unlock()
	if string(text[client:]) != "nbdmode" {
		return c.decline("handshake: operation %q", text[client:])
	}
	if message, err = c.expect(msgSettings, 8); err != nil {
		return err
	}
	if a := le.Uint32(message[4:]); a != 3 {
		return c.decline("handshake: message %d with %d", msgSettings, a)
	}
	if _, err = c.expect(msgReady, 4); err != nil {
		return err
	}
	rule, err := c.step("names")
	if err != nil {
		return err
	}
	if rule != nil {
		_ = c.say(msgRefused, 0, 0)
		return fmt.Errorf("%w: a rule", errRefused)
	}
	return c.say(msgReady, 0, 0)
}

var zeroBytes = make([]byte, maxChunk)

func zero(p []byte) bool { return bytes.Equal(p, zeroBytes[:len(p)]) }
