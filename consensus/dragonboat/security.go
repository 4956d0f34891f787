//go:build !nodragonboat && !s390x

package dragonboat

import (
	"crypto/tls"
	"fmt"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/identity"
)

// protocol is agreed on by ALPN, so that no other service of the same keys is
// reached by mistake.
const protocol = "cell-raft/1"

// NodeKeys is the [Security] of node keys: a node's id is the text of its
// [identity.ID], and who may connect is decided by trust, at each handshake.
func NodeKeys(c *identity.Credentials, trust *identity.Trust) Security { return nodeKeys{c, trust} }

type nodeKeys struct {
	c     *identity.Credentials
	trust *identity.Trust
}

func (k nodeKeys) Server() *tls.Config { return identity.ServerTLS(k.c, k.trust, protocol) }

func (k nodeKeys) Client(peer consensus.NodeID) (*tls.Config, error) {
	if peer == "" {
		return identity.ClientTLS(k.c, k.trust, identity.ID{}, protocol), nil
	}
	id, err := identity.ParseID(string(peer))
	if err != nil {
		return nil, fmt.Errorf("%w: a node's id is that of its key: %w", consensus.ErrConfig, err)
	}
	return identity.ClientTLS(k.c, k.trust, id, protocol), nil
}

func (k nodeKeys) Peer(cs tls.ConnectionState) (consensus.NodeID, error) {
	p, err := k.trust.CheckConnection(cs, protocol)
	if err != nil {
		return "", err
	}
	return consensus.NodeID(p.ID.String()), nil
}
