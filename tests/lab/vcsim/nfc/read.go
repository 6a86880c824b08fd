package nfc

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Workers of a connection, and how many requests they answer at once: chunks of these are mixed.
const workers = 4

// request is a read that was accepted.
type request struct {
	rec      *record
	file     *openFile
	encoding uint32
	offset   int64
	length   int64
	sw       Switches
	chunks   []int64 // their offsets, in the order in which they go
	left     atomic.Int32
	failed   atomic.Bool
}

// queue has the requests of a connection that are being answered.
type queue struct {
	c        *conn
	mu       sync.Mutex
	change   *sync.Cond
	pending  []*request
	held     map[*request]bool // not answered yet, or never, because a rule or a switch says so
	inFlight int
	closed   bool
	started  bool
}

func newQueue(c *conn) *queue {
	q := &queue{c: c, held: map[*request]bool{}}
	q.change = sync.NewCond(&q.mu)
	return q
}

// put takes a request in; the workers begin with the first.
func (q *queue) put(r *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.started {
		q.started = true
		for range workers {
			go q.work()
		}
	}
	q.pending = append(q.pending, r)
	q.change.Broadcast()
}

// hold keeps a request back: for so long, or (0) until the connection or its file is closed.
func (q *queue) hold(r *request, pause time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held[r] = true
	if pause > 0 {
		time.AfterFunc(pause, func() {
			q.mu.Lock()
			stands := q.held[r]
			delete(q.held, r)
			q.mu.Unlock()
			if stands {
				q.put(r)
			}
		})
	}
}

// get takes the next chunk: of one of the first few requests, whichever.
func (q *queue) get() (*request, int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.pending) == 0 {
		if q.closed {
			return nil, 0
		}
		q.change.Wait()
	}
	i := 0
	if q.pending[0].sw.ChunkOrder == "shuffled" {
		i = rand.IntN(min(len(q.pending), workers))
	}
	r := q.pending[i]
	chunk := r.chunks[0]
	r.chunks = r.chunks[1:]
	if len(r.chunks) == 0 {
		q.pending = append(q.pending[:i], q.pending[i+1:]...)
	}
	return r, chunk
}

// drain waits until every request is answered.
func (q *queue) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.inFlight > 0 {
		q.change.Wait()
	}
}

// close drops what is pending.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	dropped := q.pending
	q.pending = nil
	q.change.Broadcast()
	q.mu.Unlock()
	q.drop(dropped)
	q.release()
}

// release drops what is held back: nobody waits for it any more.
func (q *queue) release() {
	q.mu.Lock()
	var dropped []*request
	for r := range q.held {
		dropped = append(dropped, r)
	}
	clear(q.held)
	q.mu.Unlock()
	q.drop(dropped)
}

func (q *queue) drop(requests []*request) {
	for _, r := range requests {
		if r.failed.CompareAndSwap(false, true) {
			q.c.done(r)
		}
	}
}

func (q *queue) work() {
	frame, plain := make([]byte, 0, headerBytes+44+maxChunk+maxChunk/8), make([]byte, maxChunk)
	for {
		r, chunk := q.get()
		if r == nil {
			return
		}
		q.c.sendChunk(r, chunk, frame, plain)
	}
}

// read takes a request in, or refuses it. Whatever it takes is in flight from here on.
func (c *conn) read(rec *record, rule *Rule, sw *Switches) error {
	p := rec.payload
	handle, encoding := le.Uint64(p), le.Uint32(p[12:])
	offset, length := le.Uint64(p[16:]), le.Uint64(p[24:])
	file := c.handle(handle)
	switch {
	case file == nil:
		return c.wrong(rec, CodeInvalid, "read of a file that is not open")
	case le.Uint32(p[8:]) != 1 || le.Uint32(p[40:]) != 0:
		return c.wrong(rec, CodeInvalid, "read with something else than 1 and 0")
	case uint64(le.Uint32(p[32:])) != length || uint64(le.Uint32(p[36:])) != length:
		return c.wrong(rec, CodeInvalid, "read with three lengths that differ")
	case length < 1 || length > uint64(sw.ReadBytes):
		return c.wrong(rec, CodeMemory, "read of %d bytes: 1 to %d are allowed", length, sw.ReadBytes)
	case offset > uint64(file.Size()) || length > uint64(file.Size())-offset:
		return c.wrong(rec, CodeInvalid, "read at %d beyond the end of %d bytes", offset, file.Size())
	case sw.WholeSectors && (offset%uint64(sw.SectorSize) != 0 || length%uint64(sw.SectorSize) != 0):
		return c.wrong(rec, CodeInvalid, "read of parts of sectors")
	case encoding > 3:
		return c.wrong(rec, CodeInvalid, "read with compression %d", encoding)
	}
	if encoding != encodeNone && !contains(sw.Encodings, encoding) {
		if sw.OtherEncodings == "refused" {
			return c.fail(rec, &Refusal{CodeInvalid, "compression is not supported"}, answers[opRead])
		}
		encoding = encodeNone
	}
	r := &request{rec: rec, file: file, encoding: encoding, offset: int64(offset), length: int64(length), sw: *sw}
	r.cut()
	if !c.book(r) {
		c.done(r)
		return c.fail(rec, &Refusal{CodeMemory, "Failed to allocate the requested buffers"}, answers[opRead])
	}
	pause := time.Duration(sw.LatencyMS * float64(time.Millisecond))
	if rule != nil {
		switch rule.Mode {
		case "cut":
			c.done(r)
			c.wire.reset()
			return errCut
		case "silent":
			c.queue.hold(r, 0)
			return nil
		case "delay":
			pause += time.Duration(rule.Seconds * float64(time.Second))
		}
	}
	if pause > 0 {
		c.queue.hold(r, pause)
		return nil
	}
	c.queue.put(r)
	return nil
}

