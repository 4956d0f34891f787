// Package xsk has AF_XDP sockets over the kernel's own interface
// (Documentation/networking/af_xdp.rst), without libxdp and without cgo: one
// file for each of its concepts.
//
// A [Umem] is memory that is divided into frames of equal size. Frames travel
// between this process and the kernel as addresses, offsets into that memory,
// through four rings, each with one writer and one reader:
//
//	            fill ──────► kernel ──────► rx
//	(frames to receive into)         (frames with a packet)
//
//	              tx ──────► kernel ──────► completion
//	(frames with a packet)           (frames that were sent)
//
// A [Socket] binds its rings to one queue of one interface; a [QueueSet] binds
// several to the queues of an interface, over one Umem. Which packets arrive is
// decided by an XDP program: see package ebpf. Who owns a frame is the user's
// to keep: nothing here checks that an address is given to only one ring.
//
// The methods of a ring belong to one goroutine at a time.
package xsk
