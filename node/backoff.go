package node

import (
	"math/rand/v2"
	"time"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/node/config"
)

// backoff decides whether and when a cell that ended is started again.
type backoff struct {
	pause time.Duration // before the next start; 0: none was needed yet
	tries int           // starts in a row that did not last
}

// next returns how long to wait before the cell is started again; ok is false
// when it isn't. why says so for people.
func (b *backoff) next(c *config.Cell, exit capsid.Exit, lasted time.Duration) (wait time.Duration, why string, ok bool) {
	least, most := time.Duration(c.BackoffMin), time.Duration(c.BackoffMax)
	switch {
	case c.Restart == "never":
		return 0, "its restart policy is never", false
	case c.Restart == "failure" && exit.Success():
		return 0, "it ended by itself, and its restart policy is failure", false
	}
	if lasted >= most {
		*b = backoff{} // it was well
	}
	b.tries++
	if c.MaxRestarts > 0 && b.tries > c.MaxRestarts {
		return 0, "it failed too often in a row", false
	}
	if b.pause == 0 {
		b.pause = least
	}
	wait = b.pause/2 + rand.N(b.pause/2+1)
	b.pause = min(2*b.pause, most)
	return wait, "", true
}