func contains(list []int, encoding uint32) bool {
	for _, e := range list {
		if e == int(encoding) && (e == encodeZlib || e == encodeSkipz) {
			return true
		}
	}
	return false
}

// cut divides a request into chunks.
func (r *request) cut() {
	for at := int64(0); at < r.length; at += r.sw.ChunkBytes {
		r.chunks = append(r.chunks, at)
	}
	r.left.Store(int32(len(r.chunks)))
	switch r.sw.ChunkOrder {
	case "shuffled":
		rand.Shuffle(len(r.chunks), func(i, j int) { r.chunks[i], r.chunks[j] = r.chunks[j], r.chunks[i] })
	case "reverse":
		for i, j := 0, len(r.chunks)-1; i < j; i, j = i+1, j-1 {
			r.chunks[i], r.chunks[j] = r.chunks[j], r.chunks[i]
		}
	}
}

// book counts a request as in flight; false: the host has no buffers for it.
func (c *conn) book(r *request) bool {
	r.file.reads.Add(1)
	c.queue.mu.Lock()
	c.queue.inFlight++
	c.queue.mu.Unlock()
	c.host.service.update(r.file.stats, func(d *diskStats) {
		d.Reads++
		d.InFlight++
		d.MaxInFlight = max(d.MaxInFlight, d.InFlight)
	})
	return c.host.take(r.length)
}

// done counts a request as answered.
func (c *conn) done(r *request) {
	c.host.give(r.length)
	c.host.service.update(r.file.stats, func(d *diskStats) { d.InFlight-- })
	r.file.reads.Done()
	c.queue.mu.Lock()
	c.queue.inFlight--
	c.queue.change.Broadcast()
	c.queue.mu.Unlock()
}

// sendChunk reads, encodes and sends one chunk. frame and plain are the worker's.
func (c *conn) sendChunk(r *request, at int64, frame, plain []byte) {
	if r.failed.Load() {
		return
	}
	length := min(r.sw.ChunkBytes, r.length-at)
	frame = frame[:headerBytes+44]
	encoding := uint32(encodeNone)
	var err error
	if r.encoding == encodeNone {
		// Nothing is copied: the disk is read to where it is sent from.
		frame = frame[:headerBytes+44+length]
		err = r.file.ReadAt(frame[headerBytes+44:], r.offset+at)
	} else if err = r.file.ReadAt(plain[:length], r.offset+at); err == nil {
		frame, encoding = encode(frame, plain[:length], r.encoding, &r.sw)
	}
	if err != nil {
		c.giveUp(r, &Refusal{CodeRead, err.Error()})
		return
	}
	wire := len(frame) - headerBytes - 44
	head := frame[:headerBytes+44]
	clear(head)
	if r.sw.Reserved == "noise" {
		noise(head[headerBytes+8:])
	}
	le.PutUint32(head[0:], magic)
	le.PutUint32(head[4:], opRead)
	le.PutUint32(head[8:], 44)
	le.PutUint32(head[12:], r.rec.sequence)
	p := head[headerBytes:]
	le.PutUint32(p[12:], encoding)
	le.PutUint64(p[16:], uint64(r.offset))
	le.PutUint32(p[24:], uint32(r.length))
	le.PutUint32(p[28:], uint32(at))
	le.PutUint32(p[32:], uint32(length))
	le.PutUint32(p[36:], uint32(wire))
	c.host.service.update(r.file.stats, func(d *diskStats) {
		d.Bytes += length
		d.WireBytes += int64(wire)
		d.encodings[encoding]++
	})
	if rule := c.rule("chunk"); rule != nil && !c.pass(rule, frame) {
		if r.failed.CompareAndSwap(false, true) {
			c.done(r)
		}
		return
	}
	err = c.send(frame, func() {
		// Before the bytes go: who has them all may ask for more at once.
		if r.left.Add(-1) == 0 && r.failed.CompareAndSwap(false, true) {
			c.done(r)
		}
	})
	if err != nil && r.failed.CompareAndSwap(false, true) {
		c.done(r)
	}
}

// pass does to a chunk what a rule says; false: it is not sent.
func (c *conn) pass(rule *Rule, frame []byte) bool {
	switch rule.Mode {
	case "delay":
		c.sleep(rule.Seconds)
		return true
	case "lie":
		lies[rule.Lie](frame)
		return true
	case "cut":
		_ = c.send(frame[:len(frame)/2], nil)
		c.wire.reset()
	}
	return false
}

// giveUp answers a request with an error, though chunks of it may have been sent.
func (c *conn) giveUp(r *request, refusal *Refusal) {
	if !r.failed.CompareAndSwap(false, true) {
		return
	}
	_ = c.send(c.failure(r.rec, refusal, answers[opRead]), func() { c.done(r) })
}
