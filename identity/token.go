package identity

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Grant is the public part of a [Token]: the cluster's word that whoever holds
// the delegate's private key may admit nodes for a time.
type Grant struct {
	Cluster   ClusterID
	Delegate  ID     // the token's public key
	Serial    uint64 // by which the token is revoked
	NotBefore time.Time
	NotAfter  time.Time
	// Uses is how many nodes may join; 0 for any number. Only the holder of
	// the cluster's key can count, so a membership under a grant that is
	// counted is good for being enrolled and for nothing else.
	Uses uint32

	signature [64]byte
}

// grantBody is the length of a grant without version, cluster and delegate,
// which stand elsewhere in what contains it.
const grantBody = 8 + 8 + 8 + 4 + 64

func (g *Grant) signed() []byte {
	b := append([]byte{statementVersion}, g.Cluster[:]...)
	b = append(b, g.Delegate[:]...)
	return g.appendTerms(b)
}

func (g *Grant) appendTerms(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, g.Serial)
	b = appendTime(b, g.NotBefore)
	b = appendTime(b, g.NotAfter)
	return binary.LittleEndian.AppendUint32(b, g.Uses)
}

func (g *Grant) appendBody(b []byte) []byte { return append(g.appendTerms(b), g.signature[:]...) }

func (g *Grant) readBody(f *fields) {
	g.Serial, g.NotBefore, g.NotAfter, g.Uses = f.uint64(), f.time(), f.time(), f.uint32()
	g.signature = f.signature()
}

// verify returns nil if the cluster's key signed the grant and it is valid now.
func (g *Grant) verify(now time.Time) error {
	if !Verify(ID(g.Cluster), domainGrant, g.signed(), g.signature[:]) {
		return fmt.Errorf("%w: the token was not made by the key of %v", ErrStatement, g.Cluster)
	}
	return checkTimes("the token", g.NotBefore, g.NotAfter, now)
}

// Token lets nodes join a cluster. It carries the cluster's id and a key of its
// own, for which the cluster's key has vouched until a certain time: so a node
// that has nothing but a token can prove to any other member that it may be
// there, while no holder of the cluster's key need be online. Such a membership
// ends when the token expires or is revoked; it lasts longer once the holder of
// the cluster's key has confirmed it (see [Issuer]).
//
// A token is a secret: whoever has it can join. One that is counted
// ([Grant.Uses]) admits nobody by itself, and must be shown to an [Issuer].
type Token struct {
	Grant    Grant
	delegate *Key
}

// ParseToken reads what [Token.Text] wrote and checks that the cluster's key
// has signed it. Whether it is still valid is not checked: that is for the
// peers, whose clocks count. Errors: [ErrText], [ErrStatement], [ErrWeak].
func ParseToken(text string) (*Token, error) {
	content, err := decodeText(textToken, "a token", text)
	if err != nil {
		return nil, err
	}
	t, f := &Token{}, newFields(content)
	version := f.byte()
	t.Grant.Cluster = f.key()
	t.Grant.readBody(f)
	t.delegate = FromSeed(f.key())
	t.Grant.Delegate = t.delegate.ID()
	if !f.done() || version != statementVersion {
		return nil, fmt.Errorf("%w: a token of version %d and %d bytes; this program knows version %d", ErrText, version, len(content), statementVersion)
	}
	if err := ID(t.Grant.Cluster).Check(); err != nil {
		return nil, err
	}
	if !Verify(ID(t.Grant.Cluster), domainGrant, t.Grant.signed(), t.Grant.signature[:]) {
		return nil, fmt.Errorf("%w: the token was not made by the key of %v", ErrStatement, t.Grant.Cluster)
	}
	return t, nil
}

// Text returns the token as people copy it, which is secret.
func (t *Token) Text() string {
	b := append([]byte{statementVersion}, t.Grant.Cluster[:]...)
	b = t.Grant.appendBody(b)
	seed := t.delegate.seed()
	return encodeText(textToken, append(b, seed[:]...))
}

// String says which token it is and shows nothing secret.
func (t *Token) String() string {
	return fmt.Sprintf("token %016x of %v", t.Grant.Serial, t.Grant.Cluster)
}

// GoString is String.
func (t *Token) GoString() string { return t.String() }

// Join makes node a member for as long as the token is valid.
func (t *Token) Join(node ID, now time.Time) (*Membership, error) {
	if err := node.Check(); err != nil {
		return nil, err
	}
	if err := checkTimes("the token", t.Grant.NotBefore, t.Grant.NotAfter, now); err != nil {
		return nil, fmt.Errorf("%w; ask for a new token", err)
	}
	grant := t.Grant
	m := &Membership{
		Cluster: grant.Cluster, Node: node, Serial: grant.Serial,
		NotBefore: seconds(now), NotAfter: grant.NotAfter, Grant: &grant,
	}
	m.signature = [64]byte(t.delegate.Sign(domainMembership, m.signed()))
	return m, nil
}
