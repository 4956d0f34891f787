// Package asavie has github.com/asavie/xdp carry vesicles in place of Cell's
// own AF_XDP sockets, so that the two can be compared: who imports it may say
// "asavie" in afxdp.XDPOptions.Backend.
//
//	import _ "github.com/cell-runtime/cell/afxdp/asavie"
//
// The library (v0.3.3, the last one, of 2021) is used in the one way that was
// found to be safe. Its programs are never attached: they replace other
// owners'. Its list of free frames is never asked: it hands out frames that are
// still being read, and searches all of them. Each call happens under the
// connection's lock. Packets are copied, which lets frames be counted back in
// the order in which they were sent: the library does not say which they are.
//
// What it can't do and somebody may count on is refused, with the reason: more
// than one queue, zero-copy, packets over several frames, metadata, busy
// polling, a socket that was handed over, an interface for the second time in
// one process (it leaves its rings mapped, so the kernel keeps the queue), and
// processors whose loads and stores the hardware may reorder (it has no
// barriers). What only costs time is left out, and Info().Why says so:
// need-wakeup, headroom before what is received, huge pages.
package asavie
