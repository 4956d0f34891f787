package ring

// Fetch asks for the cache line in which the next publication begins, in order
// to write to it: for who is about to make a message of some ten nanoseconds'
// work. The reader waits for that line and has it in its core; asked for now, it
// is on its way while the message is made, and not only once that is written.
//
// Not earlier either. The reader looks at the line once a pause, by which it
// takes it back, and two cores that take a line from each other have it less
// often than one of them that asks in time. Measured with round trips between
// near cores: asked for as soon as the request was seen 143 ns, with the request
// in hand 137, with the answer in hand 157, never 158.
//
// It waits for nothing and changes nothing.
func (p *Producer) Fetch() { p.data.prefetch(p.flushed&p.mask, line) }
