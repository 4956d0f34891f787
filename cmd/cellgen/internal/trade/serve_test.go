package trade

import (
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// venue is an Exchange whose answers follow from its requests.
type venue struct{ remarks atomic.Int64 }

var _ Exchange = (*venue)(nil)

func (*venue) Place(_ context.Context, req Order) (Fill, error) {
	if req.ID == 0 {
		return Fill{}, rpc.Errorf(wire.StatusInvalidArgument, "an order needs an ID")
	}
	return Fill{ID: req.ID, Done: uint32(len(req.Legs)), Price: *req.Limit}, nil
}

func (*venue) Quote(_ context.Context, req Tick) (Tick, error) {
	req.Ask = req.Bid + 1
	return req, nil
}

func (*venue) Status(context.Context) (Book, error) { return book, nil }

func (*venue) Halt(context.Context) error { return wire.StatusPermissionDenied }

func (v *venue) Log(_ context.Context, req Remark) error {
	v.remarks.Add(int64(len(req.Text)))
	return nil
}

func (*venue) History(_ context.Context, req Tick, out rpc.Sender[Tick]) (Fill, error) {
	for i := range req.BidSize {
		if err := out.Send(Tick{At: uint64(i)}); err != nil {
			return Fill{}, err
		}
	}
	return Fill{Done: req.BidSize}, nil
}

func (*venue) Load(_ context.Context, in rpc.Receiver[Order]) (Fill, error) {
	var fill Fill
	for {
		order, err := in.Receive()
		if errors.Is(err, io.EOF) {
			return fill, nil
		}
		if err != nil {
			return fill, err
		}
		fill.Done += uint32(len(order.Tags))
	}
}

func (*venue) Session(_ context.Context, _ Tick, in rpc.Receiver[Order], out rpc.Sender[Fill]) error {
	for {
		order, err := in.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = out.Send(Fill{ID: order.ID})
		}
		if err != nil {
			return err
		}
	}
}

func (*venue) Ticks(Tick) {}

var book = Book{
	Orders: []Leg{{Venue: VenueLit, Symbol: "A", Sizes: []uint32{1, 2}}, {Symbol: "B", Limit: &Money{Amount: 3}}},
	Last:   Tick{Bid: 5}, Ticks: []Tick{{Ask: 6}},
}

// inPlace is the venue over views.
type inPlace struct{ *venue }

var _ ExchangeViews = inPlace{}

func (inPlace) Place(_ *rpc.Call, req OrderView, reply FillBuilder) error {
	if req.ID() == 0 {
		return rpc.Errorf(wire.StatusInvalidArgument, "an order needs an ID")
	}
	reply.SetID(req.ID())
	reply.SetDone(uint32(req.Legs().Len()))
	if limit, ok := req.Limit(); ok {
		price := reply.Price()
		price.SetAmount(limit.Amount())
		copy(price.Currency(), limit.Currency())
	}
	return nil
}

func (inPlace) Quote(_ *rpc.Call, req TickView, reply TickBuilder) error {
	reply.SetInstrument(req.Instrument())
	reply.SetBid(req.Bid())
	reply.SetAsk(req.Bid() + 1)
	return nil
}

func (inPlace) Status(_ *rpc.Call, reply BookBuilder) error {
	orders := reply.MakeOrders(len(book.Orders))
	first := orders.At(0)
	first.SetVenue(VenueLit)
	first.SetSymbol("A")
	first.MakeSizes(2).CopyFrom([]uint32{1, 2})
	second := orders.At(1)
	copy(second.MakeSymbol(1), "B")
	second.Limit().SetAmount(3)
	reply.Last().SetBid(5)
	reply.MakeTicks(1).At(0).SetAsk(6)
	return nil
}

func (inPlace) Halt(*rpc.Call) error { return wire.StatusPermissionDenied }

func (v inPlace) Log(_ *rpc.Call, req RemarkView) error {
	v.remarks.Add(int64(len(req.Text())))
	return nil
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func runEngine(t *testing.T) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Config{CPU: engine.Unpinned})
	if err == nil {
		err = e.Start(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Stop() })
	return e
}

