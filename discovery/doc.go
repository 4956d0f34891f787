// Package discovery finds the nodes of a cluster and their services without a
// registry. Nodes tell each other of themselves in pheromones, which are small
// signed datagrams; a client asks for a service by name or fingerprint.
//
// A pheromone (discovery beacon) says who a node is, which services it has and
// where it can be reached. It is announced at start and on every change, given
// to whoever asks, and otherwise repeated seldom. That a node has died is
// noticed by probes in the manner of SWIM (Das, Gupta, Motivala, 2002), shared
// out so that every node is probed once a period whatever the size of the
// cluster.
//
// Nothing in a datagram is believed before the checks of [Opener.Open], which
// begin with the cheap ones. docs/DISCOVERY.md has the format and the protocol.
package discovery
