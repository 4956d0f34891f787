package rpc

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/schema"
)

// Server serves methods on any number of links and engines. Its methods may be
// called from any goroutine; services may be registered before and while links
// are served.
type Server struct {
	opts   ServerOptions
	pool   *pool
	counts serverCounts
	pieces *link.ReassemblyBudget // of all links
	born   time.Time

	table    atomic.Pointer[dispatchTable[served]]
	draining atomic.Bool
	flying   atomic.Int64 // calls of blocking handlers

	mu       sync.Mutex // guards what follows
	methods  map[uint64]*served
	services []*ServiceDesc
	foreign  map[*ServiceDesc]struct{} // those of services that a relay reaches
	links    map[*serverLink]struct{}
	idle     chan struct{} // closed and made anew whenever a link leaves
	closed   bool
}

// served is a method with its handler, under one fingerprint: its own or an
// ancestor's.
type served struct {
	method      *Method
	fingerprint uint64
	inline      InlineFunc
	blocking    BlockingFunc
	topic       *topic // of topics; shared with the ancestors
	index       int    // among all methods of the server, ancestors not counted apart
	replySize   int    // room for an inline reply, where the link takes as much
	replyBlock  int    // what it takes at least
	// requestBlock is the root block of a request in the form of fingerprint.
	requestBlock int
	copies       bool // requests of hostile strangers are copied before use
}

// Handler is how a method is served: made by [Inline] or [Blocking].
type Handler struct {
	inline   InlineFunc
	blocking BlockingFunc
}

// Inline serves a unary or one-way method on the engine's thread.
func Inline(f InlineFunc) Handler { return Handler{inline: f} }

// Blocking serves any method but a topic on a goroutine of the server's pool.
func Blocking(f BlockingFunc) Handler { return Handler{blocking: f} }

// NewServer makes a server. A nil o means defaults. Errors: ErrOptions.
func NewServer(o *ServerOptions) (*Server, error) {
	s := &Server{
		methods: make(map[uint64]*served),
		links:   make(map[*serverLink]struct{}),
		idle:    make(chan struct{}),
		born:    time.Now(),
	}
	if o != nil {
		s.opts = *o
	}
	if err := s.opts.setDefaults(); err != nil {
		return nil, err
	}
	if err := s.counts.init(s.opts.Metrics, s.opts.Name); err != nil {
		return nil, err
	}
	s.pieces = link.NewReassemblyBudget(s.opts.MaxPieces)
	s.pool = newPool(s.opts.Workers, s.opts.Queue)
	s.table.Store(newDispatchTable[served](nil))
	return s, nil
}

