// Package afxdp carries vesicles in UDP datagrams, over AF_XDP sockets past the
// kernel's network stack, and over ordinary UDP sockets where those can't be
// had. Both speak the same format, so that either end may use either.
//
// # Datagrams
//
// A datagram begins with 32 bytes, little-endian:
//
//	 0  magic    u16  0x5643
//	 2  version  u8   1
//	 3  type     u8   1 data, 2 ack, 3 ask (an ack that wants one), 4 hello, 5 bye
//	 4  session  u32  the sender's, not 0, taken at random for each connection
//	 8  peer     u32  the receiver's session; 0 in a hello that doesn't know it
//	12  sequence u32  of a data datagram, counted from 0; else the next one's
//	16  next     u32  the first sequence number that the sender lacks
//	20  limit    u32  the first sequence number that it has no place for
//	24  here     u64  bit i: the datagram next+1+i has arrived
//
// Data goes on with one or more vesicles, each a header of package wire and its
// payload, filled up with zeros to a multiple of four bytes. A hello goes on
// with flags u8 (1: reliable, 2: an answer is wanted, 4: a challenge, 8: no
// segmentation offload on the way to the sender), three zero bytes, the most
// bytes of a datagram that the sender takes u32. In place of here
// it has a cookie: a challenge brings one, and who repeats its hello with it has
// shown that datagrams reach it at its address. A listener makes no connection,
// and a connection is not ended by a peer that starts anew, before that.
//
// next, limit and here count in reliable mode alone. There every data datagram
// is kept and repeated until the peer has it, and handed out in order. Without
// it datagrams may be lost, repeated and overtake each other, and a vesicle
// shares the fate of its datagram; [link.Info] says so. Neither mode proves who
// the peer is, nor hides anything from the network: the sessions keep apart
// connections, and out those who can't read along.
package afxdp
