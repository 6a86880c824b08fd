package nfc

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"
	"unicode/utf8"
)

const (
	magic       = 0xA100DA7A
	headerBytes = 16
	maxPayload  = 4096
	maxPath     = 4096
)

// The records.
const (
	opError   = 1
	opHello   = 2
	opEnd     = 3
	opOpen    = 4
	opClose   = 5
	opRead    = 7
	opOptions = 9
	opPool    = 22
)

// payloads are the lengths of what clients send, and names the steps that rules break.
var (
	payloads = map[uint32]uint32{opHello: 16, opEnd: 16, opOpen: 60, opClose: 16, opRead: 44, opOptions: 12, opPool: 4}
	names    = map[uint32]string{
		opHello: "hello", opEnd: "end", opOpen: "open", opClose: "close", opRead: "read", opOptions: "options", opPool: "pool",
	}
)

// record is one of the client's.
type record struct {
	op, sequence uint32
	payload      []byte
}

// session answers records until the client ends it.
func (c *conn) session() error {
	_ = c.wire.SetDeadline(time.Time{})
	c.wire.gather = true
	c.queue = newQueue(c)
	seen := map[uint32]bool{}
	for sequence := uint32(0); ; sequence++ {
		c.enter("records")
		rec, err := c.next(sequence)
		if err != nil {
			return err
		}
		rule, err := c.begin(rec)
		if err != nil {
			return err
		}
		if err := c.take(rec, rule, seen); err != nil {
			return err
		}
		seen[rec.op] = true
	}
}

// begin is step, but for reads: those must not hold up the others.
func (c *conn) begin(rec *record) (*Rule, error) {
	if rec.op == opRead {
		c.enter("read")
		return c.rule("read"), nil
	}
	return c.step(names[rec.op])
}

// next reads a record, or the message that ends the session.
func (c *conn) next(sequence uint32) (*record, error) {
	if limit := c.host.service.Switches().ConnectionSeconds; limit > 0 {
		_ = c.wire.SetReadDeadline(time.Now().Add(time.Duration(limit * float64(time.Second))))
	}
	ends, err := c.in.atMessage(msgRefused)
	if err != nil {
		return nil, err
	}
	if ends {
		c.queue.drain()
		return nil, errEnded
	}
	var header [headerBytes]byte
	if _, err := io.ReadFull(c.in, header[:]); err != nil {
		return nil, err
	}
	rec := &record{op: le.Uint32(header[4:]), sequence: le.Uint32(header[12:])}
	length := le.Uint32(header[8:])
	switch want, known := payloads[rec.op]; {
	case le.Uint32(header[:]) != magic:
		c.violation("a record without the magic number")
		return nil, errRefused
	case !known || length != want:
		// What comes behind such a record cannot be told from it: the session ends.
		c.violation("record %d with a payload of %d bytes", rec.op, length)
		return nil, errors.Join(errRefused, c.fail(rec, &Refusal{CodeInvalid, "an unknown record"}, 0))
	case rec.sequence != sequence:
		c.violation("record %d has number %d, not %d", rec.op, rec.sequence, sequence)
		return nil, errors.Join(errRefused, c.fail(rec, &Refusal{CodeInvalid, "a wrong sequence"}, 0))
	}
	rec.payload = make([]byte, length)
	if _, err := io.ReadFull(c.in, rec.payload); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.records++
	c.mu.Unlock()
	return rec, nil
}

// take answers one record.
func (c *conn) take(rec *record, rule *Rule, seen map[uint32]bool) error {
	var path string
	if rec.op == opOpen {
		var err error
		if path, err = c.path(rec); err != nil {
			return err
		}
	}
	if rule != nil && rule.Mode == "refuse" {
		return c.fail(rec, &Refusal{rule.Code, rule.Text}, answers[rec.op])
	}
	if rec.op != opHello && !seen[opHello] {
		return c.wrong(rec, CodeInvalid, "%s before hello", names[rec.op])
	}
	sw := c.host.service.Switches()
	switch rec.op {
	case opHello:
		return c.reply(rec, c.helloAnswer(rec, &sw))
	case opOptions:
		if !zero(rec.payload) {
			return c.wrong(rec, CodeInvalid, "socket options that are not zeros")
		}
		return c.reply(rec, make([]byte, 12))
	case opPool:
		if le.Uint32(rec.payload) != 1 {
			return c.wrong(rec, CodeInvalid, "resource pool %d", le.Uint32(rec.payload))
		}
		return c.reply(rec, make([]byte, 4))
	case opOpen:
		if sw.StrictOrder && !(seen[opOptions] && seen[opPool]) {
			return c.wrong(rec, CodeInvalid, "open before socket options and resource pool")
		}
		return c.openFile(rec, path, &sw)
	case opRead:
		return c.read(rec, rule, &sw)
	case opClose:
		return c.closeFile(rec)
	}
	return c.end(rec)
}

// answers are the lengths of the replies that say whether a record worked.
var answers = map[uint32]int{opHello: 16, opEnd: 16, opOpen: 60, opClose: 16, opRead: 44, opOptions: 12, opPool: 4}

func (c *conn) helloAnswer(rec *record, sw *Switches) []byte {
	answer := make([]byte, 16)
	switch sw.Hello {
	case "echo":
		copy(answer, rec.payload)
	case "sizes":
		le.PutUint32(answer, 64<<10)
		le.PutUint32(answer[4:], 4)
	case "long":
		answer = make([]byte, 32)
		le.PutUint32(answer, 2<<20)
		le.PutUint32(answer[4:], 4)
	}
	return answer
}

