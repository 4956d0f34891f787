package uds

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/cell-runtime/cell/wire"
)

// child is the other process of a test: role, directory, path, wait mode.
func child(args []string) {
	time.AfterFunc(2*time.Minute, func() { os.Exit(3) }) // never outlive a test for long
	switch args[0] {
	case "race":
		childRace(args[1])
	case "dial":
		_, err := Dial(context.Background(), "test", &Options{Dir: args[1], Policy: AnyUser})
		say(err)
	case "inherits":
		childInherits()
	case "victim":
		path, _ := strconv.Atoi(args[4])
		mode, _ := strconv.Atoi(args[5])
		childVictim(args[1], args[2], args[3], Options{Dir: args[1], Path: Path(path)}, WaitMode(mode))
	}
}

func say(what ...any) { fmt.Fprintln(os.Stdout, what...) }

// must ends the child when it can't go on; the parent sees its stdout end.
func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(2)
	}
	return v
}

// childRace tries to listen and says how that went, then waits for its end.
func childRace(dir string) {
	l, err := Listen("test", &Options{Dir: dir})
	if err != nil {
		say("lost", err)
		return
	}
	say("won", os.Getpid())
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = l
	select {}
}

// childVictim goes to a phase of a connection, as dialer or listener, says so
// and stays there until it is killed.
func childVictim(dir, side, phase string, o Options, mode WaitMode) {
	if phase == "hello" || phase == "half" {
		childInHandshake(dir, side, phase)
	}
	var c *Conn
	if side == "dialer" {
		c = must(Dial(context.Background(), "test", &o))
	} else {
		l := must(Listen("test", &o))
		say("listening")
		c = must(l.Accept(context.Background()))
	}
	var vs [4]wire.Vesicle
	switch phase {
	case "idle":
	case "claimed":
		must(c.Claim(vs[:], 100))
	case "committed": // some committed and flushed, some committed, some claimed
		childSends(c, 2)
		must(c.Claim(vs[:], 100))
		for i := range vs {
			vs[i].Header = wire.Header{Kind: wire.KindEvent}
		}
		must(0, c.Commit(vs[:2]))
	case "polled": // holds what it polled
		must(c.PollWait(context.Background(), vs[:1], mode))
	case "waiting":
		say("reached")
		must(c.PollWait(context.Background(), vs[:], mode))
	case "traffic":
		say("reached")
		childTalks(c, mode)
	}
	say("reached")
	select {}
}

func childSends(c *Conn, n int) {
	var out [1]wire.Vesicle
	for range n {
		must(c.Claim(out[:], 8))
		out[0].Header = wire.Header{Kind: wire.KindEvent}
		must(0, c.Commit(out[:]))
	}
	must(0, c.Flush())
}

// childTalks sends as fast as it can and reads what comes.
func childTalks(c *Conn, mode WaitMode) {
	var vs [8]wire.Vesicle
	for {
		if n, err := c.Claim(vs[:], 200); err == nil {
			for i := range vs[:n] {
				vs[i].Header = wire.Header{Kind: wire.KindEvent}
			}
			must(0, c.Commit(vs[:n]))
			_ = c.Flush()
		}
		n := must(c.Poll(vs[:]))
		must(0, c.Release(n))
	}
}

// childInHandshake stops in the middle of the handshake: after half a hello or
// after a whole one (dialer), before any answer (listener).
func childInHandshake(dir, side, phase string) {
	path := dir + "/test" + socketSuffix
	h := hello{low: versionLow, high: versionHigh, maxRing: 1 << 20, maxPayload: 1 << 10}
	b := h.append(nil)
	if phase == "half" {
		b = b[:prefixSize+3]
	}
	if side == "dialer" {
		c := must(net.Dial("unix", path))
		must(c.Write(b))
		if phase == "hello" { // the offer has come and stays unanswered
			must(io.ReadFull(c, make([]byte, prefixSize)))
		}
		say("reached")
		select {}
	}
	_ = os.Remove(path) // left by the one before, who was killed too
	l := must(net.Listen("unix", path))
	say("listening")
	c := must(l.Accept())
	if phase == "hello" {
		must(io.ReadFull(c, make([]byte, len(b))))
	}
	say("reached")
	select {}
}

// childInherits dials, serves, and says that it is ready, all through the
// socket that it inherited.
func childInherits() {
	c := must(Dial(context.Background(), "echo", nil))
	var v [1]wire.Vesicle
	must(c.ClaimWait(context.Background(), v[:], 5, WaitPark))
	copy(v[0].Payload, "hello")
	v[0].Header = wire.Header{Kind: wire.KindEvent}
	must(0, c.Commit(v[:]))
	must(0, c.Flush())
	must(c.PollWait(context.Background(), v[:], WaitPark))
	l := must(Listen("kid", nil))
	must(0, Ready())
	if os.Getenv(EnvNode) != "" {
		say("the variable is left to children")
	}
	say("echoed", string(v[0].Payload))
	for {
		go echoUntilGone(must(l.Accept(context.Background())))
	}
}
