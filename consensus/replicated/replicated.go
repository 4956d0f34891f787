// Package replicated makes a replicated service of an ordinary typed one: each
// method of a generated service is said to be a write that goes through the
// log, a linearizable read, or a read of this replica alone, and is a method of
// a Go struct that holds the state.
//
//	ms := replicated.New(BankDesc, NewBank)             // NewBank is a func() *Bank
//	replicated.Write(ms, "Transfer", (*Bank).Transfer)  // func(*Bank, *consensus.Entry, Transfer) (Receipt, error)
//	replicated.Read(ms, "Balance", (*Bank).Balance)     // func(*Bank, Account) (Balance, error)
//	group, err := host.Start(ctx, consensus.GroupConfig{…, Machines: ms.Machines()})
//	err = ms.Serve(server, group)
//
// Callers see a service like any other. They may call any member: requests
// find the leader by themselves, and a write is executed once even if it has to
// be sent again within the group.
//
// A command in the log is the method's fingerprint, 8 bytes little endian, and
// the request as the schema encodes it. A method that a replica doesn't know is
// refused there and executed elsewhere, which splits the replicas: run the new
// program on all members before anybody calls a new method.
package replicated

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// State is what all replicas have: see [consensus.Machine] for what Snapshot
// must be like.
type State interface {
	Snapshot(w io.Writer) error
	Restore(r io.Reader) error
}

// access is how a method reaches the state.
type access uint8

const (
	write access = iota + 1
	read
	stale
)

// Methods is a service over a state S. It is filled before it is used.
type Methods[S State] struct {
	desc   *rpc.ServiceDesc
	fresh  func() S
	byName map[string]*method[S]
	byFP   map[uint64]*method[S]
	err    error
}

type method[S State] struct {
	m      *rpc.Method
	access access
	maxAge time.Duration
	apply  func(s S, e *consensus.Entry, request []byte) ([]byte, error)
	query  func(s S, request []byte) ([]byte, error)
}

// New begins a replicated service of a generated description. fresh makes the
// state before the first command.
func New[S State](desc *rpc.ServiceDesc, fresh func() S) *Methods[S] {
	return &Methods[S]{desc: desc, fresh: fresh, byName: make(map[string]*method[S]), byFP: make(map[uint64]*method[S])}
}

// Write says that a method changes the state: it goes through the log and is
// executed on all replicas. f must be deterministic; its error is part of the
// result and reaches the caller as a status.
func Write[S State, Q, R any](ms *Methods[S], name string, f func(s S, e *consensus.Entry, req Q) (R, error)) {
	ms.add(name, &method[S]{access: write, apply: func(s S, e *consensus.Entry, request []byte) ([]byte, error) {
		var req Q
		if err := decode(&req, request); err != nil {
			return nil, err
		}
		reply, err := f(s, e, req)
		if err != nil {
			return nil, err
		}
		return encode(&reply)
	}})
}

// Read says that a method reads, and sees all that was acknowledged before it
// was called. f runs beside other reads and must not change anything.
func Read[S State, Q, R any](ms *Methods[S], name string, f func(s S, req Q) (R, error)) {
	ms.add(name, &method[S]{access: read, query: queryOf(f)})
}

// Stale says that a method reads what this replica has, which may be older, but
// not than maxAge; below 0 any age will do. See [consensus.QueryStale].
func Stale[S State, Q, R any](ms *Methods[S], name string, maxAge time.Duration, f func(s S, req Q) (R, error)) {
	ms.add(name, &method[S]{access: stale, maxAge: maxAge, query: queryOf(f)})
}

func queryOf[S State, Q, R any](f func(s S, req Q) (R, error)) func(S, []byte) ([]byte, error) {
	return func(s S, request []byte) ([]byte, error) {
		var req Q
		if err := decode(&req, request); err != nil {
			return nil, err
		}
		reply, err := f(s, req)
		if err != nil {
			return nil, err
		}
		return encode(&reply)
	}
}

// add notes a method; the first mistake is what Serve and Check return.
func (ms *Methods[S]) add(name string, m *method[S]) {
	m.m = ms.desc.Method(name)
	switch {
	case m.m == nil:
		ms.mistake("service %s has no method %s", ms.desc.Name, name)
	case ms.byName[name] != nil:
		ms.mistake("method %s was given twice", name)
	default:
		ms.byName[name], ms.byFP[m.m.Fingerprint] = m, m
	}
}

func (ms *Methods[S]) mistake(format string, args ...any) {
	if ms.err == nil {
		ms.err = fmt.Errorf("%w: "+format, append([]any{consensus.ErrConfig}, args...)...)
	}
}

// Check returns what is wrong with the methods, an error that wraps
// [consensus.ErrConfig]: a name that the service lacks, or a method missing.
func (ms *Methods[S]) Check() error {
	for i := range ms.desc.Methods {
		if m := &ms.desc.Methods[i]; ms.byName[m.Name] == nil {
			ms.mistake("method %s of service %s was not said to be a Write, Read or Stale", m.Name, ms.desc.Name)
		}
	}
	return ms.err
}

// Machines is what [consensus.GroupConfig] needs: a machine in memory.
func (ms *Methods[S]) Machines() consensus.Machines {
	return consensus.Machines{Memory: func() consensus.Machine { return &machine[S]{ms, ms.fresh()} }}
}

// Command returns the command that a call of a Write method becomes.
func (ms *Methods[S]) Command(name string, request rpc.Encoder) ([]byte, error) {
	m := ms.byName[name]
	if m == nil || m.access != write {
		return nil, fmt.Errorf("%w: %s is no Write of service %s", consensus.ErrConfig, name, ms.desc.Name)
	}
	b := make([]byte, fingerprintSize+request.SizeCell())
	binary.LittleEndian.PutUint64(b, m.m.Fingerprint)
	n, err := request.EncodeCell(b[fingerprintSize:])
	return b[:fingerprintSize+n], err
}

