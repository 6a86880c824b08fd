package nfc

import (
	"bytes"
	"compress/zlib"
	"math/rand/v2"
	"sync"
)

// maxChunk is the most that one record carries.
const maxChunk = 64 << 10

// The encodings of chunks.
const (
	encodeNone  = 0
	encodeZlib  = 1
	encodeSkipz = 3
)

// encode appends a chunk to dst and says in which encoding. A chunk that would not shrink stays as it is.
func encode(dst, data []byte, want uint32, sw *Switches) ([]byte, uint32) {
	start := len(dst)
	switch want {
	case encodeZlib:
		dst = deflate(dst, data)
	case encodeSkipz:
		dst = skipz(dst, data, sw)
	}
	if want != encodeNone && len(dst)-start < len(data) {
		return dst, want
	}
	if want != encodeSkipz { // which has left it as it is
		dst = append(dst[:start], data...)
	}
	if want == encodeSkipz && sw.SkipzStored && len(data) >= 4 && le.Uint32(data) != uint32(len(data)) {
		return dst, encodeSkipz
	}
	return dst, encodeNone
}

var writers = sync.Pool{New: func() any {
	w, _ := zlib.NewWriterLevel(nil, zlib.BestSpeed)
	return w
}}

// deflate makes one zlib stream of a chunk.
func deflate(dst, data []byte) []byte {
	w := writers.Get().(*zlib.Writer)
	defer writers.Put(w)
	out := bytes.NewBuffer(dst)
	w.Reset(out)
	_, _ = w.Write(data)
	_ = w.Close()
	return out.Bytes()
}

// skipz leaves runs of zeros out. What would be no shorter than the chunk it does not make: the answer is too long then.
func skipz(dst, data []byte, sw *Switches) []byte {
	start, grain := len(dst), sw.SkipzGrain
	var head [8]byte
	le.PutUint32(head[:], uint32(len(data)))
	if sw.Reserved == "noise" {
		noise(head[4:])
	}
	size := len(head)
	type segment struct{ from, to int }
	var segments []segment
	for at := 0; at < len(data); {
		if end := min(at+grain, len(data)); zero(data[at:end]) {
			at = end
			continue
		}
		from := at
		for at < len(data) && !zero(data[at:min(at+grain, len(data))]) {
			at = min(at+grain, len(data))
		}
		segments = append(segments, segment{from, at})
		size += len(head) + at - from
	}
	if size >= len(data) {
		return append(dst[:start], data...)
	}
	dst = append(dst, head[:]...)
	for i := range segments {
		s := segments[i]
		if sw.SkipzOrder == "reverse" {
			s = segments[len(segments)-1-i]
		}
		le.PutUint32(head[:], uint32(s.from))
		le.PutUint32(head[4:], uint32(s.to-s.from))
		dst = append(append(dst, head[:]...), data[s.from:s.to]...)
	}
	return dst
}

// noise fills what has no known meaning.
func noise(p []byte) {
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
}
