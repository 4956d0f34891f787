package can

import (
	"encoding/binary"
	"errors"

	"github.com/cell-runtime/cell/wire"
)

// The reasons why data frames are not vesicles, each a breach of the protocol.
var (
	errEmpty    = errors.New("a data frame without data, or a short header on a frame with more than 8 bytes")
	errRoute    = errors.New("a route that is in no table")
	errToken    = errors.New("a correlation token that stands for nothing")
	errOrder    = errors.New("a further part without a start, or a start within a vesicle")
	errPriority = errors.New("a data frame with the priority of a control frame")
	errLength   = errors.New("a start that announces more than agreed, or has not the length that it announces")
	errPart     = errors.New("a further part of the wrong length")
	errCheck    = errors.New("the CRC does not fit: parts are missing or belong elsewhere")
	errHeader   = errors.New("a header that is not valid")
)

// decoder puts the data frames of one direction together again.
type decoder struct {
	memory     memory
	routes     *routes
	fd         bool
	maxPayload int

	// The vesicle under way, if busy.
	busy    bool
	id      ID     // of its start
	content []byte // where it is put together, total bytes long
	prefix  int
	total   int // bytes of prefix, payload and check
	done    int // bytes of content that have arrived
}

// need returns how many bytes of memory the vesicle takes that begins with f,
// or an error if none can begin with it.
func (d *decoder) need(f *Frame) (int, error) {
	if _, ok := headerPriority(f.ID.Priority()); !ok {
		return 0, errPriority
	}
	switch f.ID.Class() {
	case ClassNext:
		return 0, errOrder
	case ClassStart:
		prefix, content, ok := startSizes(f.Bytes(), f.ID.Detail()>>sequenceBits != noRoute)
		if !ok || content-prefix > d.maxPayload {
			return 0, errLength
		}
		return d.whole(content), nil
	}
	if f.Len == 0 || f.Len > ClassicData {
		return 0, errEmpty
	}
	return int(f.Len) - 1, nil
}

func (d *decoder) size() int {
	if d.fd {
		return FDData
	}
	return ClassicData
}

// whole adds the check to content that takes more than one frame.
func (d *decoder) whole(n int) int {
	if n > d.size() {
		return n + checkSize
	}
	return n
}

// begin takes the first frame of a vesicle and the memory that need asked for.
// It reports whether that is all of the vesicle, and if so, fills in p.
func (d *decoder) begin(f *Frame, p *piece) (complete bool, err error) {
	if f.ID.Class() != ClassStart {
		return true, d.short(f, p)
	}
	var content int
	d.prefix, content, _ = startSizes(f.Bytes(), f.ID.Detail()>>sequenceBits != noRoute)
	d.id, d.content, d.done = f.ID, p.payload, 0
	d.total = d.whole(content)
	d.busy = true
	return d.add(f, p)
}

// next takes a further frame; see begin.
func (d *decoder) next(f *Frame, p *piece) (complete bool, err error) {
	if f.ID.Class() != ClassNext || f.ID.Priority() != d.id.Priority() {
		return false, errOrder
	}
	return d.add(f, p)
}

func (d *decoder) add(f *Frame, p *piece) (bool, error) {
	want := min(d.total-d.done, d.size())
	if int(f.Len) != DataLength(want) {
		if d.done == 0 {
			return false, errLength
		}
		return false, errPart
	}
	d.done += copy(d.content[d.done:], f.Bytes()[:want])
	if d.done < d.total {
		return false, nil
	}
	d.busy = false
	return true, d.finish(p)
}

// finish reads the header from the content, which has arrived.
func (d *decoder) finish(p *piece) error {
	content := d.content
	if d.total > d.size() {
		content = content[:d.total-checkSize]
		if ^crc16(crcID(d.id), content) != binary.LittleEndian.Uint16(d.content[len(content):]) {
			return errCheck
		}
	}
	h := wire.Header{Length: uint32(len(content) - d.prefix)}
	form := binary.LittleEndian.Uint16(content[1:])
	h.Kind, h.Flags = startFlags(content[0], form)
	at := startFixed
	if content[0]&startWide != 0 {
		h.Correlation = binary.LittleEndian.Uint32(content[at:])
		at += 4
		d.memory.learn(h.Kind, h.Correlation)
	} else {
		var ok bool
		if h.Correlation, ok = d.memory.advance(h.Kind, content[at]); !ok {
			return errToken
		}
		at++
	}
	if form&startExplicit != 0 {
		d.memory.channel, d.memory.hops = wire.Channel(content[at]), content[at+1]
		at += 2
	}
	if d.id.Detail()>>sequenceBits == noRoute {
		h.Fingerprint = binary.LittleEndian.Uint64(content[at:])
	}
	p.payload = content[d.prefix:len(content):len(content)]
	return d.complete(&h, d.id, p)
}

// short reads a vesicle with the short header.
func (d *decoder) short(f *Frame, p *piece) error {
	h := wire.Header{Kind: shortKinds[f.ID.Class()], Length: uint32(f.Len) - 1}
	first := f.Data[0]
	if first&shortEnd != 0 {
		h.Flags = wire.FlagEnd
	}
	var ok bool
	if h.Correlation, ok = d.memory.advance(h.Kind, first&^(shortEnd|firstNumber)); !ok {
		return errToken
	}
	copy(p.payload, f.Data[1:f.Len])
	return d.complete(&h, f.ID, p)
}

// complete adds what the identifier and the memory say.
func (d *decoder) complete(h *wire.Header, id ID, p *piece) error {
	priority, _ := headerPriority(id.Priority())
	h.Flags = h.Flags.WithPriority(priority)
	h.Channel, h.Hops = d.memory.channel, d.memory.hops
	if route := id.Detail() >> sequenceBits; route != noRoute || id.Class() != ClassStart {
		var ok bool
		if h.Fingerprint, ok = d.routes.fingerprint(uint8(route)); !ok {
			return errRoute
		}
	}
	if h.Validate() != nil {
		return errHeader
	}
	p.header = *h
	return nil
}