// fingerprintSize is of what a command begins with.
const fingerprintSize = 8

func command(m *rpc.Method, request []byte) []byte {
	b := make([]byte, fingerprintSize, fingerprintSize+len(request))
	binary.LittleEndian.PutUint64(b, m.Fingerprint)
	return append(b, request...)
}

// machine is the state as package consensus drives it.
type machine[S State] struct {
	ms    *Methods[S]
	state S
}

func (m *machine[S]) Snapshot(w io.Writer) error { return m.state.Snapshot(w) }
func (m *machine[S]) Restore(r io.Reader) error  { return m.state.Restore(r) }

// Apply executes a command. Result.Value is the status, and Data the reply or
// the message.
func (m *machine[S]) Apply(e *consensus.Entry) {
	reply, err := m.apply(e)
	if err != nil {
		status, text := failure(err)
		e.Result = consensus.Result{Value: uint64(status), Data: []byte(text)}
		return
	}
	e.Result = consensus.Result{Data: reply}
}

func (m *machine[S]) apply(e *consensus.Entry) ([]byte, error) {
	if len(e.Command) < fingerprintSize {
		return nil, rpc.Errorf(wire.StatusInvalidArgument, "a command of %d bytes", len(e.Command))
	}
	f := m.ms.byFP[binary.LittleEndian.Uint64(e.Command)]
	if f == nil || f.access != write {
		return nil, rpc.Errorf(wire.StatusUnimplemented, "this replica does not know the method: all members must run the program that has it")
	}
	return f.apply(m.state, e, e.Command[fingerprintSize:])
}

// failure is what a handler's error is as a result: the same on all replicas.
func failure(err error) (wire.Status, string) {
	var e *rpc.Error
	if errors.As(err, &e) && e.Status != wire.StatusOK {
		return e.Status, e.Message
	}
	return rpc.StatusOf(err), err.Error()
}

// query is a read as the machine gets it.
type query[S State] struct {
	f       func(S, []byte) ([]byte, error)
	request []byte
}

func (m *machine[S]) Read(q any) (any, error) {
	r, ok := q.(query[S])
	if !ok {
		return nil, rpc.Errorf(wire.StatusInvalidArgument, "a query of type %T", q)
	}
	return r.f(m.state, r.request)
}

// Serve registers the service with a server; calls go to the group. Errors:
// those of Check and [rpc.Server.Register].
func (ms *Methods[S]) Serve(server *rpc.Server, g consensus.Group) error {
	if err := ms.Check(); err != nil {
		return err
	}
	f := &front[S]{group: g}
	handlers := make([]rpc.Handler, len(ms.desc.Methods))
	for i := range ms.desc.Methods {
		m := ms.byName[ms.desc.Methods[i].Name]
		handlers[i] = rpc.Blocking(func(ctx context.Context, x *rpc.Exchange) error { return f.serve(ctx, m, x) })
	}
	return server.Register(ms.desc, handlers...)
}

// front takes calls to a group.
type front[S State] struct {
	group   consensus.Group
	mu      sync.Mutex
	session *consensus.Session
}

func (f *front[S]) serve(ctx context.Context, m *method[S], x *rpc.Exchange) error {
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	if m.access == write {
		r, err := f.propose(ctx, command(m.m, x.Request()))
		if err != nil {
			return err
		}
		if r.Value != 0 {
			return rpc.Errorf(wire.Status(r.Value), "%s", r.Data)
		}
		return x.Reply(message(r.Data))
	}
	var answer any
	var err error
	q := query[S]{m.query, x.Request()}
	if m.access == read {
		answer, err = consensus.Query(ctx, f.group, q)
	} else {
		answer, _, err = consensus.QueryStale(ctx, f.group, q, m.maxAge)
	}
	if err != nil {
		return err
	}
	return x.Reply(message(answer.([]byte)))
}

// propose executes a command once, in a session that all callers of this
// member share, and which is opened by the first of them.
func (f *front[S]) propose(ctx context.Context, command []byte) (consensus.Result, error) {
	s, err := f.open(ctx)
	if err != nil {
		return consensus.Result{}, err
	}
	r, err := s.Propose(ctx, command)
	if errors.Is(err, consensus.ErrSessionExpired) { // pushed out: the next call opens another
		f.mu.Lock()
		if f.session == s {
			f.session = nil
		}
		f.mu.Unlock()
	}
	return r, err
}

func (f *front[S]) open(ctx context.Context) (*consensus.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.session == nil {
		s, err := consensus.NewSession(ctx, f.group)
		if err != nil {
			return nil, err
		}
		f.session = s
	}
	return f.session, nil
}

// message is a message that is encoded already.
type message []byte

func (m message) SizeCell() int                    { return len(m) }
func (m message) EncodeCell(b []byte) (int, error) { return copy(b, m), nil }

func decode(to any, b []byte) error {
	d, ok := to.(rpc.Decoder)
	if !ok {
		return rpc.Errorf(wire.StatusInternal, "%T is no generated message", to)
	}
	if err := d.DecodeCell(b); err != nil {
		return rpc.Errorf(wire.StatusInvalidArgument, "malformed request: %w", err)
	}
	return nil
}

func encode(from any) ([]byte, error) {
	e, ok := from.(rpc.Encoder)
	if !ok {
		return nil, rpc.Errorf(wire.StatusInternal, "%T is no generated message", from)
	}
	b := make([]byte, e.SizeCell())
	n, err := e.EncodeCell(b)
	return b[:n], err
}
