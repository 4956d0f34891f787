package trade

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"testing"

	"github.com/cell-runtime/cell/schema"
)

func ptr[T any](x T) *T { return &x }

func fullOrder() Order {
	return Order{
		ID: 7, Side: SideSell, Client: "ACME", Secret: []byte{1, 2, 3},
		Limit: &Money{Amount: -5, Currency: [3]uint8{'E', 'U', 'R'}}, Stop: ptr(int64(-9)), Comment: ptr("now"),
		Terms:  Terms{Pegged: &Pegged{Offset: 3, Reason: "because"}},
		Main:   Leg{Venue: VenueDark, Symbol: "XY", Sizes: []uint32{1, 2, 3}, Limit: &Money{Amount: 1}},
		Legs:   []Leg{{Symbol: "A"}, {}, {Venue: VenueLit, Sizes: []uint32{9}}},
		Prices: []float64{1.5, -2.25, math.MaxFloat64}, Sides: []Side{SideBuy, SideSell, 9},
		Flags: []bool{true, false, true}, Tags: []string{"", "a", "bc"}, Blobs: [][]byte{{1}, nil, {2, 3}},
		Totals: [3]Money{{Amount: 1}, {}, {Amount: 3}}, Bits: [2]bool{false, true}, Names: [2]string{"left", "right"},
		Grid: [][]float32{{1, 2}, nil, {3}}, Cubes: [][2][]int16{{{1}, {2, 3}}, {nil, {-4}}},
		Maybe: []*uint16{nil, ptr(uint16(5))}, Perhaps: []*Leg{{Symbol: "there"}, nil},
		Choices: []Terms{{}, {Market: &Market{}}, {Limit: &Money{Amount: 2}}, {Ticks: ptr(int32(-1))}, {Note: ptr("n")}, {Steps: &[]int64{1, -2}}},
		Spare:   &[]uint16{1}, Optional: &[2]int32{-1, 1}, Fixed: []Money{{Amount: 4, Currency: [3]uint8{1, 2, 3}}, {Amount: 5}},
	}
}

func codecOf(t *testing.T, name string) *schema.Codec {
	t.Helper()
	codec, err := tradeCodec(name)
	if err != nil {
		t.Fatal(err)
	}
	return codec
}

func TestStructsRoundTripAndAgreeWithTheSchemasCodec(t *testing.T) {
	order := fullOrder()
	msg := make([]byte, order.SizeCell()+8)
	for i := range msg {
		msg[i] = 0xEE
	}
	n, err := order.EncodeCell(msg)
	if err != nil || n != order.SizeCell() {
		t.Fatalf("EncodeCell returned %d, %v; SizeCell is %d", n, err, order.SizeCell())
	}
	if !bytes.Equal(msg[n:], bytes.Repeat([]byte{0xEE}, 8)) {
		t.Error("EncodeCell wrote beyond its length")
	}
	msg = msg[:n]
	var back Order
	if err := back.DecodeCell(msg); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(order, back) {
		t.Errorf("came back as\n%+v, want\n%+v", back, order)
	}
	codec := codecOf(t, "Order")
	text, err := codec.ToJSON(msg, OrderBlock)
	if err != nil {
		t.Fatal(err)
	}
	again, err := codec.FromJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, msg) {
		t.Errorf("the schema's codec encodes\n%x, generated code\n%x", again, msg)
	}
	own, err := json.Marshal(order)
	if err != nil || !bytes.Equal(own, text) {
		t.Errorf("json.Marshal: %v\n%s, want\n%s", err, own, text)
	}
	var parsed Order
	if err := json.Unmarshal(own, &parsed); err != nil || !reflect.DeepEqual(parsed, order) {
		t.Errorf("json.Unmarshal: %v, %+v", err, parsed)
	}
	if got := ViewOrder(msg).String(); got != string(text) {
		t.Errorf("the view prints %s", got)
	}
}
