package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
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

// PeerMain runs Peer on the standard streams and returns the exit status. The
// directory of the run is the peer's, since whoever started it can remove nothing
// when it is killed, and the peer outlives that.
func PeerMain() int {
	// An answer to somebody who is gone is an error, not the end: see above.
	signal.Ignore(syscall.SIGPIPE)
	dir, err := moveIn(os.Stdout)
	if dir == "" {
		return 1 // it was told why
	}
	if err == nil {
		err = Peer(os.Stdin, os.Stdout)
	}
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, "cellbench peer:", err)
		return 1
	}
	return 0
}

// greeting is the first line that a peer sends.
type greeting struct {
	Dir   string `json:"dir,omitempty"`
	Error string `json:"error,omitempty"` // why there is none
}

// moveIn makes the directory of the run and tells w where it is. It returns it
// also with an error.
func moveIn(w io.Writer) (dir string, err error) {
	dir, why := socketDir()
	g := greeting{Dir: dir}
	if why != nil {
		g.Error = why.Error()
	}
	return dir, errors.Join(why, newLines(nil, w).send(g))
}

// dirPrefix is how the names of directories of runs begin.
const dirPrefix = "cellbench-"

// longestDir is the longest directory in which the names of sockets here fit
// the kernel's 107 bytes.
const longestDir = 107 - len("/r1234567.sock")

// socketDir makes a directory for this run: where temporary files belong or,
// if that path is too long for sockets, in /tmp.
func socketDir() (string, error) {
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return "", fmt.Errorf("no directory for sockets: %w; set TMPDIR to one that exists and that you may write to", err)
	}
	if len(dir) <= longestDir {
		return dir, nil
	}
	if err := os.Remove(dir); err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp("/tmp", dirPrefix); err != nil {
		return "", fmt.Errorf("TMPDIR %s is too long for sockets, and /tmp can't be used: %w", os.TempDir(), err)
	}
	return dir, nil
}
