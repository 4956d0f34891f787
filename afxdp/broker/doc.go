// Package broker hands AF_XDP sockets to processes without capabilities. A
// privileged process (it needs CAP_NET_RAW, CAP_BPF and CAP_NET_ADMIN) makes the
// socket, has the program redirect what comes to one UDP port on one queue to
// it, and passes the descriptor over a unix socket. The other process registers
// its own memory and owns the queue, with no capability at all: [Receive], and
// xsk.Open with Config.FD.
//
// [Broker.Run] serves processes on a socket in the file system (cellnode broker
// does that), [Dial] asks there, and so does afxdp.Dial with Options.XDP.Broker.
//
// What is handed over is more than the queue. The kernel looks at capabilities
// when such a socket is made and not when it is bound: who has it may bind it to
// any interface of the network namespace that has a queue free, and send whatever
// frames there, with any address. It receives from the one queue alone. And a
// process that keeps the socket after it has closed its connection gets nothing
// more, but keeps the queue from others until it ends. So give sockets to
// programs that may send on that network, or run the broker in a network
// namespace that has nothing else.
//
// The connection stays open while the queue is used. When it ends, however it
// ends, the queue is free again; when the broker ends, nothing stays attached.
//
// A request is 8 bytes, little-endian: magic u32 "CEXS", queue u32. The answer
// is one message: magic u32, status u32 (0: granted), interface index u32, queue
// u32, port u16, mode u8 (package ebpf's), flags u8 (1: the program takes packets
// in several buffers), with the descriptor (SCM_RIGHTS); or, with another status,
// the reason as text behind these 20 bytes.
package broker
