package arith

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
)

// Fingerprints of the methods of Arith.
const (
	ArithAddFingerprint     uint64 = 0x1d1b9f7e54f2a001
	ArithEchoFingerprint    uint64 = 0x2d1b9f7e54f2a002
	ArithNoteFingerprint    uint64 = 0x3d1b9f7e54f2a003
	ArithCountFingerprint   uint64 = 0x4d1b9f7e54f2a004
	ArithSumFingerprint     uint64 = 0x5d1b9f7e54f2a005
	ArithSquaresFingerprint uint64 = 0x6d1b9f7e54f2a006
	ArithTickFingerprint    uint64 = 0x7d1b9f7e54f2a007
)

// ArithDesc describes Arith.
var ArithDesc = rpc.Describe(rpc.ServiceDesc{
	Name:   "Arith",
	Digest: [32]byte{0xa1},
	Text:   "service Arith {}\n",
	Methods: []rpc.Method{
		{
			Name: "Add", Fingerprint: ArithAddFingerprint, Mode: schema.Unary, Idempotent: true,
			Request: rpc.Shape{Block: addRequestBlock}, Reply: rpc.Shape{Block: addReplyBlock},
		},
		{
			Name: "Echo", Fingerprint: ArithEchoFingerprint, Mode: schema.Unary,
			Request: rpc.Shape{Block: textBlock, Variable: true}, Reply: rpc.Shape{Block: textBlock, Variable: true},
		},
		{
			Name: "Note", Fingerprint: ArithNoteFingerprint, Mode: schema.OneWay,
			Request: rpc.Shape{Block: addRequestBlock},
		},
		{
			Name: "Count", Fingerprint: ArithCountFingerprint, Mode: schema.ServerStream,
			Request: rpc.Shape{Block: countRequestBlock}, Reply: rpc.Shape{Block: countReplyBlock}, Out: rpc.Shape{Block: numberBlock},
		},
		{
			Name: "Sum", Fingerprint: ArithSumFingerprint, Mode: schema.ClientStream,
			Reply: rpc.Shape{Block: addReplyBlock}, In: rpc.Shape{Block: numberBlock},
		},
		{
			Name: "Squares", Fingerprint: ArithSquaresFingerprint, Mode: schema.BothStreams,
			In: rpc.Shape{Block: numberBlock}, Out: rpc.Shape{Block: numberBlock},
		},
		{
			Name: "Tick", Fingerprint: ArithTickFingerprint, Mode: schema.Topic,
			Event: rpc.Shape{Block: numberBlock},
		},
	},
})

// Indexes into ArithDesc.Methods.
const (
	arithAdd = iota
	arithEcho
	arithNote
	arithCount
	arithSum
	arithSquares
	arithTick
)

var (
	arithAddCalls  rpc.Calls[AddRequest, AddReply]
	arithEchoCalls rpc.Calls[Text, Text]
)

// ArithClient calls Arith through an rpc.Caller, from any number of
// goroutines.
type ArithClient struct{ caller rpc.Caller }

// NewArithClient returns a client that calls through c.
func NewArithClient(c rpc.Caller) *ArithClient { return &ArithClient{c} }

// Add adds. It fails with OutOfRange where the sum does not fit.
func (c *ArithClient) Add(ctx context.Context, req AddRequest) (AddReply, error) {
	return arithAddCalls.Call(ctx, c.caller, &ArithDesc.Methods[arithAdd], req)
}

// Echo returns what it gets.
func (c *ArithClient) Echo(ctx context.Context, req Text) (Text, error) {
	return arithEchoCalls.Call(ctx, c.caller, &ArithDesc.Methods[arithEcho], req)
}

// Note counts silently.
func (c *ArithClient) Note(ctx context.Context, req AddRequest) error {
	return c.caller.Send(ctx, &ArithDesc.Methods[arithNote], &req)
}

// Count sends the numbers below N.
func (c *ArithClient) Count(ctx context.Context, req CountRequest) (*rpc.Incoming[Number, CountReply], error) {
	s, err := c.caller.Stream(ctx, &ArithDesc.Methods[arithCount], &req)
	if err != nil {
		return nil, err
	}
	return rpc.NewIncoming[Number, CountReply](s), nil
}

// Sum adds up what it gets.
func (c *ArithClient) Sum(ctx context.Context) (*rpc.Outgoing[Number, AddReply], error) {
	s, err := c.caller.Stream(ctx, &ArithDesc.Methods[arithSum], rpc.Empty{})
	if err != nil {
		return nil, err
	}
	return rpc.NewOutgoing[Number, AddReply](s), nil
}

// Squares answers each number with its square.
func (c *ArithClient) Squares(ctx context.Context) (*rpc.Duplex[Number, Number, rpc.Empty], error) {
	s, err := c.caller.Stream(ctx, &ArithDesc.Methods[arithSquares], rpc.Empty{})
	if err != nil {
		return nil, err
	}
	return rpc.NewDuplex[Number, Number, rpc.Empty](s), nil
}

// Tick subscribes to Tick, which is published now and then.
func (c *ArithClient) Tick(ctx context.Context, o rpc.SubscribeOptions) (*rpc.Events[Number], error) {
	s, err := c.caller.Subscribe(ctx, &ArithDesc.Methods[arithTick], o)
	if err != nil {
		return nil, err
	}
	return rpc.NewEvents[Number](s), nil
}

// RegisterArith serves Arith by impl, on goroutines of the server's pool.
func RegisterArith(s *rpc.Server, impl Arith) error {
	g := arithServer{impl}
	return s.Register(ArithDesc,
		rpc.Blocking(g.add), rpc.Blocking(g.echo), rpc.Blocking(g.note),
		rpc.Blocking(g.count), rpc.Blocking(g.sum), rpc.Blocking(g.squares),
		rpc.Handler{},
	)
}

type arithServer struct{ impl Arith }

func (g arithServer) add(ctx context.Context, x *rpc.Exchange) error {
	var req AddRequest
	if err := req.DecodeCell(x.Request()); err != nil {
		return err
	}
	reply, err := g.impl.Add(ctx, req)
	if err != nil {
		return err
	}
	return x.Reply(&reply)
}

func (g arithServer) echo(ctx context.Context, x *rpc.Exchange) error {
	var req Text
	if err := req.DecodeCell(x.Request()); err != nil {
		return err
	}
	reply, err := g.impl.Echo(ctx, req)
	if err != nil {
		return err
	}
	return x.Reply(&reply)
}

func (g arithServer) note(ctx context.Context, x *rpc.Exchange) error {
	var req AddRequest
	if err := req.DecodeCell(x.Request()); err != nil {
		return err
	}
	return g.impl.Note(ctx, req)
}

func (g arithServer) count(ctx context.Context, x *rpc.Exchange) error {
	var req CountRequest
	if err := req.DecodeCell(x.Request()); err != nil {
		return err
	}
	reply, err := g.impl.Count(ctx, req, rpc.NewSender[Number](x))
	if err != nil {
		return err
	}
	return x.Reply(&reply)
}

func (g arithServer) sum(ctx context.Context, x *rpc.Exchange) error {
	reply, err := g.impl.Sum(ctx, rpc.NewReceiver[Number](x))
	if err != nil {
		return err
	}
	return x.Reply(&reply)
}

func (g arithServer) squares(ctx context.Context, x *rpc.Exchange) error {
	return g.impl.Squares(ctx, rpc.NewReceiver[Number](x), rpc.NewSender[Number](x))
}
