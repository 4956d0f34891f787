package echo

import (
	"context"
	"encoding/binary"

	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/schema/view"
)

// This file joins the messages to package rpc. It is by hand what cellgen is to
// make of a service, and goes when it does.

// Desc describes Echo. The fingerprints are made up: both sides have this file.
var Desc = rpc.Describe(rpc.ServiceDesc{
	Name: "Echo", Digest: [32]byte{0xec, 0x40}, Text: echoCell,
	Methods: []rpc.Method{
		{Name: "Line", Fingerprint: 0xec40000000000001, Mode: schema.Unary,
			Request: rpc.Shape{Block: WordsBlock}, Reply: rpc.Shape{Block: WordsBlock}},
		{Name: "Bytes", Fingerprint: 0xec40000000000002, Mode: schema.Unary,
			Request: rpc.Shape{Block: BlobBlock, Variable: true}, Reply: rpc.Shape{Block: BlobBlock, Variable: true}},
		{Name: "Take", Fingerprint: 0xec40000000000003, Mode: schema.OneWay, Request: rpc.Shape{Block: WordsBlock}},
		{Name: "TakeBytes", Fingerprint: 0xec40000000000004, Mode: schema.OneWay,
			Request: rpc.Shape{Block: BlobBlock, Variable: true}},
		{Name: "Account", Fingerprint: 0xec40000000000005, Mode: schema.Unary, Reply: rpc.Shape{Block: TallyBlock}},
	},
})

// Indexes into Desc.Methods.
const (
	line = iota
	bytes
	take
	takeBytes
	account
)

// Counter is told of every message that is taken, on the engine's thread.
type Counter interface {
	Add(message []byte)
	Get() (count, sum uint64)
}

// Register serves Echo on the engine's thread, in place.
func Register(s *rpc.Server, count Counter) error {
	var arena view.Arena // one engine serves
	return s.Register(Desc,
		rpc.Inline(func(_ *rpc.Call, req, reply []byte) (int, error) {
			b, err := BuildWords(reply)
			if err != nil {
				return 0, err
			}
			v := ViewWords(req)
			b.SetA(v.A())
			b.SetB(v.B())
			b.SetC(v.C())
			b.SetD(v.D())
			b.SetE(v.E())
			b.SetF(v.F())
			b.SetG(v.G())
			b.SetH(v.H())
			return b.Finish()
		}),
		rpc.Inline(func(_ *rpc.Call, req, reply []byte) (int, error) {
			if err := CheckBlob(req, 0); err != nil {
				return 0, err
			}
			return putBlob(reply, ViewBlob(req).Bytes(), &arena)
		}),
		rpc.Inline(func(_ *rpc.Call, req, _ []byte) (int, error) {
			count.Add(req)
			return 0, nil
		}),
		rpc.Inline(func(_ *rpc.Call, req, _ []byte) (int, error) {
			if err := CheckBlob(req, 0); err != nil {
				return 0, err
			}
			count.Add(ViewBlob(req).Bytes())
			return 0, nil
		}),
		rpc.Inline(func(_ *rpc.Call, _, reply []byte) (int, error) {
			b, err := BuildTally(reply)
			if err != nil {
				return 0, err
			}
			n, sum := count.Get()
			b.SetCount(n)
			b.SetSum(sum)
			return b.Finish()
		}),
	)
}

// putBlob builds a Blob of b in place.
func putBlob(place, b []byte, a *view.Arena) (int, error) {
	m, err := BuildBlob(place, a)
	if err != nil {
		return 0, err
	}
	ring.Copy(m.MakeBytes(len(b)), b)
	return m.Finish()
}

// blobSize is the length of a Blob with n bytes.
func blobSize(n int) int { return BlobBlock + n }

// words makes a Words of 64 bytes.
func words(b []byte) Words {
	le := binary.LittleEndian
	return Words{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:]),
		le.Uint64(b[32:]), le.Uint64(b[40:]), le.Uint64(b[48:]), le.Uint64(b[56:])}
}

// bytes writes the words to the front of b.
func (w *Words) bytes(b []byte) {
	le := binary.LittleEndian
	for i, x := range [...]uint64{w.A, w.B, w.C, w.D, w.E, w.F, w.G, w.H} {
		le.PutUint64(b[8*i:], x)
	}
}

var (
	lineCalls    rpc.Calls[Words, Words]
	bytesCalls   rpc.Calls[Blob, Blob]
	accountCalls rpc.Calls[rpc.Empty, Tally]
)

// Client makes blocking calls through an rpc.Caller. Messages of 64 bytes
// travel as Words, others as Blob.
type Client struct{ c rpc.Caller }

// NewClient returns a client of c.
func NewClient(c rpc.Caller) *Client { return &Client{c} }

// Echo calls Line or Bytes. The reply is written to room where it is Words.
func (c *Client) Echo(ctx context.Context, request, room []byte) ([]byte, error) {
	if len(request) == WordsBlock {
		r, err := lineCalls.Call(ctx, c.c, &Desc.Methods[line], words(request))
		r.bytes(room)
		return room[:WordsBlock], err
	}
	r, err := bytesCalls.Call(ctx, c.c, &Desc.Methods[bytes], Blob{request})
	return r.Bytes, err
}

// Take returns a function that sends message one way.
func (c *Client) Take(message []byte) func(context.Context) error {
	method, m := &Desc.Methods[takeBytes], rpc.Encoder(&Blob{message})
	if len(message) == WordsBlock {
		w := words(message)
		method, m = &Desc.Methods[take], &w
	}
	return func(ctx context.Context) error { return c.c.Send(ctx, method, m) }
}

// Account returns what was taken.
func (c *Client) Account(ctx context.Context) (Tally, error) {
	return accountCalls.Call(ctx, c.c, &Desc.Methods[account], rpc.Empty{})
}

// Async makes calls on the thread of an engine, in place.
type Async struct {
	conn        *rpc.AsyncConn
	line, bytes *rpc.Bound
	arena       view.Arena
}

// NewAsync returns a client of c.
func NewAsync(c *rpc.AsyncConn) *Async {
	return &Async{conn: c, line: c.Bind(&Desc.Methods[line]), bytes: c.Bind(&Desc.Methods[bytes])}
}

// Echo begins a call of Line or Bytes. done runs when it ends; it is made once
// and not per call, and its reply is valid until it returns.
func (c *Async) Echo(request []byte, done func(reply []byte, err error)) error {
	if len(request) == WordsBlock {
		place, err := c.conn.Begin(c.line, WordsBlock)
		if err != nil {
			return err
		}
		b, err := BuildWords(place)
		if err != nil {
			c.conn.Abort()
			return err
		}
		w := words(request)
		w.putCell(b)
		return c.conn.Send(WordsBlock, lineDone, done, 0)
	}
	place, err := c.conn.Begin(c.bytes, blobSize(len(request)))
	if err != nil {
		return err
	}
	n, err := putBlob(place, request, &c.arena)
	if err != nil {
		c.conn.Abort()
		return err
	}
	return c.conn.Send(n, bytesDone, done, 0)
}

func lineDone(r *rpc.Completion) { r.Done().(func([]byte, error))(r.Reply, r.Err) }

func bytesDone(r *rpc.Completion) {
	err := r.Err
	if err == nil {
		err = CheckBlob(r.Reply, 0)
	}
	if err != nil {
		r.Done().(func([]byte, error))(nil, err)
		return
	}
	r.Done().(func([]byte, error))(ViewBlob(r.Reply).Bytes(), nil)
}
