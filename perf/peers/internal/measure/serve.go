package measure

import (
	"os"
	"time"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
)

// closing bounds how long a product may take to end.
const closing = 2 * time.Second

// serve runs a product's server until the input ends.
func serve(a peer.Adapter, j *job, l *lines) error {
	gone := make(chan struct{})
	go func() { l.end(); close(gone) }()
	if err := os.Mkdir(j.Dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(j.Dir) // if nobody is left who would

	type started struct {
		s   peer.Server
		err error
	}
	begun := make(chan started, 1)
	go func() {
		s, err := a.Serve(j.setting())
		begun <- started{s, err}
	}()
	var s peer.Server
	select {
	case <-gone:
		return nil
	case b := <-begun:
		if b.err != nil {
			return b.err
		}
		s = b.s
	}
	if err := l.send(answer{Addr: s.Addr()}); err != nil {
		return err
	}
	<-gone
	ended := make(chan error, 1)
	go func() { ended <- s.Close() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(closing):
		return nil // the process ends anyway
	}
}
