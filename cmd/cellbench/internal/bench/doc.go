// Package bench measures: it starts a peer process, exchanges vesicles with it
// over the link in question, and between the rounds measures what the same two
// cores can do without any of Cell's code.
//
// A measurement is a sequence of short rounds. Each round connects anew, so
// that the placement of memory, which can change a figure by a tenth, is drawn
// again every time, and is followed at once by a round of its limit, because
// hosts drift: only what lies close in time may be compared.
//
// The peer is the same program, started with [PeerArg]. It reads one [job] a
// line from its standard input, does it, and answers in one line on its
// standard output; it ends when its input does.
package bench
