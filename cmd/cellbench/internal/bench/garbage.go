package bench

import (
	"time"

	"github.com/cell-runtime/cell/sched"
)

// litter makes garbage in this process, perSecond bytes each second, until
// stop is closed, to show what a collector at work does to a spinning thread
// beside it. It keeps 16 MiB alive, so that there is something to mark.
func litter(perSecond int, stop <-chan struct{}) {
	const piece = 4 << 10
	alive := make([][]byte, 4096)
	begin, made := sched.Now(), 0
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		due := int(float64(sched.Now()-begin) / 1e9 * float64(perSecond))
		if made >= due {
			time.Sleep(time.Millisecond)
			continue
		}
		alive[i%len(alive)] = make([]byte, piece)
		made += piece
	}
}
