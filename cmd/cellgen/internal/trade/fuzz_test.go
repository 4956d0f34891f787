package trade

import (
	"bytes"
	"testing"

	"github.com/cell-runtime/cell/schema/view"
)

// FuzzViews reads arbitrary bytes through views, which must neither panic nor
// leave the message, and holds what Check accepts to come back from a way
// through the Go struct.
func FuzzViews(f *testing.F) {
	order := fullOrder()
	msg := make([]byte, order.SizeCell())
	if _, err := order.EncodeCell(msg); err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	f.Add(msg[:OrderBlock])
	f.Add([]byte{4, 0, 0, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, msg []byte) {
		before := bytes.Clone(msg)
		checked := CheckOrder(msg, 0)
		v := ViewOrder(msg)
		_ = v.String()
		read := v.Struct()
		_ = ViewTick(msg).String()
		_ = ViewBook(msg).String()
		if !bytes.Equal(msg, before) {
			t.Fatal("reading wrote to the message")
		}
		var decoded Order
		if err := decoded.DecodeCell(msg); (err == nil) != (checked == nil) {
			t.Fatalf("Check says %v, DecodeCell %v", checked, err)
		}
		if checked != nil {
			return
		}
		first := encoded(t, read)
		if again := ViewOrder(first).Struct(); !bytes.Equal(encoded(t, again), first) {
			t.Fatalf("%x comes back as %x", first, encoded(t, again))
		}
		if !bytes.Equal(encoded(t, decoded), first) {
			t.Fatalf("DecodeCell reads %x, the view %x", encoded(t, decoded), first)
		}
	})
}

// FuzzBuild has builders write into places of any size with any content.
func FuzzBuild(f *testing.F) {
	f.Add([]byte("place"), "text", uint16(3))
	f.Add(make([]byte, 512), "", uint16(0))
	f.Fuzz(func(t *testing.T, place []byte, text string, count uint16) {
		var a view.Arena
		b, err := BuildBook(place, &a)
		if err != nil {
			return
		}
		orders := b.MakeOrders(int(count))
		for i := range int(count) {
			order := orders.At(i)
			order.SetSymbol(text)
			order.SetSizes([]uint32{uint32(i), 2})
			order.Limit().SetAmount(int64(i))
		}
		b.Last().SetBid(7)
		b.MakeTicks(1).At(0).SetAsk(8)
		n, err := b.Finish()
		if err != nil {
			return
		}
		if err := CheckBook(place[:n], BookBlock); err != nil {
			t.Fatalf("what was built is malformed: %v", err)
		}
		book := ViewBook(place[:n]).Struct()
		if len(book.Orders) != int(count) || book.Last.Bid != 7 || book.Ticks[0].Ask != 8 {
			t.Fatalf("built %+v", book)
		}
		for i, order := range book.Orders {
			if order.Symbol != text || order.Sizes[0] != uint32(i) || order.Limit.Amount != int64(i) {
				t.Fatalf("built %+v as order %d", order, i)
			}
		}
		if !bytes.Equal(encoded(t, book), place[:n]) {
			t.Fatalf("built %x, the struct encodes as %x", place[:n], encoded(t, book))
		}
	})
}

type message interface {
	SizeCell() int
	EncodeCell([]byte) (int, error)
}

func encoded(t *testing.T, m message) []byte {
	t.Helper()
	b := bytes.Repeat([]byte{0xA5}, m.SizeCell())
	n, err := m.EncodeCell(b)
	if err != nil || n != len(b) {
		t.Fatalf("EncodeCell of %d bytes returned %d, %v", len(b), n, err)
	}
	return b
}