// appendRecord appends header, payload and trailer.
func appendRecord(dst []byte, op, sequence uint32, payload, trailer []byte) []byte {
	dst = le.AppendUint32(dst, magic)
	dst = le.AppendUint32(dst, op)
	dst = le.AppendUint32(dst, uint32(len(payload)))
	dst = le.AppendUint32(dst, sequence)
	return append(append(dst, payload...), trailer...)
}

func (c *conn) reply(rec *record, payload []byte) error {
	if slices.Contains(c.host.service.Switches().Silent, int(rec.op)) {
		return nil
	}
	return c.send(appendRecord(nil, rec.op, rec.sequence, payload, nil), nil)
}

// wrong refuses a record that breaks the protocol.
func (c *conn) wrong(rec *record, code uint64, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	c.violation("%s", text)
	return c.fail(rec, &Refusal{code, text}, answers[rec.op])
}

// fail sends an error record and, behind it in the same write, the reply of that many bytes. With 0 there is no reply.
func (c *conn) fail(rec *record, refusal *Refusal, bytes int) error {
	return c.send(c.failure(rec, refusal, bytes), nil)
}

func (c *conn) failure(rec *record, refusal *Refusal, bytes int) []byte {
	sw := c.host.service.Switches()
	payload := make([]byte, 16)
	le.PutUint64(payload, refusal.Code)
	le.PutUint32(payload[12:], uint32(len(refusal.Text)))
	sequence := rec.sequence
	if sw.ErrorSequence == "zero" {
		sequence = 0
	}
	frame := appendRecord(nil, opError, sequence, payload, []byte(refusal.Text))
	if bytes == 0 || !sw.ReplyAfterError {
		return frame
	}
	reply := make([]byte, bytes)
	if sw.Reserved == "noise" && rec.op == opOpen {
		noise(reply[40:])
	}
	if bytes >= 8 {
		status := map[string]uint64{"code": refusal.Code, "one": 1, "ones": ^uint64(0), "zero": 0}[sw.RefusedStatus]
		le.PutUint64(reply, status)
	}
	if rec.op == opRead {
		copy(reply[16:24], rec.payload[16:24])
	}
	return appendRecord(frame, rec.op, rec.sequence, reply, nil)
}

// path reads the trailer of an open, which is not in the payload's length.
func (c *conn) path(rec *record) (string, error) {
	length := le.Uint32(rec.payload)
	if length < 1 || length > maxPath {
		c.violation("open with a path of %d bytes", length)
		return "", errors.Join(errRefused, c.fail(rec, &Refusal{CodeInvalid, "a bad path"}, answers[opOpen]))
	}
	path := make([]byte, length)
	_, err := io.ReadFull(c.in, path)
	return string(path), err
}

func (c *conn) openFile(rec *record, path string, sw *Switches) error {
	p := rec.payload
	switch {
	case le.Uint32(p[20:]) != 0x1e:
		return c.wrong(rec, CodePermission, "open with flags %#x: only reading is allowed", le.Uint32(p[20:]))
	case le.Uint32(p[16:]) != 2 || !zero(p[4:16]) || !zero(p[24:]):
		return c.wrong(rec, CodeInvalid, "open with something else than zeros")
	case !utf8.ValidString(path) || slices.Contains([]byte(path), 0):
		return c.wrong(rec, CodeInvalid, "open with a path that is no text")
	}
	if c.ticket.only != nil && !c.ticket.only(path) {
		return c.fail(rec, &Refusal{CodePermission, "the ticket is not for " + path}, answers[opOpen])
	}
	file, err := c.ticket.machine.Open(path, sw.Exclusive)
	if err != nil {
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			refusal = &Refusal{CodeInvalid, err.Error()}
		}
		return c.fail(rec, refusal, answers[opOpen])
	}
	stats := c.host.service.disk(c.ticket.machine.Name(), file.Name())
	c.host.service.update(stats, func(d *diskStats) { d.Opens++; d.Open++ })
	handle := rand.Uint64() | 1
	c.mu.Lock()
	c.open[handle] = &openFile{File: file, stats: stats}
	c.mu.Unlock()
	reply := make([]byte, 60)
	if sw.Reserved == "noise" {
		noise(reply[16:])
	}
	le.PutUint64(reply, 0)
	le.PutUint64(reply[8:], handle)
	le.PutUint64(reply[28:], uint64(file.Size()+sw.CapacityDelta))
	le.PutUint32(reply[36:], sw.SectorSize)
	return c.reply(rec, reply)
}

func (c *conn) handle(handle uint64) *openFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[handle]
}

func (c *conn) closeFile(rec *record) error {
	handle := le.Uint64(rec.payload)
	file := c.handle(handle)
	switch {
	case file == nil:
		return c.wrong(rec, CodeInvalid, "close of a file that is not open")
	case !zero(rec.payload[8:]):
		return c.wrong(rec, CodeInvalid, "close with something else than zeros")
	}
	c.mu.Lock()
	delete(c.open, handle)
	c.mu.Unlock()
	c.queue.release()
	c.shut(file)
	return c.reply(rec, make([]byte, 16))
}

// end answers the last record; only the message that ends the session may follow.
func (c *conn) end(rec *record) error {
	if !zero(rec.payload) {
		return c.wrong(rec, CodeInvalid, "end with something else than zeros")
	}
	c.queue.release()
	c.queue.drain()
	if err := c.reply(rec, make([]byte, 16)); err != nil {
		return err
	}
	ends, err := c.in.atMessage(msgRefused)
	switch {
	case err != nil:
		return errEnded // closed without the message, which ends it as well
	case !ends:
		c.violation("something behind the last record that is not message %d", msgRefused)
		return errRefused
	}
	return errEnded
}
