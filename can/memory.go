package can

import "github.com/cell-runtime/cell/wire"

// memory is what both ends of one direction know of the vesicles before, so
// that the next one need not say it again. Frames arrive in order and none is
// lost for good, so both ends go through the same states.
//
// Correlations are foreseen by their low bits: those that a caller takes from a
// counter, and those that hold the slot of a table in the low bits and count up
// in the high ones, both grow by the same stride whenever the same low bits come
// back. Callers' own correlations (requests, cancels) and echoed ones (replies,
// errors) have a table each, since one direction carries both; events have one
// place of their own.
type memory struct {
	channel wire.Channel
	hops    uint8
	entries uint32 // of each table; a power of two, at most maxEntries
	calls   [maxEntries]uint32
	echoes  [maxEntries]uint32
	stride  [2]uint32 // of calls and of echoes
	event   uint32
}

const (
	maxEntries     = 32
	maxEntriesBits = 5
	// usualHops is what a direction begins with; replies of package engine
	// have it.
	usualHops = 16
)

// reset brings a direction to its beginning, with tables of 1<<bits entries.
// They begin so that a counter which starts at 0 is foreseen at once.
func (m *memory) reset(bits uint8) {
	*m = memory{hops: usualHops}
	m.entries = 1 << bits
	for e := range m.entries {
		m.calls[e], m.echoes[e] = e-m.entries, e-m.entries
	}
	m.stride = [2]uint32{m.entries, m.entries}
}

// echoed says which table the correlation of a kind goes to where the kind
// alone decides: streams run in both directions.
func echoed(k wire.Kind) bool { return k != wire.KindRequest && k != wire.KindCancel }

// foresee returns the token by which the peer works out the correlation of a
// vesicle of kind k, or false if it can't.
func (m *memory) foresee(k wire.Kind, correlation uint32) (token byte, ok bool) {
	if k == wire.KindEvent {
		return 0, correlation == m.event
	}
	e := correlation & (m.entries - 1)
	if !echoed(k) || k == wire.KindStreamItem || k == wire.KindCredit {
		switch correlation {
		case m.calls[e]:
			return byte(e), true
		case m.calls[e] + m.stride[0]:
			return byte(e) | tokenStep, true
		}
	}
	if echoed(k) {
		switch correlation {
		case m.echoes[e]:
			return byte(e) | tokenEcho, true
		case m.echoes[e] + m.stride[1]:
			return byte(e) | tokenEcho | tokenStep, true
		}
	}
	return 0, false
}

// advance works out the correlation for a token and notes that it was used. ok
// is false for a token that no sender makes.
func (m *memory) advance(k wire.Kind, token byte) (correlation uint32, ok bool) {
	if k == wire.KindEvent {
		return m.event, token == 0
	}
	e := uint32(token & tokenMask)
	if e >= m.entries || token&^(tokenStep|tokenEcho|tokenMask) != 0 {
		return 0, false
	}
	place, stride := &m.calls[e], m.stride[0]
	if token&tokenEcho != 0 {
		place, stride = &m.echoes[e], m.stride[1]
	}
	if token&tokenStep != 0 {
		*place += stride
	}
	return *place, true
}

// learn notes a correlation that was sent in full.
func (m *memory) learn(k wire.Kind, correlation uint32) {
	if k == wire.KindEvent {
		m.event = correlation
		return
	}
	place, stride := &m.calls[correlation&(m.entries-1)], &m.stride[0]
	if echoed(k) {
		place, stride = &m.echoes[correlation&(m.entries-1)], &m.stride[1]
	}
	*stride = correlation - *place
	*place = correlation
}