// Register serves all methods of a service: one handler for each, in the order
// of d.Methods, the zero Handler for topics. Their ancestors are served by the
// same handlers. It registers all or nothing. Errors: ErrArgument,
// ErrRegistered.
func (s *Server) Register(d *ServiceDesc, handlers ...Handler) error {
	if d == nil || len(handlers) != len(d.Methods) {
		return fmt.Errorf("%w: Register needs a description and one handler for each of its methods", ErrArgument)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	added := make(map[uint64]*served)
	for i := range d.Methods {
		if err := s.prepare(&d.Methods[i], s.wrap(&d.Methods[i], handlers[i]), added); err != nil {
			return err
		}
	}
	for _, m := range added {
		if m.fingerprint == m.method.Fingerprint {
			if err := s.counts.method(m); err != nil {
				return err
			}
		}
	}
	for _, m := range added {
		m.index = added[m.method.Fingerprint].index
	}
	for fingerprint, m := range s.methods {
		added[fingerprint] = m
	}
	s.methods = added
	s.services = append(s.services, d)
	s.table.Store(newDispatchTable(added))
	return nil
}

// prepare enters a method under all its fingerprints into added.
func (s *Server) prepare(m *Method, h Handler, added map[uint64]*served) error {
	switch {
	case m.service == nil:
		return fmt.Errorf("%w: the description of %s did not go through Describe", ErrArgument, m.Name)
	case m.Mode == schema.Topic:
		if h.inline != nil || h.blocking != nil {
			return fmt.Errorf("%w: %v is a topic, which is published, not handled", ErrArgument, m)
		}
	case (h.inline == nil) == (h.blocking == nil):
		return fmt.Errorf("%w: %v needs one handler", ErrArgument, m)
	case h.inline != nil && m.Mode != schema.Unary && m.Mode != schema.OneWay:
		return fmt.Errorf("%w: %v has streams, which only a blocking handler can serve", ErrArgument, m)
	}
	entry := &served{
		method: m, fingerprint: m.Fingerprint, inline: h.inline, blocking: h.blocking,
		replySize: m.Reply.Block, replyBlock: m.Reply.Block, copies: m.Request.Variable, requestBlock: m.Request.Block,
	}
	if m.Reply.Variable {
		entry.replySize = max(m.Reply.Block, s.opts.InlineReply)
	}
	if m.Mode == schema.OneWay {
		entry.replySize = 0
	}
	if m.Mode == schema.Topic {
		entry.topic = newTopic(m)
	}
	if err := s.enter(entry, added); err != nil {
		return err
	}
	for _, a := range m.Ancestors {
		older := *entry
		older.fingerprint, older.requestBlock = a.Fingerprint, a.Request
		if err := s.enter(&older, added); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) enter(m *served, added map[uint64]*served) error {
	other := added[m.fingerprint]
	if other == nil {
		other = s.methods[m.fingerprint]
	}
	if other != nil || m.fingerprint == 0 {
		name := "no method, since fingerprints are never 0"
		if other != nil {
			name = other.method.String()
			if other.fingerprint != other.method.Fingerprint || m.fingerprint != m.method.Fingerprint {
				name += ", of which one is a newer form: register that alone, it serves callers of both"
			}
		}
		return fmt.Errorf("%w: fingerprint %s of %v belongs to %s", ErrRegistered, schema.FormatFingerprint(m.fingerprint), m.method, name)
	}
	added[m.fingerprint] = m
	return nil
}

// Serve gives a link to an engine, where this server answers what comes over
// it until the link ends. The engine closes the link then. Errors: ErrClosed,
// or those of [engine.Engine.Add]; the link is the caller's as before then.
func (s *Server) Serve(e *engine.Engine, l link.Link) error {
	if e == nil || l == nil {
		return fmt.Errorf("%w: Serve needs an engine and a link", ErrArgument)
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return fmt.Errorf("%w: the server takes no more links", ErrClosed)
	}
	sl := newServerLink(s, l)
	if _, err := e.Add(l, sl, engine.WithValue(sl), engine.OnGone(sl.gone), engine.CloseLink(), sl.enter); err != nil {
		s.left(sl)
		return err
	}
	return nil
}

// left forgets a link.
func (s *Server) left(sl *serverLink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.links, sl)
	close(s.idle)
	s.idle = make(chan struct{})
}

// AcceptFunc waits for the next connection, such as the Accept of a listener.
type AcceptFunc func(ctx context.Context) (link.Link, error)

// Accept serves every link that accept returns, on e, until ctx ends or accept
// fails; it returns that error.
func (s *Server) Accept(ctx context.Context, e *engine.Engine, accept AcceptFunc) error {
	for {
		l, err := accept(ctx)
		if err != nil {
			return err
		}
		if err := s.Serve(e, l); err != nil {
			_ = l.Close()
			return err
		}
	}
}

// Run is Accept on an engine of its own, which idles adaptively on no
// particular core and ends with Run. It is for programs that have no engine.
// When ctx has ended the server is retired, within ServerOptions.Grace.
func (s *Server) Run(ctx context.Context, accept AcceptFunc) error {
	e, err := engine.New(engine.Config{Name: s.opts.Name, CPU: engine.Unpinned, Logger: s.opts.Logger})
	if err != nil {
		return err
	}
	if err := e.Start(context.Background()); err != nil {
		return err
	}
	defer e.Stop()
	serving, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	defer context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(serving, s.opts.Grace)
		defer cancel()
		s.Retire(grace)
		stop(context.Cause(ctx))
	})()
	return s.Accept(serving, e, accept)
}
