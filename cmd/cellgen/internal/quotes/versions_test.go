package quotes_test

import (
	"reflect"
	"testing"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/quotes/newer"
	"github.com/cell-runtime/cell/cmd/cellgen/internal/quotes/older"
)

// encoder is a message.
type encoder interface {
	SizeCell() int
	EncodeCell([]byte) (int, error)
}

func encode(t *testing.T, m encoder) []byte {
	t.Helper()
	b := make([]byte, m.SizeCell())
	if n, err := m.EncodeCell(b); err != nil || n != len(b) {
		t.Fatalf("EncodeCell of %d bytes returned %d, %v", len(b), n, err)
	}
	return b
}

func TestTheNewerFormReadsTheOlder(t *testing.T) {
	t.Run("fixed", func(t *testing.T) {
		msg := encode(t, older.Query{Symbol: [8]uint8{'A'}, Limit: 10, Depth: 5})
		if err := newer.CheckQuery(msg, older.QueryBlock); err != nil {
			t.Fatal(err)
		}
		if err := newer.CheckQuery(msg, newer.QueryBlock); err == nil {
			t.Error("a message of the older form passes for the newer one")
		}
		want := newer.Query{Symbol: [8]uint8{'A'}, Limit: 10, Depth: 5}
		if got := newer.ViewQuery(msg).Struct(); got != want {
			t.Errorf("read as %+v", got)
		}
		var got newer.Query
		if err := got.DecodeCell(msg); err != nil || got != want {
			t.Errorf("decoded as %+v, %v", got, err)
		}
	})
	t.Run("variable", func(t *testing.T) {
		msg := encode(t, older.Quote{Bid: 7, Venues: []older.Venue{{Code: 1, Name: "one"}, {Code: 2}}})
		if err := newer.CheckQuote(msg, older.QuoteBlock); err != nil {
			t.Fatal(err)
		}
		v := newer.ViewQuote(msg)
		if v.Ask() != 0 || v.Notes().Len() != 0 || v.Venues().Len() != 2 || string(v.Venues().At(0).Name()) != "one" {
			t.Errorf("read as %v", v)
		}
		want := newer.Quote{Bid: 7, Venues: []newer.Venue{{Code: 1, Name: "one"}, {Code: 2}}}
		if got := v.Struct(); !reflect.DeepEqual(got, want) {
			t.Errorf("read as %+v", got)
		}
	})
}

func TestTheOlderFormReadsTheNewer(t *testing.T) {
	t.Run("fixed", func(t *testing.T) {
		msg := encode(t, newer.Query{Symbol: [8]uint8{'A'}, Limit: 10, Depth: 5, Fast: true, Since: 9})
		if err := older.CheckQuery(msg, older.QueryBlock); err != nil {
			t.Fatal(err)
		}
		if got, want := older.ViewQuery(msg).Struct(), (older.Query{Symbol: [8]uint8{'A'}, Limit: 10, Depth: 5}); got != want {
			t.Errorf("read as %+v", got)
		}
	})
	t.Run("variable", func(t *testing.T) {
		msg := encode(t, newer.Quote{Bid: 7, Venues: []newer.Venue{{Code: 1, Name: "one"}}, Ask: 8, Notes: []string{"a", "b"}})
		if err := older.CheckQuote(msg, older.QuoteBlock); err != nil {
			t.Fatal(err)
		}
		want := older.Quote{Bid: 7, Venues: []older.Venue{{Code: 1, Name: "one"}}}
		if got := older.ViewQuote(msg).Struct(); !reflect.DeepEqual(got, want) {
			t.Errorf("read as %+v", got)
		}
		var got older.Quote
		if err := got.DecodeCell(msg); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decoded as %+v, %v", got, err)
		}
	})
}

func TestEmptyMessagesReadAsZero(t *testing.T) {
	if got := newer.ViewQuery(nil).Struct(); got != (newer.Query{}) {
		t.Errorf("read as %+v", got)
	}
	if got := newer.ViewQuote(nil).Struct(); !reflect.DeepEqual(got, newer.Quote{}) {
		t.Errorf("read as %+v", got)
	}
	if err := newer.CheckQuote(nil, 0); err != nil {
		t.Error(err)
	}
	if err := newer.CheckQuote(nil, newer.QuoteBlock); err == nil {
		t.Error("no bytes pass for a quote")
	}
}
