package rpc

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// The operations channel: what every server answers about itself, on
// wire.ChannelOperations, over any link. Requests and replies are JSON, but
// for ping, whose reply is its request. See docs/RPC.md.

// Operation is one of the built-in operations.
type Operation uint8

// The operations.
const (
	OpPing     Operation = iota + 1 // the payload, back
	OpHealth                        // Health
	OpList                          // []ServiceInfo
	OpDescribe                      // a service's name; its canonical description
	OpStats                         // ServerStats
	OpBind                          // BindRequest, BindReply: what happens at binding
	opCount
)

var operationNames = [...]string{
	OpPing: "ping", OpHealth: "health", OpList: "list", OpDescribe: "describe", OpStats: "stats", OpBind: "bind",
}

// String names the operation.
func (o Operation) String() string {
	if o > 0 && o < opCount {
		return operationNames[o]
	}
	return "unknown"
}

// Fingerprint returns the operation's fingerprint: the first 8 bytes, little
// endian, of SHA-256 over "cell operation 1 " and its name.
func (o Operation) Fingerprint() uint64 { return operationFingerprints[o] }

var operationFingerprints = func() (all [opCount]uint64) {
	for o := OpPing; o < opCount; o++ {
		sum := sha256.Sum256([]byte("cell operation 1 " + o.String()))
		all[o] = binary.LittleEndian.Uint64(sum[:])
	}
	return all
}()

// OperationsPolicy says who may ask what: nil, or why not.
type OperationsPolicy func(peer link.Peer, op Operation) error

// OpenOperations is the default policy: ping, health and bind for everybody
// whom the link let in, all else for peers of this process's own user, for
// root, and for those with a proven identity.
func OpenOperations(peer link.Peer, op Operation) error {
	switch {
	case op == OpPing, op == OpHealth, op == OpBind:
		return nil
	case peer.ID != "", sameUser(peer), peer.PID != 0 && peer.UID == 0:
		return nil
	case peer.PID == 0 && peer.Addr == thisProcess:
		return nil
	}
	return fmt.Errorf("peer %q may not ask for %v", peer.Addr, op)
}

// thisProcess is the address of links within one process.
const thisProcess = "this process"

// Health is a server's state.
type Health struct {
	Name    string `json:"name"`
	Serving bool   `json:"serving"` // false: it drains
}

// ServiceInfo is one service of a server.
type ServiceInfo struct {
	Name    string       `json:"name"`
	Digest  string       `json:"digest"` // hex
	Methods []MethodInfo `json:"methods"`
}

// MethodInfo is one method of a service.
type MethodInfo struct {
	Name        string   `json:"name"`
	Mode        string   `json:"mode"`
	Fingerprint string   `json:"fingerprint"` // hex, as schema.FormatFingerprint has it
	Ancestors   []string `json:"ancestors,omitempty"`
	Idempotent  bool     `json:"idempotent,omitempty"`
}

// ServerStats are a server's counters.
type ServerStats struct {
	Name      string `json:"name"`
	Links     int    `json:"links"`
	UptimeNs  int64  `json:"uptime_ns"`
	Requests  uint64 `json:"requests"`
	Failed    uint64 `json:"failed"`
	Unknown   uint64 `json:"unknown"`   // fingerprints that nobody serves
	Late      uint64 `json:"late"`      // items, credits, cancels for calls that were over
	Malformed uint64 `json:"malformed"` // that no honest peer sends
	Panics    uint64 `json:"panics"`
	Workers   int    `json:"workers"` // calls whose blocking handlers run now
	Queued    int    `json:"queued"`  // calls that wait for one
	Go        string `json:"go"`
}

// BindRequest asks which fingerprint to send for each method.
type BindRequest struct {
	Service string       `json:"service"`
	Digest  string       `json:"digest"`
	Methods []BindMethod `json:"methods"`
}

// BindMethod is a method as the client knows it.
type BindMethod struct {
	Name        string   `json:"name"`
	Fingerprint string   `json:"fingerprint"`
	Ancestors   []string `json:"ancestors,omitempty"` // newest last
}

// BindReply answers a BindRequest, in its order.
type BindReply struct {
	Methods []BindAnswer `json:"methods"`
}

// BindAnswer is what the server does about a method.
type BindAnswer struct {
	// Use is the fingerprint to send: the client's own, or that of the newest
	// of its ancestors that the server serves; "" if there is none.
	Use string `json:"use,omitempty"`
	// Current is the fingerprint of the form that the server serves it by:
	// that of Use or a newer one. Without Use, it is that of the server's
	// newest method of that name; "" if it has none.
	Current string `json:"current,omitempty"`
}

