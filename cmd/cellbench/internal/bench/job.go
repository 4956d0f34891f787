package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Operations that a peer knows.
const (
	opEcho   = "echo"   // dial, send every vesicle back
	opSink   = "sink"   // dial, take a stream and account for it
	opCall   = "call"   // dial many times, call over some of them
	opLine   = "line"   // answer on the bare cache line
	opSlots  = "slots"  // take the bare copies
	opServe  = "serve"  // dial, answer typed calls
	opListen = "listen" // read a topic from a broadcast ring
)

// job is one line to the peer.
type job struct {
	Op      string        `json:"op"`
	Dir     string        `json:"dir,omitempty"`  // of the socket
	Name    string        `json:"name,omitempty"` // of the socket
	Link    string        `json:"link,omitempty"`
	Ring    int           `json:"ring,omitempty"`
	CPU     int           `json:"cpu"`
	Wait    string        `json:"wait,omitempty"`
	Payload int           `json:"payload,omitempty"`
	Stamped bool          `json:"stamped,omitempty"` // payloads begin with their schedule
	Digest  bool          `json:"digest,omitempty"`
	Warmup  time.Duration `json:"warmup,omitempty"`
	Length  time.Duration `json:"length,omitempty"`
	Peers   int           `json:"peers,omitempty"`
	Busy    int           `json:"busy,omitempty"`
	Slots   int           `json:"slots,omitempty"`
	Handler string        `json:"handler,omitempty"` // of typed calls
	PID     int           `json:"pid,omitempty"`     // whose descriptor FD is the ring
	FD      int           `json:"fd,omitempty"`
}

// answer is one line from the peer.
type answer struct {
	Error   string        `json:"error,omitempty"`
	Count   uint64        `json:"count,omitempty"`
	Bytes   uint64        `json:"bytes,omitempty"`
	Lost    uint64        `json:"lost,omitempty"` // of a topic
	Elapsed time.Duration `json:"elapsed,omitempty"`
	Values  []float64     `json:"values,omitempty"` // times in ns, and how many of each
	Counts  []uint64      `json:"counts,omitempty"`
	SHA256  string        `json:"sha256,omitempty"`
}

// maxLine bounds an answer: a histogram of some thousand buckets.
const maxLine = 8 << 20

var errPeer = errors.New("peer process")

// lines reads and writes JSON values, one a line.
type lines struct {
	in  *bufio.Scanner
	out io.Writer
}

func newLines(r io.Reader, w io.Writer) *lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxLine)
	return &lines{s, w}
}

func (l *lines) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = l.out.Write(append(b, '\n'))
	return err
}

// receive returns io.EOF at the end of the input.
func (l *lines) receive(v any) error {
	if !l.in.Scan() {
		if err := l.in.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	if err := json.Unmarshal(l.in.Bytes(), v); err != nil {
		return fmt.Errorf("%w: unreadable line: %w", errPeer, err)
	}
	return nil
}
