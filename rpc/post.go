package rpc

import (
	"errors"
	"time"

	"github.com/cell-runtime/cell/engine"
)

// postPace is how long to wait before a full command queue is tried again.
const postPace = 50 * time.Microsecond

// post has f run on the engine's thread. Where the engine's command queue is
// full it waits, on the goroutine of whoever has something to send, which is
// backpressure. An engine that ends first tells its ports so.
func post(e *engine.Engine, f func()) {
	for errors.Is(e.Post(f), engine.ErrBusy) {
		time.Sleep(postPace)
	}
}