// operation answers a request on the operations channel.
func (s *serverLink) operation(h *wire.Header, payload []byte) bool {
	if h.Kind != wire.KindRequest {
		s.extension(h, payload)
		return true
	}
	op := Operation(slices.Index(operationFingerprints[1:], h.Fingerprint) + 1)
	if op == 0 {
		s.stats.unknown++
		s.fail(h, Errorf(wire.StatusUnimplemented, "there is no operation %s", schema.FormatFingerprint(h.Fingerprint)))
		return true
	}
	if err := s.server.opts.Operations(s.info.Peer, op); err != nil {
		s.fail(h, Errorf(wire.StatusPermissionDenied, "%w", err))
		return true
	}
	_, payload = splitBudget(h, payload)
	reply, err := s.server.operate(op, payload)
	if err != nil {
		s.fail(h, err)
		return true
	}
	b := newBuffer(len(reply))
	copy(b.b, reply)
	s.outbox.push(outgoing{header: answerHeader(h, wire.KindReply), body: b}, nil)
	return true
}

func (s *Server) operate(op Operation, payload []byte) ([]byte, error) {
	switch op {
	case OpPing:
		return payload, nil
	case OpHealth:
		return json.Marshal(Health{Name: s.opts.Name, Serving: !s.draining.Load()})
	case OpList:
		return json.Marshal(s.Services())
	case OpStats:
		return json.Marshal(s.Stats())
	case OpDescribe:
		if d := s.service(string(payload)); d != nil {
			return []byte(d.Text), nil
		}
		return nil, Errorf(wire.StatusNotFound, "no service %q here", payload)
	case OpBind:
		var q BindRequest
		if err := json.Unmarshal(payload, &q); err != nil {
			return nil, Errorf(wire.StatusInvalidArgument, "%w", err)
		}
		return json.Marshal(s.bind(&q))
	}
	return nil, errors.New("no such operation")
}

// Services lists what the server serves.
func (s *Server) Services() []ServiceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]ServiceInfo, 0, len(s.services))
	for _, d := range s.services {
		info := ServiceInfo{Name: d.Name, Digest: fmt.Sprintf("%x", d.Digest)}
		for i := range d.Methods {
			m := &d.Methods[i]
			info.Methods = append(info.Methods, MethodInfo{
				Name: m.Name, Mode: m.Mode.String(), Idempotent: m.Idempotent,
				Fingerprint: schema.FormatFingerprint(m.Fingerprint), Ancestors: ancestorsOf(m),
			})
		}
		all = append(all, info)
	}
	return all
}

func ancestorsOf(m *Method) []string {
	var all []string
	for _, a := range m.Ancestors {
		all = append(all, schema.FormatFingerprint(a.Fingerprint))
	}
	return all
}

// service returns the newest service of that name.
func (s *Server) service(name string) *ServiceDesc {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.services) - 1; i >= 0; i-- {
		if s.services[i].Name == name {
			return s.services[i]
		}
	}
	return nil
}

// Stats returns the server's counters, those of links that are gone included.
// They are some milliseconds old.
func (s *Server) Stats() ServerStats {
	alive, queued := s.pool.load()
	sum := s.counts.total()
	s.mu.Lock()
	defer s.mu.Unlock()
	return ServerStats{
		Name: s.opts.Name, Links: len(s.links), UptimeNs: int64(time.Since(s.born)),
		Requests: sum.requests, Failed: sum.failed, Unknown: sum.unknown, Late: sum.late,
		Malformed: sum.malformed, Panics: sum.panics, Workers: alive, Queued: queued, Go: runtime.Version(),
	}
}

// bind finds what to send for each method that a client knows.
func (s *Server) bind(q *BindRequest) BindReply {
	var current *ServiceDesc
	if current = s.service(q.Service); current == nil {
		current = &ServiceDesc{}
	}
	table := s.table.Load()
	serves := func(text string) *Method {
		fingerprint, err := parseFingerprint(text)
		if err != nil {
			return nil
		}
		if own := table.find(fingerprint); own != nil {
			return own.method
		}
		return s.announced(fingerprint)
	}
	reply := BindReply{Methods: make([]BindAnswer, len(q.Methods))}
	for i, m := range q.Methods {
		answer := &reply.Methods[i]
		for _, known := range append(slices.Clone(m.Ancestors), m.Fingerprint) {
			if by := serves(known); by != nil { // the newest of them stays
				answer.Use, answer.Current = known, schema.FormatFingerprint(by.Fingerprint)
			}
		}
		if own := current.Method(m.Name); own != nil && answer.Use == "" {
			answer.Current = schema.FormatFingerprint(own.Fingerprint)
		}
	}
	return reply
}

// parseFingerprint reads what schema.FormatFingerprint writes.
func parseFingerprint(text string) (uint64, error) { return strconv.ParseUint(text, 16, 64) }