// open serves with the given function and returns the server and the client's
// end of a link to it.
func open(t *testing.T, register func(*rpc.Server) error) (*rpc.Server, link.Link) {
	t.Helper()
	s, err := rpc.NewServer(nil)
	if err == nil {
		err = register(s)
	}
	if err != nil {
		t.Fatal(err)
	}
	a, b, err := linktest.Pipe(linktest.PipeConfig{})
	if err == nil {
		err = s.Serve(runEngine(t), a)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

// forms are the two ways of serving.
func forms(v *venue) map[string]func(*rpc.Server) error {
	return map[string]func(*rpc.Server) error{
		"on goroutines":          func(s *rpc.Server) error { return RegisterExchange(s, v) },
		"in place on the engine": func(s *rpc.Server) error { return RegisterExchangeViews(s, inPlace{v}) },
	}
}

func TestClientsReachServers(t *testing.T) {
	v := &venue{}
	for name, register := range forms(v) {
		t.Run(name, func(t *testing.T) {
			server, l := open(t, register)
			conn, err := rpc.NewConn(l, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c := NewExchangeClient(conn)
			ctx := soon(t)

			if fill, err := c.Place(ctx, fullOrder()); err != nil || fill != (Fill{ID: 7, Done: 3, Price: *fullOrder().Limit}) {
				t.Errorf("Place: %+v, %v", fill, err)
			}
			if _, err := c.Place(ctx, Order{}); !errors.Is(err, wire.StatusInvalidArgument) {
				t.Errorf("Place of nothing: %v", err)
			}
			if tick, err := c.Quote(ctx, Tick{Instrument: 1, Bid: 2}); err != nil || tick != (Tick{Instrument: 1, Bid: 2, Ask: 3}) {
				t.Errorf("Quote: %+v, %v", tick, err)
			}
			if got, err := c.Status(ctx); err != nil || !reflect.DeepEqual(got, book) {
				t.Errorf("Status: %+v, %v", got, err)
			}
			if err := c.Halt(ctx); !errors.Is(err, wire.StatusPermissionDenied) {
				t.Errorf("Halt: %v", err)
			}
			streams(t, ctx, c)
			before := v.remarks.Load()
			if err := c.Log(ctx, Remark{Text: "five!"}); err != nil {
				t.Error(err)
			}
			for v.remarks.Load() != before+5 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			topic(t, ctx, server, c)
			if text, err := conn.Describe(ctx, "Exchange"); err != nil || text != tradeCell {
				t.Errorf("Describe: %v\n%s", err, text)
			}
		})
	}
}

func streams(t *testing.T, ctx context.Context, c *ExchangeClient) {
	t.Helper()
	history, err := c.History(ctx, Tick{BidSize: 3})
	if err != nil {
		t.Fatal(err)
	}
	var at []uint64
	for tick, err := range history.All() {
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, tick.At)
	}
	if fill, err := history.Reply(); err != nil || fill.Done != 3 || !slices.Equal(at, []uint64{0, 1, 2}) {
		t.Errorf("History: %v, %+v, %v", at, fill, err)
	}
	load, err := c.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := load.Send(Order{Tags: []string{"a", "b"}}); err != nil {
			t.Fatal(err)
		}
	}
	if fill, err := load.Reply(); err != nil || fill.Done != 8 {
		t.Errorf("Load: %+v, %v", fill, err)
	}
	session, err := c.Session(ctx, Tick{})
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Send(Order{ID: 9}); err != nil {
		t.Fatal(err)
	}
	if fill, err := session.Receive(); err != nil || fill.ID != 9 {
		t.Errorf("Session: %+v, %v", fill, err)
	}
	if _, err := session.Reply(); err != nil {
		t.Errorf("Session: %v", err)
	}
}

func topic(t *testing.T, ctx context.Context, server *rpc.Server, c *ExchangeClient) {
	t.Helper()
	ticks, err := c.Ticks(ctx, rpc.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer ticks.Close()
	p, err := NewExchangeTicksPublisher(server)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(ctx, Tick{Bid: 11}); err != nil {
		t.Fatal(err)
	}
	if tick, err := ticks.Receive(); err != nil || tick.Bid != 11 {
		t.Errorf("Ticks: %+v, %v", tick, err)
	}
}

// cut is a message of which the end was lost.
type cut struct {
	Tick
	n int
}

func (c cut) SizeCell() int { return c.n }

func (c cut) EncodeCell(b []byte) (int, error) {
	full := make([]byte, TickBlock)
	_, err := c.Tick.EncodeCell(full)
	return copy(b[:c.n], full), err
}

func TestRequestsThatAreTooShortAreRefused(t *testing.T) {
	for name, register := range forms(&venue{}) {
		t.Run(name, func(t *testing.T) {
			_, l := open(t, register)
			conn, err := rpc.NewConn(l, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, m := range []*rpc.Method{ExchangeDesc.Method("Quote"), ExchangeDesc.Method("Place")} {
				err := conn.Call(soon(t), m, cut{Tick{Bid: 1 << 40}, 10}, &rpc.Empty{})
				if !errors.Is(err, wire.StatusInvalidArgument) {
					t.Errorf("%v of 10 bytes: %v", m, err)
				}
			}
		})
	}
}

func TestCallsFromAnEngine(t *testing.T) {
	for name, register := range forms(&venue{}) {
		t.Run(name, func(t *testing.T) {
			_, l := open(t, register)
			e := runEngine(t)
			conn, err := rpc.Attach(e, l, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			// Room for all answers: the engine's thread must not wait here.
			answers := make(chan string, 8)
			var async *ExchangeAsync
			check := func(what string, good bool, err error) {
				if err != nil || !good {
					answers <- what + ": " + errText(err)
					return
				}
				answers <- ""
			}
			placed := func(tag uint64, reply FillView, err error) {
				check("Place", tag == 5 && reply.ID() == 7 && reply.Price().Amount() == -5, err)
			}
			quoted := func(tag uint64, reply TickView, err error) {
				check("Quote", tag == 6 && reply.Bid() == 1 && reply.Ask() == 2, err)
			}
			status := func(tag uint64, reply BookView, err error) {
				check("Status", tag == 7 && reply.Orders().Len() == 2 && string(reply.Orders().At(1).Symbol()) == "B", err)
			}
			halted := func(tag uint64, err error) {
				check("Halt", tag == 8 && errors.Is(err, wire.StatusPermissionDenied), nil)
			}
			begin := func() {
				async = NewExchangeAsync(conn)
				order := fullOrder()
				place, err := async.BeginPlace(order.SizeCell())
				if err == nil {
					order.putCell(place)
					err = async.SendPlace(place, 5, placed)
				}
				if err != nil {
					check("SendPlace", false, err)
				}
				quote, err := async.BeginQuote()
				if err == nil {
					quote.SetBid(1)
					err = async.SendQuote(quote, 6, quoted)
				}
				if err != nil {
					check("SendQuote", false, err)
				}
				if err := async.Status(7, status); err != nil {
					check("Status", false, err)
				}
				if err := async.Halt(8, halted); err != nil {
					check("Halt", false, err)
				}
			}
			if err := e.Do(soon(t), begin); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				select {
				case what := <-answers:
					if what != "" {
						t.Error(what)
					}
				case <-soon(t).Done():
					t.Fatal("an answer is missing")
				}
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return "another reply than expected"
	}
	return err.Error()
}

func TestEventsThroughABroadcastRing(t *testing.T) {
	m, err := ring.Create(ring.Options{Kind: ring.Broadcast, Size: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	publisher, err := ring.NewPublisher(m)
	if err != nil {
		t.Fatal(err)
	}
	subscriber, err := ring.NewSubscriber(m, ring.Oldest, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := NewExchangeTicksBroadcast(publisher)
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewExchangeTicksListener(subscriber)
	if err != nil {
		t.Fatal(err)
	}
	e, err := out.Begin()
	if err != nil {
		t.Fatal(err)
	}
	e.SetBid(1)
	if err := out.Send(e); err != nil {
		t.Fatal(err)
	}
	if err := out.Publish(Tick{Bid: 2}); err != nil {
		t.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	var bids []int64
	for ctx := soon(t); len(bids) < 2 && ctx.Err() == nil; {
		if _, err := in.Poll(func(e TickView) { bids = append(bids, e.Bid()) }); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(bids, []int64{1, 2}) {
		t.Errorf("bids %v", bids)
	}
}
