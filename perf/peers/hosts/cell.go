package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/perf/peers/internal/echo"
	"github.com/cell-runtime/cell/quic"
	"github.com/cell-runtime/cell/rpc"
)

func (s *side) options() *quic.Options {
	return &quic.Options{Congestion: s.congestion, Receive: s.receive, MaxLinks: 1000}
}

// service answers on the engine's thread.
type service struct{ count, bytes atomic.Uint64 }

// Line implements echo.EchoViews.
func (*service) Line(_ *rpc.Call, req echo.WordsView, reply echo.WordsBuilder) error {
	reply.SetA(req.A())
	return nil
}

// Bytes implements echo.EchoViews.
func (*service) Bytes(_ *rpc.Call, req echo.BlobView, reply echo.BlobBuilder) error {
	copy(reply.MakeBytes(len(req.Bytes())), req.Bytes())
	return nil
}

func (s *service) take(n int) {
	s.count.Add(1)
	s.bytes.Add(uint64(n))
}

// Take implements echo.EchoViews.
func (s *service) Take(*rpc.Call, echo.WordsView) error {
	s.take(echo.WordsBlock)
	return nil
}

// TakeBytes implements echo.EchoViews.
func (s *service) TakeBytes(_ *rpc.Call, req echo.BlobView) error {
	s.take(len(req.Bytes()))
	return nil
}

// Account implements echo.EchoViews.
func (s *service) Account(_ *rpc.Call, reply echo.TallyBuilder) error {
	reply.SetCount(s.count.Load())
	reply.SetSum(s.bytes.Load())
	return nil
}

// serve answers everybody until it is killed.
func (s *side) serve(host string, port int) error {
	if err := errors.Join(s.serveBareQUIC(join(host, port+portBareQUIC)), s.serveBareTLS(join(host, port+portBareTLS))); err != nil {
		return err
	}
	e, err := quic.Listen(join(host, port+portCellQUIC), s.credentials, s.trust, s.options())
	if err != nil {
		return err
	}
	l, err := quic.ListenTLS(join(host, port+portCellTLS), s.credentials, s.trust, s.options())
	if err != nil {
		return err
	}
	go s.serveCell(l.AcceptLink)
	if err := s.serveBBR(host, port); err != nil {
		fmt.Fprintln(os.Stderr, "hosts: nothing with", bbr, "here:", err)
	}
	return s.serveCell(e.AcceptLink)
}

// serveBBR serves what goes over TCP once more, with another congestion control.
func (s *side) serveBBR(host string, port int) error {
	with := *s
	with.congestion = bbr
	l, err := quic.ListenTLS(join(host, port+portCellBBR), s.credentials, s.trust, with.options())
	if err != nil {
		return err
	}
	go with.serveCell(l.AcceptLink)
	return with.serveBareTLS(join(host, port+portBareBBR))
}

func (s *side) serveCell(accept func(context.Context) (link.Link, error)) error {
	server, err := rpc.NewServer(&rpc.ServerOptions{MaxRequest: 1 << 20})
	if err != nil {
		return err
	}
	if err := echo.RegisterEchoViews(server, new(service)); err != nil {
		return err
	}
	e, err := engine.New(engine.Config{CPU: engine.Unpinned, Idle: s.idle})
	if err != nil {
		return err
	}
	if err := e.Start(context.Background()); err != nil {
		return err
	}
	return server.Accept(context.Background(), e, accept)
}

// cell makes typed calls over one connection.
type cell struct {
	dial   func(context.Context) (link.Link, error)
	conn   *rpc.Conn
	client *echo.EchoClient
	shut   func()
}

func (s *side) openCell(ctx context.Context, dial func(context.Context) (link.Link, error), shut func()) (target, error) {
	conn, err := rpc.Connect(ctx, dial, &rpc.ConnOptions{Wait: s.wait, Timeout: time.Minute})
	if err != nil {
		return nil, err
	}
	return &cell{dial: dial, conn: conn, client: echo.NewEchoClient(conn), shut: shut}, nil
}

