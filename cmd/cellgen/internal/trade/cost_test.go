package trade

import (
	"math"
	"testing"

	"github.com/cell-runtime/cell/schema/view"
)

var (
	sinkNumber uint64
	sinkTick   Tick
)

// sum reads five fields.
func sum(v TickView) uint64 {
	return v.Instrument() + uint64(v.Bid()) + uint64(v.AskSize()) + math.Float64bits(v.Volatility()) + uint64(v.Venue())
}

// fill writes five fields.
func fill(b TickBuilder, i int) {
	b.SetInstrument(uint64(i))
	b.SetBid(int64(i))
	b.SetAskSize(uint32(i))
	b.SetVolatility(float64(i))
	b.SetVenue(Venue(i))
}

// note builds a message with variable parts.
func note(place []byte, a *view.Arena, text string) (int, error) {
	b, err := BuildRemark(place, a)
	if err != nil {
		return 0, err
	}
	b.SetText(text)
	b.SetRank(3)
	return b.Finish()
}

func TestMessagesInPlaceAllocateNothing(t *testing.T) {
	place, order := make([]byte, 1024), fullOrder()
	msg := make([]byte, order.SizeCell())
	if _, err := order.EncodeCell(msg); err != nil {
		t.Fatal(err)
	}
	var a view.Arena
	for name, f := range map[string]func() bool{
		"build and read a fixed message": func() bool {
			b, err := BuildTick(place)
			if err != nil {
				return false
			}
			fill(b, 7)
			sinkNumber += sum(ViewTick(place))
			return true
		},
		"build and read one with variable parts": func() bool {
			n, err := note(place, &a, "a remark")
			if err != nil {
				return false
			}
			v := ViewRemark(place[:n])
			sinkNumber += uint64(v.Rank()) + uint64(len(v.Text()))
			return string(v.Text()) == "a remark"
		},
		"check and walk everything": func() bool {
			if CheckOrder(msg, OrderBlock) != nil {
				return false
			}
			v := ViewOrder(msg)
			for _, leg := range v.Legs().All() {
				sinkNumber += uint64(len(leg.Symbol())) + uint64(leg.Sizes().Len())
			}
			for _, row := range v.Grid().All() {
				for _, x := range row.All() {
					sinkNumber += uint64(x)
				}
			}
			limit, ok := v.Limit()
			return ok && limit.Amount() == -5 && v.Terms().Tag() == TermsTagPegged
		},
		"encode and decode a fixed struct": func() bool {
			tick := Tick{Bid: 1}
			if _, err := tick.EncodeCell(place); err != nil {
				return false
			}
			return sinkTick.DecodeCell(place) == nil
		},
		"encode a struct with everything": func() bool {
			_, err := order.EncodeCell(msg)
			return err == nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			ok := true
			if n := testing.AllocsPerRun(100, func() { ok = ok && f() }); n != 0 || !ok {
				t.Errorf("%v allocations, done: %t", n, ok)
			}
		})
	}
}

// rounds is how much one iteration of a benchmark does: the loop of package
// testing costs as much as reading a message.
const rounds = 1024

var places = func() (all [8][]byte) {
	for i := range all {
		all[i] = make([]byte, 128)
	}
	return all
}()

func perRound(b *testing.B, f func()) {
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rounds, "ns/message")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkNothing(b *testing.B) {
	perRound(b, func() {
		var total uint64
		for i := range rounds {
			total += uint64(len(places[i&7]))
		}
		sinkNumber += total
	})
}

// BenchmarkReadStruct is the yardstick: five fields of a Go struct.
func BenchmarkReadStruct(b *testing.B) {
	var all [8]*Tick
	for i := range all {
		all[i] = new(Tick)
	}
	perRound(b, func() {
		var total uint64
		for i := range rounds {
			v := all[i&7]
			total += v.Instrument + uint64(v.Bid) + uint64(v.AskSize) + math.Float64bits(v.Volatility) + uint64(v.Venue)
		}
		sinkNumber += total
	})
}

// BenchmarkReadView makes a view of a message of 64 bytes and reads five
// fields.
func BenchmarkReadView(b *testing.B) {
	perRound(b, func() {
		var total uint64
		for i := range rounds {
			total += sum(ViewTick(places[i&7]))
		}
		sinkNumber += total
	})
}

// BenchmarkBuild begins a message of 64 bytes, which zeroes it, and writes five
// fields.
func BenchmarkBuild(b *testing.B) {
	perRound(b, func() {
		for i := range rounds {
			m, err := BuildTick(places[i&7])
			if err != nil {
				return
			}
			fill(m, i)
		}
	})
}

// BenchmarkSet writes five fields of a message that was begun.
func BenchmarkSet(b *testing.B) {
	m, err := BuildTick(places[0])
	if err != nil {
		b.Fatal(err)
	}
	perRound(b, func() {
		m := m
		for i := range rounds {
			fill(m, i)
		}
	})
}

// BenchmarkReadText reads two fields of a message with variable parts, one of
// them a string in place.
func BenchmarkReadText(b *testing.B) {
	place := make([]byte, 128)
	var a view.Arena
	n, err := note(place, &a, "a remark")
	if err != nil {
		b.Fatal(err)
	}
	msg := place[:n]
	perRound(b, func() {
		var total uint64
		for range rounds {
			v := ViewRemark(msg)
			total += uint64(v.Rank()) + uint64(len(v.Text()))
		}
		sinkNumber += total
	})
}

// BenchmarkBuildText builds a message with a string.
func BenchmarkBuildText(b *testing.B) {
	var a view.Arena
	perRound(b, func() {
		for i := range rounds {
			if _, err := note(places[i&7], &a, "a remark"); err != nil {
				return
			}
		}
	})
}

// BenchmarkEncodeStruct and BenchmarkDecodeStruct go by way of the Go struct.
func BenchmarkEncodeStruct(b *testing.B) {
	tick := Tick{Bid: 1}
	perRound(b, func() {
		for i := range rounds {
			tick.Ask = int64(i)
			if _, err := tick.EncodeCell(places[i&7]); err != nil {
				return
			}
		}
	})
}

func BenchmarkDecodeStruct(b *testing.B) {
	perRound(b, func() {
		for i := range rounds {
			if sinkTick.DecodeCell(places[i&7]) != nil {
				return
			}
		}
	})
}
