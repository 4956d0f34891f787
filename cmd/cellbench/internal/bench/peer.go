package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/uds"
)

// sharedFD is where a peer finds the memory for the limits.
const sharedFD = 3

// Peer is the life of the peer process: jobs from r, answers to w. When r ends,
// so does the process, even from within a job: whoever gave it is gone.
func Peer(r io.Reader, w io.Writer) error {
	s, err := mapShared(sharedFD)
	if err != nil {
		return err
	}
	sched.Clock()
	l, jobs, ended := newLines(r, w), make(chan job), make(chan error, 1)
	go func() {
		for {
			var j job
			if err := l.receive(&j); err != nil {
				ended <- err
				return
			}
			jobs <- j
		}
	}()
	answers := make(chan answer)
	for {
		select {
		case j := <-jobs:
			go func() {
				a, err := do(j, s)
				if err != nil {
					a = answer{Error: fmt.Sprintf("%s: %v", j.Op, err)}
				}
				answers <- a
			}()
		case a := <-answers:
			if err := l.send(a); err != nil {
				return err
			}
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// do does one job on a thread of its own, pinned to the job's CPU. The thread
// ends with the job, so that no pinning outlives it.
func do(j job, s *shared) (a answer, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, err = sched.Pin(j.CPU); err != nil {
			return
		}
		switch j.Op {
		case opLine:
			answerLine(s)
		case opSlots:
			a = takeSlots(s, j.Slots, j.Payload)
		case opEcho:
			err = withConn(j, func(e *end) error { return e.echo(j.Payload) })
		case opSink:
			err = withConn(j, func(e *end) (err error) { a, err = e.sink(j); return err })
		case opCall:
			a, err = callMany(j)
		case opServe:
			err = serveCalls(j)
		case opListen:
			a, err = listenEvents(j, s)
		default:
			err = fmt.Errorf("unknown job %q", j.Op)
		}
	}()
	<-done
	return a, err
}

func withConn(j job, f func(*end) error) error {
	c, err := uds.Dial(context.Background(), j.Name, options(j.Dir, j.Link, j.Ring, j.Payload))
	if err != nil {
		return err
	}
	defer c.Close()
	e, err := newEnd(c, j.Wait)
	if err != nil {
		return err
	}
	return f(e)
}

// PeerMain runs Peer on the standard streams and returns the exit status. args
// is what follows PeerArg: the directory of the run. Whoever gave it removes it,
// but can't when killed; so the peer, which outlives that, does so as well.
func PeerMain(args []string) int {
	// An answer to somebody who is gone is an error, not the end: see above.
	signal.Ignore(syscall.SIGPIPE)
	err := Peer(os.Stdin, os.Stdout)
	if len(args) == 1 && strings.HasPrefix(filepath.Base(args[0]), dirPrefix) {
		err = errors.Join(err, os.RemoveAll(args[0]))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cellbench peer:", err)
		return 1
	}
	return 0
}
