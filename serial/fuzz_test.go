package serial

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// FuzzLine gives the reader whatever stands on a line, in pieces of any size:
// what it makes of that doesn't depend on how it is cut, and never is a vesicle
// that can't be.
func FuzzLine(f *testing.F) {
	g := loadGolden(f)
	for i, v := range g.Lines {
		f.Add(unhex(f, v.Bytes), uint8(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint8) {
		whole, vesicles := readerCounts(append(bytes.Clone(data), delimiter))
		l := &line{}
		r := newReader(l, goldenMax, 4*FrameBound(goldenMax))
		var found []string
		feed := append(bytes.Clone(data), delimiter)
		for len(feed) > 0 {
			r.compact(false)
			n := copy(r.buf[r.end:], feed[:min(len(feed), 1+int(cut))])
			if n == 0 {
				t.Fatal("the buffer is full of what can't be a frame")
			}
			r.end += n
			feed = feed[n:]
			for more := true; more; {
				switch r.next() {
				case foundNothing:
					more = false
				case foundVesicle:
					if err := r.header.Validate(); err != nil || int(r.header.Length) != len(r.payload) || len(r.payload) > goldenMax {
						t.Fatalf("%+v, %d bytes, %v", r.header, len(r.payload), err)
					}
					if r.seq < 0 {
						found = append(found, describe(&r.header, r.payload))
					}
				}
			}
		}
		if l.stats != whole || !slices.Equal(found, vesicles) {
			t.Fatalf("at once: %+v\nin pieces: %+v", whole, l.stats)
		}
	})
}

// FuzzRoundTrip sends any vesicle that is valid through the codec.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(1), uint8(0), uint8(0), uint8(16), uint64(7), uint32(9), []byte("abc"))
	f.Add(uint8(4), uint8(0x18), uint8(3), uint8(0), uint64(0), uint32(0), make([]byte, 300))
	f.Fuzz(func(t *testing.T, kind, flags, channel, hops uint8, fingerprint uint64, correlation uint32, payload []byte) {
		h := wire.Header{
			Kind: wire.Kind(kind), Flags: wire.Flags(flags), Channel: wire.Channel(channel), Hops: hops,
			Fingerprint: fingerprint, Correlation: correlation, Length: uint32(len(payload)),
		}
		line, err := AppendFrame(nil, h, payload)
		if err != nil {
			if h.Validate() == nil && len(payload) <= MaxPayload {
				t.Fatal(err)
			}
			return
		}
		got, body, err := DecodeFrame(line[1 : len(line)-1])
		if err != nil || got != h || !bytes.Equal(body, payload) {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

// FuzzWindow gives a window whatever a peer might say, and holds it to what it
// knows of itself.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 200, 100, 50})
	f.Add(bytes.Repeat([]byte{1, 0, 9, 3, 7}, 60))
	f.Fuzz(func(t *testing.T, script []byte) {
		l := &line{fd: -1, session: 1, peer: 2, zero: true}
		r := newReader(l, 64, 1024)
		w := newWindow(l, r, 64, 4096, 8, 0)
		var v [3]wire.Vesicle
		for i := 0; i+2 < len(script); i += 3 {
			a, b := script[i+1], script[i+2]
			switch script[i] % 6 {
			case 0: // send
				n, err := w.claim(v[:1+a%3], int(b%64))
				if err == nil {
					for j := range v[:n] {
						v[j].Header = wire.Header{Kind: wire.KindEvent}
					}
					if err := w.commit(v[:n]); err != nil {
						t.Fatal(err)
					}
					w.out.flushed = w.out.next
				}
			case 1: // the line takes a frame
				if w.more() != nil {
					w.line.data = nil
				}
			case 2: // an acknowledgement, right or wrong
				r.acked = ack{next: byte(w.out.base) + a%16, credit: b % 10, received: uint32(b) * 0x01010101, session: 2 + uint32(a)>>7}
				w.takeAck()
			case 3: // a vesicle
				r.header, r.seq = wire.Header{Kind: wire.KindEvent, Length: 1}, int(byte(w.in.next)+a%24-8)
				r.payload = []byte{b}
				w.take()
			case 4:
				for w.in.delivered < w.in.next && a%4 > 0 {
					w.in.delivered++
					a--
				}
			case 5:
				if n := int(min(w.in.delivered-w.in.released, uint64(a%4))); n > 0 {
					l.gone = ErrCRC // so that nothing is written
					if err := w.release(n); err != nil {
						t.Fatal(err)
					}
					l.gone = nil
				}
			}
			o, in := &w.out, &w.in
			lost := 0
			for s := o.base; s < o.sent; s++ {
				if slot := &o.slots[s%w.size]; slot.lost {
					if lost++; slot.acked {
						t.Fatal("a vesicle that has arrived is to be sent again")
					}
				}
			}
			switch {
			case o.base > o.sent || o.sent > o.flushed || o.flushed > o.next || o.next-o.base > w.size || lost != o.lost:
				t.Fatalf("%+v", *o)
			case in.released > in.delivered || in.delivered > in.next || in.next-in.released > w.size:
				t.Fatalf("%+v", *in)
			}
		}
	})
}
