package single_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
	"github.com/cell-runtime/cell/consensus/single"
)

func TestConformance(t *testing.T) {
	consensustest.Run(t, func(t *testing.T) *consensustest.Cluster {
		h := single.New("alone")
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
		return &consensustest.Cluster{Hosts: []consensus.Host{h}}
	})
}

func TestRefusesMoreMembers(t *testing.T) {
	h := single.New("alone")
	defer h.Close()
	_, err := h.Start(context.Background(), consensus.GroupConfig{
		Name: "g", Replica: 1, Machines: consensustest.Memory(0),
		Members: map[consensus.ReplicaID]consensus.NodeID{1: "alone", 2: "other"},
	})
	if !errors.Is(err, consensus.ErrConfig) {
		t.Errorf("two members: %v", err)
	}
}
