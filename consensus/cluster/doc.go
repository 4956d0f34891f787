// Package cluster makes nodes that trust each other into a cluster by
// themselves, and keeps its groups: which there are, who has them, who leads.
//
// The first nodes found the cluster when enough of them have met ([Options]
// Nodes), whoever is started first; those that come later join it. From then on
// a group of all nodes, whose machine is a kv store, has the cluster's tables:
//
//	nodes/ID       where a node is, and its number in that group
//	groups/NAME    a group: its replicas, and what is to change
//
// Every node looks at the tables and starts and stops its replicas. Whoever
// leads a group does to it what the tables say: adds, promotes, removes members.
//
// docs/CONSENSUS.md says what is promised.
package cluster
