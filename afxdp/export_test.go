package afxdp

// Vanish ends c as the death of its process would: without a word.
func (c *Conn) Vanish() error {
	c.mu.Lock()
	c.vanished = true
	c.wake()
	c.mu.Unlock()
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.medium.close()
}

// SendRaw sends arbitrary bytes to c's peer.
func (c *Conn) SendRaw(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.medium.control(b)
}

// LacksSpans says whether this kernel has no packets beyond a page.
func LacksSpans() bool {
	older, known := olderThan(kernelRelease(), 6, 6)
	return older || !known
}

// Sessions returns those that c's datagrams carry.
func (c *Conn) Sessions() (own, peer uint32) { return c.session, c.peer }
