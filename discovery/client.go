package discovery

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
)

// Client is a caller of a service wherever it is. When a better path appears
// than the one in use, new calls take that, those under way end where they are,
// and none fails for it. When its instance is lost, the next call goes to
// another one; rpc.Conn says which calls are sent again.
type Client struct {
	r      *Resolver
	target Target
	o      *rpc.ConnOptions

	current  atomic.Pointer[route]
	upgrades atomic.Uint64
	why      atomic.Pointer[[]string]
	ended    chan struct{}
	once     sync.Once
	wg       sync.WaitGroup
}

var _ rpc.Caller = (*Client)(nil)

// route is a connection and how many calls are under way on it.
type route struct {
	conn    *rpc.Conn
	path    atomic.Pointer[Path]
	users   atomic.Int64
	retired atomic.Bool
	closing sync.Once
}

// Connect returns a client of the target, connected over the best path there
// is. Errors: [ErrNoPath], those of rpc.Connect.
func (r *Resolver) Connect(ctx context.Context, t Target, o *rpc.ConnOptions) (*Client, error) {
	c := &Client{r: r, target: t, o: o, ended: make(chan struct{})}
	first, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	c.current.Store(first)
	c.wg.Go(c.improve)
	return c, nil
}

func (c *Client) open(ctx context.Context) (*route, error) {
	h := &route{}
	conn, err := rpc.Connect(ctx, func(ctx context.Context) (link.Link, error) {
		l, p, err := c.r.Dial(ctx, c.target)
		if err == nil {
			h.path.Store(&p)
		}
		return l, err
	}, c.o)
	h.conn = conn
	return h, err
}

// improve looks for a better path now and then.
func (c *Client) improve() {
	tick := time.NewTicker(c.r.o.Upgrade)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.tryImprove()
		case <-c.ended:
			return
		}
	}
}

func (c *Client) tryImprove() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*c.r.o.AttemptTimeout)
	defer cancel()
	go func() {
		select {
		case <-c.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	old := c.current.Load()
	paths, why := c.r.Resolve(ctx, c.target)
	c.why.Store(&why)
	if len(paths) == 0 || !c.r.better(&paths[0], old.path.Load()) {
		return
	}
	next, err := c.open(ctx)
	if err != nil {
		return // it is remembered as failed, and tried again later
	}
	if !c.r.better(next.path.Load(), old.path.Load()) {
		next.conn.Close()
		return
	}
	c.current.Store(next)
	c.upgrades.Add(1)
	old.retire()
}

// better reports whether a path is over a better medium than another, or leads
// away from one that drains.
func (r *Resolver) better(a, b *Path) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	x, y := *a, *b
	x.Load, y.Load = 0, 0 // who changes for load alone changes for ever
	return r.rank(&x, now) < r.rank(&y, now)
}

// retire closes the connection as soon as nobody uses it.
func (h *route) retire() {
	h.retired.Store(true)
	if h.users.Load() == 0 {
		h.close()
	}
}

func (h *route) close() { h.closing.Do(func() { _ = h.conn.Close() }) }

func (h *route) release() {
	if h.users.Add(-1) == 0 && h.retired.Load() {
		h.close()
	}
}

// use returns the connection for a call, which it belongs to until release.
func (c *Client) use() *route {
	for {
		h := c.current.Load()
		h.users.Add(1)
		if !h.retired.Load() {
			return h
		}
		h.release()
	}
}

// Call implements rpc.Caller.
func (c *Client) Call(ctx context.Context, m *rpc.Method, req rpc.Encoder, reply rpc.Decoder) error {
	h := c.use()
	defer h.release()
	return h.conn.Call(ctx, m, req, reply)
}

// Send implements rpc.Caller.
func (c *Client) Send(ctx context.Context, m *rpc.Method, req rpc.Encoder) error {
	h := c.use()
	defer h.release()
	return h.conn.Send(ctx, m, req)
}

// Stream implements rpc.Caller. The stream stays on its path.
func (c *Client) Stream(ctx context.Context, m *rpc.Method, req rpc.Encoder) (rpc.Stream, error) {
	h := c.use()
	s, err := h.conn.Stream(ctx, m, req)
	if err != nil {
		h.release()
		return nil, err
	}
	done := sync.OnceFunc(h.release)
	context.AfterFunc(ctx, done)
	return &heldStream{s, done}, nil
}

// Subscribe implements rpc.Caller. The subscription stays on its path.
func (c *Client) Subscribe(ctx context.Context, m *rpc.Method, o rpc.SubscribeOptions) (rpc.Subscription, error) {
	h := c.use()
	s, err := h.conn.Subscribe(ctx, m, o)
	if err != nil {
		h.release()
		return nil, err
	}
	return &heldSubscription{s, sync.OnceFunc(h.release)}, nil
}

type heldStream struct {
	rpc.Stream
	done func()
}

func (s *heldStream) Reply(reply rpc.Decoder) error {
	defer s.done()
	return s.Stream.Reply(reply)
}

func (s *heldStream) Close() error {
	defer s.done()
	return s.Stream.Close()
}

type heldSubscription struct {
	rpc.Subscription
	done func()
}

func (s *heldSubscription) Receive(event rpc.Decoder) error {
	err := s.Subscription.Receive(event)
	if err != nil {
		s.done()
	}
	return err
}

func (s *heldSubscription) Close() error {
	defer s.done()
	return s.Subscription.Close()
}

// Path returns the path in use, and why no better one is, as of the last look.
func (c *Client) Path() (p Path, why []string) {
	if w := c.why.Load(); w != nil {
		why = *w
	}
	return *c.current.Load().path.Load(), why
}

// Upgrades returns how often the client has gone over to a better path.
func (c *Client) Upgrades() uint64 { return c.upgrades.Load() }

// Close ends the client. Calls under way end with an error.
func (c *Client) Close() error {
	var err error
	c.once.Do(func() {
		close(c.ended)
		c.wg.Wait()
		err = c.current.Load().conn.Close()
	})
	return err
}
