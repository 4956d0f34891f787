// Package raft is an example of replicated services; see its README.
package raft
