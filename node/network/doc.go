// Package network joins a node to others: it tells them of its cells, finds
// theirs, and leads callers of this host to them and callers of others to its
// own.
//
//	caller ── ring ──► node ── QUIC ──► node ── ring ──► cell
//	        remote/NAME.sock       introduced by name
//
// Everything rests on the node's identity: without a cluster to belong to, or
// anybody on its allow list, no socket is opened. Names that others serve appear
// as sockets in the directory "remote" of the runtime directory, where uds.Dial
// looks after its own. Calls are forwarded by fingerprint (rpc/forward), each hop
// takes one off the header's count, and what came from another node is led to
// cells of this one alone, so no call goes in a circle.
package network
