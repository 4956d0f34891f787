package serial

import "github.com/cell-runtime/cell/link"

// Vanish ends what this side does, as SIGKILL would, without a farewell.
func (c *Conn) Vanish() {
	c.line.mu.Lock()
	c.line.gone = link.ErrClosed
	c.line.mu.Unlock()
	if c.window != nil {
		c.window.shutdown()
		<-c.window.done
	}
}