func openCellQUIC(ctx context.Context, s *side, p plan) (target, error) {
	e, err := quic.Listen("", s.credentials, s.trust, s.options())
	if err != nil {
		return nil, err
	}
	return s.openCell(ctx, e.Dialer(join(p.host, p.port+portCellQUIC), key(serverKey).ID(), &quic.LinkOptions{Lanes: s.lanes}), func() { _ = e.Close() })
}

func openCellTLS(ctx context.Context, s *side, p plan) (target, error) {
	return s.openCell(ctx, quic.DialerTLS(join(p.host, p.cellTLS()), key(serverKey).ID(), s.credentials, s.trust, s.options()), func() {})
}

func (c *cell) call() error {
	_, err := c.client.Line(context.Background(), echo.Words{A: 1})
	return err
}

// bulk sends one-way messages and asks for the count behind them.
func (c *cell) bulk(d time.Duration) (int64, error) {
	before, err := c.client.Account(context.Background())
	if err != nil {
		return 0, err
	}
	var sent atomic.Uint64
	if err := c.send(d, &sent); err != nil {
		return 0, err
	}
	return c.arrived(before.Count, sent.Load())
}

// bulkSize is how long a message of bulk is.
const bulkSize = 60 << 10

// send sends one-way messages for so long, and counts them.
func (c *cell) send(d time.Duration, sent *atomic.Uint64) error {
	piece := echo.Blob{Bytes: make([]byte, bulkSize)}
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := c.client.TakeBytes(context.Background(), piece); err != nil {
			return err
		}
		sent.Add(1)
	}
	return nil
}

// arrived waits until so many have come, and returns their bytes.
func (c *cell) arrived(before, sent uint64) (int64, error) {
	for {
		now, err := c.client.Account(context.Background())
		if err != nil || now.Count-before >= sent {
			return int64(now.Count-before) * bulkSize, err
		}
		time.Sleep(time.Millisecond)
	}
}

func (c *cell) close() {
	_ = c.conn.Close()
	c.shut()
}

// setCongestion does for a bare connection what a link's option does.
func (s *side) setCongestion(c net.Conn) error {
	if s.congestion == "" {
		return nil
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, s.congestion)
	})
	return errors.Join(err, set)
}

// manyCell spreads calls over links with a connection each.
type manyCell struct {
	all  []target
	next atomic.Uint64
	shut func()
}

func openCellQUICMany(ctx context.Context, s *side, p plan) (target, error) {
	e, err := quic.Listen("", s.credentials, s.trust, s.options())
	if err != nil {
		return nil, err
	}
	dial := e.Dialer(join(p.host, p.port+portCellQUIC), key(serverKey).ID(), &quic.LinkOptions{Lanes: s.lanes, OwnConnection: true})
	return s.openMany(ctx, dial, p.connections, func() { _ = e.Close() })
}

func openCellTLSMany(ctx context.Context, s *side, p plan) (target, error) {
	dial := quic.DialerTLS(join(p.host, p.cellTLS()), key(serverKey).ID(), s.credentials, s.trust, s.options())
	return s.openMany(ctx, dial, p.connections, func() {})
}

func (s *side) openMany(ctx context.Context, dial func(context.Context) (link.Link, error), n int, shut func()) (target, error) {
	m := &manyCell{shut: shut}
	for range n {
		c, err := s.openCell(ctx, dial, func() {})
		if err != nil {
			m.close()
			return nil, err
		}
		m.all = append(m.all, c)
	}
	return m, nil
}

func (m *manyCell) call() error { return m.all[m.next.Add(1)%uint64(len(m.all))].call() }

// bulk counts at the server, which counts for all connections together.
func (m *manyCell) bulk(d time.Duration) (int64, error) {
	first := m.all[0].(*cell)
	before, err := first.client.Account(context.Background())
	if err != nil {
		return 0, err
	}
	var sent atomic.Uint64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for _, t := range m.all {
		all.Go(func() {
			if err := t.(*cell).send(d, &sent); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return first.arrived(before.Count, sent.Load())
}

func (m *manyCell) close() {
	for _, t := range m.all {
		t.close()
	}
	m.shut()
}
