package peer

import (
	"sync"
	"sync/atomic"
)

// Parallel keeps Window calls under way for products whose calls block: so
// many goroutines, each with a call of its own made by newCall, go on until
// more says no or a call fails. It returns the number of calls that succeeded.
func Parallel(newCall func() (call func() error, err error), more More) (uint64, error) {
	calls := make([]func() error, Window)
	for i := range calls {
		var err error
		if calls[i], err = newCall(); err != nil {
			return 0, err
		}
	}
	var answered atomic.Uint64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for _, call := range calls {
		all.Go(func() {
			for failed.Load() == nil {
				if err := call(); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				if !more(answered.Add(1)) {
					return
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return answered.Load(), *err
	}
	return answered.Load(), nil
}
