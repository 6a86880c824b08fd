package nfctest

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
)

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
