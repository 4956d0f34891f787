package capsid

import (
	"fmt"
	"syscall"
	"time"
)

// Cause says why a cell ended.
type Cause uint8

// The causes.
const (
	Exited       Cause = iota // by itself; Code says with which status
	Crashed                   // by a signal that nobody of the node sent
	OutOfMemory               // the kernel killed it for its memory limit
	LimitReached              // another limit ended it; Limit names it
	Stopped                   // by Stop
	Killed                    // by Kill, on somebody's wish
	Hung                      // by Kill, for a missed health deadline
)

var causeNames = [...]string{
	Exited: "exited", Crashed: "crashed", OutOfMemory: "out of memory", LimitReached: "limit reached",
	Stopped: "stopped", Killed: "killed", Hung: "hung",
}

func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

// MarshalText implements [encoding.TextMarshaler] with the name.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Exit is how a cell ended.
type Exit struct {
	Cause Cause `json:"cause"`
	// Code is the exit status, where Cause is Exited or Stopped and no signal
	// ended the cell.
	Code int `json:"code"`
	// Signal ended the cell; 0 where none did.
	Signal syscall.Signal `json:"signal,omitempty"`
	// Limit names the limit: "memory", "cpu time", "file size", "output".
	Limit string `json:"limit,omitempty"`
	// Why is a sentence for people.
	Why string `json:"why"`
	// Forced: Stop's grace ran out.
	Forced bool `json:"forced,omitempty"`
	// Tail is the last lines that the cell wrote, at most TailLines.
	Tail  []string `json:"tail,omitempty"`
	Usage Usage    `json:"usage"`
	// Began and Ended are the node's clock.
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
}

// Success reports whether the cell ended as it was meant to: by itself with
// status 0, or by Stop without force.
func (e Exit) Success() bool {
	switch e.Cause {
	case Exited:
		return e.Code == 0
	case Stopped:
		return !e.Forced
	}
	return false
}

// String is Why with the cause before it.
func (e Exit) String() string { return e.Cause.String() + ": " + e.Why }

// Usage is what a cell and all its processes have used. What could not be
// measured is 0.
type Usage struct {
	User   time.Duration `json:"user_ns"`
	System time.Duration `json:"system_ns"`
	// PeakMemory is bytes: of the control group where there is one, else the
	// largest resident size of a process.
	PeakMemory int64 `json:"peak_memory"`
	Memory     int64 `json:"memory,omitempty"`    // bytes now
	Processes  int   `json:"processes,omitempty"` // and threads, now
	// OutOfMemory counts processes that the kernel killed for memory,
	// ProcessLimit refusals of a new process or thread.
	OutOfMemory  int64 `json:"out_of_memory,omitempty"`
	ProcessLimit int64 `json:"process_limit,omitempty"`
	// Throttled is for how long the CPU quota held the cell back.
	Throttled time.Duration `json:"throttled_ns,omitempty"`
	Output    int64         `json:"output"` // bytes written to stdout and stderr
}
