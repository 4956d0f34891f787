package can

import "github.com/cell-runtime/cell/wire"

// memory is what both ends of one direction know of the vesicles before, so
// that the next one need not say it again. Frames arrive in order and none is
// lost for good, so both ends go through the same states. It begins as zero.
//
// Correlations are foreseen by their low bits: those that a caller takes from a
// counter, and those that hold the slot of a table in the low bits and count up
// in the high ones, both grow by the same stride whenever the same low bits come
// back. Callers' own correlations have a table, and echoed ones have another,
// since one direction carries both; that of events has one place and no stride.
type memory struct {
	channel wire.Channel
	hops    uint8
	masks   [tables]uint32 // entries in use, a power of two, less one
	places  [tables][maxEntries]uint32
	strides [tables]uint32
}

const (
	maxEntries     = 32
	maxEntriesBits = 5

	tableCalls  = 0
	tableEchoes = 1
	tableEvents = 2
	tables      = 3
)

// reset brings a direction to its beginning, with tables of 1<<bits entries, all
// of it zero.
func (m *memory) reset(bits uint8) {
	*m = memory{masks: [tables]uint32{tableCalls: 1<<bits - 1, tableEchoes: 1<<bits - 1}}
}

// tableOf says which table the correlations of a kind are in. Items and credit
// of streams run both ways; they count as echoed.
func tableOf(k wire.Kind) int {
	switch k {
	case wire.KindRequest, wire.KindCancel:
		return tableCalls
	case wire.KindEvent:
		return tableEvents
	}
	return tableEchoes
}

// foresee returns the token by which the peer works out the correlation of a
// vesicle of kind k, or false if it can't.
func (m *memory) foresee(k wire.Kind, correlation uint32) (token byte, ok bool) {
	t := tableOf(k)
	e := correlation & m.masks[t]
	switch correlation - m.places[t][e] {
	case 0:
		return byte(e), true
	case m.strides[t]:
		return byte(e) | tokenStep, true
	}
	return 0, false
}

// advance works out the correlation for a token and notes that it was used. ok
// is false for a token that no sender makes.
func (m *memory) advance(k wire.Kind, token byte) (correlation uint32, ok bool) {
	e, t := uint32(token&^tokenStep), tableOf(k)
	if e > m.masks[t] {
		return 0, false
	}
	if token&tokenStep != 0 {
		m.places[t][e] += m.strides[t]
	}
	return m.places[t][e], true
}

// learn notes a correlation that was sent in full.
func (m *memory) learn(k wire.Kind, correlation uint32) {
	t := tableOf(k)
	place := &m.places[t][correlation&m.masks[t]]
	if t != tableEvents {
		m.strides[t] = correlation - *place
	}
	*place = correlation
}
