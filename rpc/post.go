package rpc

import (
	"errors"
	"time"

	"github.com/cell-runtime/cell/engine"
)

// postPace is how long to wait before a full command queue is tried again.
const postPace = 50 * time.Microsecond

// post has f run on the engine's thread. Where the engine's command queue is
// full a goroutine tries on: the caller may be that very thread. What is sent
// meanwhile is bounded by the outbox, not by this.
func post(e *engine.Engine, f func()) {
	if !errors.Is(e.Post(f), engine.ErrBusy) {
		return // an engine that ended tells its ports so
	}
	go func() {
		for errors.Is(e.Post(f), engine.ErrBusy) {
			time.Sleep(postPace)
		}
	}()
}
