// Package forward passes vesicles on from callers to those who serve them, by
// fingerprint: a gateway puts the services of a device among a host's, and a
// node those of its neighbours among its own. Neither side knows.
//
//	callers' ports                    targets' ports
//	──────────────  Forwarder         ──────────────
//	request    ───► route by fingerprint, own correlation, hops−1 ───►
//	           ◄─── caller's correlation, hops−1                  ◄─── reply
//
// A [Forwarder] belongs to one engine, whose links it joins: everything happens
// on that thread, without locks, and a vesicle is copied once, from the link it
// came by into the one it leaves by. Pieces of long vesicles pass as they come;
// nothing is put together here. Steady state allocates nothing.
//
// Every call that was accepted ends, for its caller, exactly once: by its
// answer, or with a status of the forwarder's own when its target is lost (peer
// gone), its time is up, or its way is too long. Until then it has a place in a
// table of bounded size; whoever comes when that is full is told so (resource
// exhausted). What arrives for a call that is over is dropped and counted.
//
// Nothing is queued. Where the next link is full, the vesicle stays where it
// came from, and its sender finds that link full in turn. Because this holds up
// everything behind it, it ends with [Options.Patience]: a caller's request is
// refused, a caller that does not read is disconnected.
package forward
