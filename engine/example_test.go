package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"runtime"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

// An engine that answers every request with its own payload.
func Example() {
	server, client, err := linktest.Pipe(linktest.PipeConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	e, err := engine.New(engine.Config{Name: "echo", CPU: engine.Unpinned})
	if err != nil {
		log.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	echo := engine.HandlerFunc(func(p *engine.Port, v *wire.Vesicle) {
		// Where the link is full, leave the request where it is and come back.
		if errors.Is(p.Reply(v, v.Payload), link.ErrFull) {
			p.Retry()
		}
	})
	if _, err := e.Add(server, echo, engine.CloseLink()); err != nil {
		log.Fatal(err)
	}

	var call [1]wire.Vesicle
	if _, err := client.Claim(call[:], 5); err != nil {
		log.Fatal(err)
	}
	copy(call[0].Payload, "hello")
	call[0].Header = wire.Header{Kind: wire.KindRequest, Correlation: 1}
	if err := client.Commit(call[:]); err != nil {
		log.Fatal(err)
	}
	if err := client.Flush(); err != nil {
		log.Fatal(err)
	}

	for {
		n, err := client.Poll(call[:])
		if err != nil {
			log.Fatal(err)
		}
		if n == 1 {
			break
		}
		runtime.Gosched()
	}
	fmt.Printf("reply %d: %s\n", call[0].Header.Correlation, call[0].Payload)
	if err := client.Release(1); err != nil {
		log.Fatal(err)
	}
	if err := e.Drain(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: reply 1: hello
}

// A timer is a field of what it times and is started without allocating.
func ExampleEngine_StartTimer() {
	e, err := engine.New(engine.Config{CPU: engine.Unpinned})
	if err != nil {
		log.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	rang := make(chan string)
	timer := engine.Timer{
		Value: "three ticks",
		Func:  func(t *engine.Timer) { rang <- t.Value.(string) },
	}
	// Timers belong to the engine's thread.
	if err := e.Do(context.Background(), func() { e.StartTimer(&timer, 3*engine.TimerResolution) }); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-rang)
	if err := e.Stop(); err != nil {
		log.Fatal(err)
	}
	// Output: three ticks
}
