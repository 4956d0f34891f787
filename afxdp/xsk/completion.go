package xsk

// Completion is the ring through which frames come back that were sent, or
// given up by the kernel. They come in the order in which they were done with.
type Completion struct {
	ring
	entries []uint64
}

// Take fills in addresses with frames that are the process's again, and returns
// how many. An address is the one that was given to [Tx.Put].
func (c *Completion) Take(addresses []uint64) int {
	n := c.there(uint32(len(addresses)))
	for i := range addresses[:n] {
		addresses[i] = c.entries[(c.own+uint32(i))&c.mask]
	}
	if n > 0 {
		c.giveBack(n)
	}
	return int(n)
}
