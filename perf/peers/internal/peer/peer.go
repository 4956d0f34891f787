// Package peer says what a measured product must do: a server and a client, in
// two processes, that do the same work by the product's own means.
package peer

import (
	"errors"
	"slices"
)

// Work is what is measured.
type Work string

const (
	// RTT is one call at a time: the next begins when the last is answered.
	RTT Work = "rtt"
	// Pipelined is calls with up to Window of them under way.
	Pipelined Work = "pipelined"
	// Stream is messages one way, as fast as they are taken.
	Stream Work = "stream"
)

// Works lists all of them in the order of reports.
var Works = []Work{RTT, Pipelined, Stream}

// Window is how many calls are under way in Pipelined.
const Window = 64

// Bounds of a message, in bytes. The least holds the answer to a stream.
const (
	MinSize = TallySize
	MaxSize = 16 << 20
	// MaxPipelined is the greatest message of a pipeline: beyond it copying
	// decides, and a stream says that better.
	MaxPipelined = 4096
)

// Family says what is comparable with what.
type Family string

const (
	// Limit is what the two cores can do, without any product.
	Limit Family = "limit"
	// Transport moves bytes; whoever uses it builds calls himself.
	Transport Family = "transport"
	// RPC makes calls, with methods, encoding and errors.
	RPC Family = "rpc"
	// Messaging moves messages, with requests and replies among them.
	Messaging Family = "messaging"
)

// Setting is what both sides of a measurement know beforehand.
type Setting struct {
	Dir  string // for sockets; removed after the measurement
	Work Work
	Size int // of a message's payload, bytes
}

// More asks whether to go on. sent is how many messages were handed over, or
// calls answered, so far. It may be called from several goroutines, costs a
// reading of the clock, and is therefore asked once a batch where a message
// costs less.
type More func(sent uint64) bool

// Server answers calls with the request's own bytes, and takes streams.
type Server interface {
	// Addr is what Dial needs to know.
	Addr() string
	// Close ends serving and frees everything.
	Close() error
}

// Client does the measured work. It belongs to one goroutine and carries out
// one kind of work, that of its Setting.
type Client interface {
	// Call sends a request and returns the reply as the product hands it over:
	// in its own memory if need be, valid until the next call.
	Call(request []byte) (reply []byte, err error)
	// Pipeline makes calls with the same request until more says no, and
	// returns how many were answered.
	Pipeline(request []byte, more More) (answered uint64, err error)
	// Stream sends the same message until more says no, and returns what the
	// server took. It is called once.
	Stream(message []byte, more More) (Tally, error)
	Close() error
}

// Driver is a Client whose calls are made on a thread of the product's own: it
// makes round trips by itself instead of by Call.
type Driver interface {
	// RoundTrips makes one call after the other and tells each of the replies,
	// until each says no or fails.
	RoundTrips(request []byte, each func(reply []byte) (again bool, err error)) error
}

// Adapter makes one product do the work.
type Adapter struct {
	Name   string
	Family Family
	// About says in one line what exactly is measured.
	About string
	// Module is the Go module whose version a report states; empty if it is
	// the standard library or Cell.
	Module string
	Works  []Work
	// MaxSize is the greatest message, 0 if there is no bound below MaxSize.
	MaxSize int
	// Serve begins to serve; it returns when Dial may be called.
	Serve func(Setting) (Server, error)
	Dial  func(s Setting, addr string) (Client, error)
}

// Does reports whether the adapter does the work at that size.
func (a *Adapter) Does(w Work, size int) bool {
	return slices.Contains(a.Works, w) && (w != Pipelined || size <= MaxPipelined) && (a.MaxSize == 0 || size <= a.MaxSize)
}

// ErrUnsupported: a client was asked for work that its adapter doesn't list.
var ErrUnsupported = errors.New("this product is not measured at that work")

// Unsupported is embedded by clients that do only a part of the work.
type Unsupported struct{}

// Call implements Client.
func (Unsupported) Call([]byte) ([]byte, error) { return nil, ErrUnsupported }

// Pipeline implements Client.
func (Unsupported) Pipeline([]byte, More) (uint64, error) { return 0, ErrUnsupported }

// Stream implements Client.
func (Unsupported) Stream([]byte, More) (Tally, error) { return Tally{}, ErrUnsupported }
