package cluster

import (
	"context"

	"github.com/cell-runtime/cell/consensus"
)

// fixed is a host of which only the name is used.
type fixed consensus.NodeID

func (f fixed) Node() consensus.NodeID              { return consensus.NodeID(f) }
func (fixed) Groups() []consensus.Group             { return nil }
func (fixed) Group(string) (consensus.Group, error) { return nil, consensus.ErrNoGroup }
func (fixed) Stop(string) error                     { return nil }
func (fixed) Remove(context.Context, string) error  { return nil }
func (fixed) Close() error                          { return nil }
func (fixed) Sweep(context.Context, func(consensus.GroupID, consensus.ReplicaID) bool) (int, error) {
	return 0, nil
}
func (fixed) Start(context.Context, consensus.GroupConfig) (consensus.Group, error) {
	return nil, consensus.ErrConfig
}
func (fixed) Ask(context.Context, string, []byte) (consensus.NodeID, []byte, error) {
	return "", nil, consensus.ErrNoLeader
}
