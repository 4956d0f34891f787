// Package identity says who a node is and whom it trusts.
//
// A node is an Ed25519 key (RFC 8032), made at its first start and kept in a
// file that only its user may read. The public half is the node's [ID]: there
// is no authority to ask for a name, and nothing to configure before two nodes
// can tell each other apart.
//
// Whether a peer is let in is decided by a [Trust], on grounds that may be
// combined:
//
//   - an allow list of IDs;
//   - a cluster key: a [Token] lets a node join, and a [Membership] signed on
//     the cluster's behalf is its proof from then on;
//   - an organisation's X.509 authority that has signed a certificate for the
//     node's key.
//
// A revoked ID, or one that came in by a revoked token, is refused whatever
// else speaks for it. A key is replaced without downtime by a [Succession]: the
// old key vouches for the new one, and both are accepted for a time.
//
// [ServerTLS] and [ClientTLS] make configurations for mutual TLS 1.3 in which
// the peer's key is its identity. Everything else that a node signs goes
// through [Key.Sign], which keeps one purpose's signatures from passing for
// another's.
//
// docs/IDENTITY.md has the threat model.
package identity
