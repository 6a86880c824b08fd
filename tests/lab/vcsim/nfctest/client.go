// Package nfctest is a small NFC client for the tests of the lab's NFC host. It is written from the protocol page and
// uses nothing of the host's: each step can be left out, repeated or sent otherwise.
package nfctest

import (
	"bytes"
	"compress/zlib"
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

// Header makes a record's.
func Header(op, length, sequence uint32) []byte {
	h := le.AppendUint32(nil, 0xA100DA7A)
	return le.AppendUint32(le.AppendUint32(le.AppendUint32(h, op), length), sequence)
}

// Put sends a record and says which number it has.
func (c *Client) Put(op uint32, payload, trailer []byte) (uint32, error) {
	sequence := c.Sequence
	c.Sequence++
	frame := append(Header(op, uint32(len(payload)), sequence), payload...)
	_, err := c.TLS.Write(append(frame, trailer...))
	return sequence, err
}

// Get reads a record.
func (c *Client) Get() (*Record, error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(c.TLS, head); err != nil {
		return nil, err
	}
	if le.Uint32(head) != 0xA100DA7A {
		return nil, fmt.Errorf("no magic: %x", head)
	}
	r := &Record{Op: le.Uint32(head[4:]), Sequence: le.Uint32(head[12:]), Payload: make([]byte, min(le.Uint32(head[8:]), 64))}
	if _, err := io.ReadFull(c.TLS, r.Payload); err != nil {
		return nil, err
	}
	if len(r.Payload) > 60 {
		return nil, fmt.Errorf("record %d of %d bytes", r.Op, len(r.Payload))
	}
	trailer := uint32(0)
	switch r.Op {
	case 1:
		trailer = le.Uint32(r.Payload[12:])
	case 7:
		trailer = le.Uint32(r.Payload[36:])
	}
	if trailer > 64<<10 {
		return nil, fmt.Errorf("a trailer of %d bytes", trailer)
	}
	r.Trailer = make([]byte, trailer)
	_, err := io.ReadFull(c.TLS, r.Trailer)
	return r, err
}

// Do sends a record and reads the answer: a reply, or an error record and the reply behind it.
func (c *Client) Do(op uint32, payload, trailer []byte) (*Record, error) {
	sequence, err := c.Put(op, payload, trailer)
	if err != nil {
		return nil, err
	}
	r, err := c.Get()
	if err != nil {
		return nil, err
	}
	if r.Op != 1 {
		if r.Op != op || r.Sequence != sequence {
			return nil, fmt.Errorf("record %d number %d answers %d number %d", r.Op, r.Sequence, op, sequence)
		}
		return r, nil
	}
	failure := &Failure{Code: le.Uint64(r.Payload), Text: string(r.Trailer)}
	reply, err := c.Get()
	if err != nil || reply.Op != op || reply.Sequence != sequence {
		return nil, fmt.Errorf("%w, and no reply behind it: %v %v", failure, reply, err)
	}
	if len(reply.Payload) >= 8 {
		status := le.Uint64(reply.Payload)
		failure.Status = &status
	}
	return nil, failure
}

// OpenPayload is what asks for a file to be opened for reading.
func OpenPayload(path string) []byte {
	p := make([]byte, 60)
	le.PutUint32(p, uint32(len(path)))
	le.PutUint32(p[16:], 2)
	le.PutUint32(p[20:], 0x1e)
	return p
}

// Open opens a file.
func (c *Client) Open(path string) (handle, capacity uint64, err error) {
	r, err := c.Do(4, OpenPayload(path), []byte(path))
	if err != nil {
		return 0, 0, err
	}
	if len(r.Payload) != 60 || le.Uint64(r.Payload) != 0 || le.Uint32(r.Payload[36:]) != 512 {
		return 0, 0, fmt.Errorf("opened with %x", r.Payload)
	}
	return le.Uint64(r.Payload[8:]), le.Uint64(r.Payload[28:]), nil
}

// ReadPayload is what asks for bytes.
func ReadPayload(handle, offset, length uint64, encoding uint32) []byte {
	p := make([]byte, 44)
	le.PutUint64(p, handle)
	le.PutUint32(p[8:], 1)
	le.PutUint32(p[12:], encoding)
	le.PutUint64(p[16:], offset)
	le.PutUint64(p[24:], length)
	le.PutUint32(p[32:], uint32(length))
	le.PutUint32(p[36:], uint32(length))
	return p
}

// Read reads one stretch.
func (c *Client) Read(handle, offset, length uint64, encoding uint32) ([]byte, error) {
	all, err := c.ReadMany(handle, length, encoding, offset)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// ReadMany asks for several stretches at once.
func (c *Client) ReadMany(handle, length uint64, encoding uint32, offsets ...uint64) ([][]byte, error) {
	first := c.Sequence
	for _, offset := range offsets {
		if _, err := c.Put(7, ReadPayload(handle, offset, length, encoding), nil); err != nil {
			return nil, err
		}
	}
	c.Chunks = nil
	all, have := make([][]byte, len(offsets)), make([][]Chunk, len(offsets))
	for i := range all {
		all[i] = make([]byte, length)
	}
	for missing := int(length) * len(offsets); missing > 0; {
		r, err := c.Get()
		if err != nil {
			return nil, err
		}
		if r.Op == 1 {
			failure := &Failure{Code: le.Uint64(r.Payload), Text: string(r.Trailer)}
			reply, err := c.Get()
			if err == nil && reply.Op == 7 && reply.Sequence == r.Sequence && len(reply.Payload) == 44 {
				status := le.Uint64(reply.Payload)
				failure.Status = &status
			}
			return nil, failure
		}
		if r.Op != 7 || len(r.Payload) != 44 {
			return nil, fmt.Errorf("record %d of %d bytes", r.Op, len(r.Payload))
		}
		p := r.Payload
		chunk := Chunk{
			Sequence: r.Sequence, Status: le.Uint64(p), Encoding: le.Uint32(p[12:]), Offset: le.Uint64(p[16:]),
			Total: le.Uint32(p[24:]), At: le.Uint32(p[28:]), Length: le.Uint32(p[32:]), Wire: le.Uint32(p[36:]),
		}
		c.Chunks = append(c.Chunks, chunk)
		i := int(r.Sequence - first)
		switch {
		case i < 0 || i >= len(offsets) || chunk.Offset != offsets[i] || chunk.Status != 0 || uint64(chunk.Total) != length:
			return nil, fmt.Errorf("a chunk of no request: %+v", chunk)
		case chunk.Length == 0 || chunk.Length > 64<<10 || uint64(chunk.At)+uint64(chunk.Length) > length:
			return nil, fmt.Errorf("a chunk beside its request: %+v", chunk)
		}
		data, err := decode(chunk, r.Trailer)
		if err != nil {
			return nil, err
		}
		for _, other := range have[i] {
			if chunk.At < other.At+other.Length && other.At < chunk.At+chunk.Length {
				return nil, fmt.Errorf("a chunk over another one: %+v", chunk)
			}
		}
		have[i] = append(have[i], chunk)
		copy(all[i][chunk.At:], data)
		missing -= len(data)
	}
	return all, nil
}

func decode(chunk Chunk, wire []byte) ([]byte, error) {
	data := wire
	switch chunk.Encoding {
	case 1:
		z, err := zlib.NewReader(bytes.NewReader(wire))
		if err != nil {
			return nil, err
		}
		if data, err = io.ReadAll(z); err != nil {
			return nil, err
		}
	case 3:
		if len(wire) >= 8 && le.Uint32(wire) == chunk.Length {
			data = make([]byte, chunk.Length)
			for rest := wire[8:]; len(rest) > 0; {
				at, length := uint64(le.Uint32(rest)), uint64(le.Uint32(rest[4:]))
				if at+length > uint64(chunk.Length) || 8+length > uint64(len(rest)) {
					return nil, fmt.Errorf("a segment of %d bytes at %d in %+v", length, at, chunk)
				}
				copy(data[at:at+length], rest[8:8+length])
				rest = rest[8+length:]
			}
		}
	}
	if len(data) != int(chunk.Length) || chunk.Encoding == 2 || chunk.Encoding > 3 {
		return nil, fmt.Errorf("%d bytes in %+v", len(data), chunk)
	}
	return data, nil
}

// CloseFile closes a file.
func (c *Client) CloseFile(handle uint64) error {
	_, err := c.Do(5, le.AppendUint64(le.AppendUint64(nil, handle), 0), nil)
	return err
}

// End ends the session as one should.
func (c *Client) End() error {
	defer c.Close()
	if _, err := c.Do(3, make([]byte, 16), nil); err != nil {
		return err
	}
	return c.Send(Message(4, 0, 0))
}

// Close drops the connection.
func (c *Client) Close() { _ = c.Raw.Close() }
