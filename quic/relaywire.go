package quic

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// The protocol of relaying, version 2; see protocol.go for the streams. On the
// port of a pair's side, where T(x) is the first 16 bytes of HMAC-SHA256 of x with
// the side's token as key:
//
//	node:  0 "RLY", T("bind")     I am here, show me a challenge
//	relay: 0 "RLQ", challenge 16
//	node:  0 "RLP", T(challenge)  so I am where the challenge went
//
// The token itself is never sent there, so that who reads along can't move a node.
// A challenge is the first 16 bytes of HMAC-SHA256, with a secret of the pair's, of
// the address to which it goes and of the time, in steps; the relay keeps nothing
// until it is answered.
const (
	relayVersion = 2
	// challengeFor is the step of time in challenges; the last two are good.
	challengeFor = 10 * time.Second
	relayTagSize = 16
	bindSize     = 4 + relayTagSize
	passHead     = 2 + len(relayToken{}) + 1
)

// The first bytes of streams and packets. What begins with two bits 0 is no
// packet of QUIC's (RFC 9443).
var (
	waitMagic      = [4]byte{'R', 'L', 'Y', 'W'}
	callMagic      = [4]byte{'R', 'L', 'Y', 'C'}
	bindMagic      = [4]byte{0, 'R', 'L', 'Y'}
	challengeMagic = [4]byte{0, 'R', 'L', 'Q'}
	proofMagic     = [4]byte{0, 'R', 'L', 'P'}
	punchOnly      = []byte{0, 'P', 'C', 'H'}
)

type (
	relayToken [16]byte
	relayTag   [relayTagSize]byte
)

func tagOf(key, message []byte) relayTag {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return relayTag(h.Sum(nil))
}

// bind is what a node says to be challenged, and proof its answer.
func (t relayToken) bind() relayTag                    { return tagOf(t[:], []byte("bind")) }
func (t relayToken) proof(challenge relayTag) relayTag { return tagOf(t[:], challenge[:]) }

// challenge is what is sent to an address.
func (p *relayPair) challenge(to netip.AddrPort, now time.Time) relayTag {
	b, _ := to.MarshalBinary() // never fails
	return tagOf(p.secret[:], binary.LittleEndian.AppendUint64(b, uint64(now.UnixNano()/int64(challengeFor))))
}

func relayWord(magic [4]byte, tag relayTag) []byte {
	return append(magic[:len(magic):len(magic)], tag[:]...)
}

// parseRelayWord is the inverse of relayWord.
func parseRelayWord(b []byte) (magic [4]byte, tag relayTag, ok bool) {
	if len(b) != bindSize {
		return magic, tag, false
	}
	return [4]byte(b[:4]), relayTag(b[4:]), true
}

func (t relayTag) equal(other relayTag) bool { return hmac.Equal(t[:], other[:]) }

// pass is what lets a node through a relay, to one other.
type pass struct {
	port  uint16
	token relayToken
	other string // the other's address as the relay sees it; empty if it may not be told
}

func (p pass) append(b []byte) []byte {
	b = append(b, byte(p.port), byte(p.port>>8))
	b = append(b, p.token[:]...)
	return append(append(b, byte(len(p.other))), p.other...)
}

func readPass(r io.Reader) (p pass, err error) {
	var b [passHead]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return p, err
	}
	other := make([]byte, b[passHead-1])
	if _, err := io.ReadFull(r, other); err != nil {
		return p, err
	}
	p.port, p.other = uint16(b[0])|uint16(b[1])<<8, string(other)
	copy(p.token[:], b[2:])
	return p, nil
}

func relayHead(magic [4]byte, punch bool) []byte {
	b := make([]byte, openingSize)
	copy(b, magic[:])
	b[4] = relayVersion
	if punch {
		b[5] = 1
	}
	return b
}

// readVerdict reads the answer to a request for relaying.
func readVerdict(ctx context.Context, s *quicgo.Stream) error {
	stop := context.AfterFunc(ctx, func() { s.CancelRead(streamCancel) })
	defer stop()
	var b [answerSize]byte
	if _, err := io.ReadFull(s, b[:]); err != nil {
		return err
	}
	text := make([]byte, b[1])
	if _, err := io.ReadFull(s, text); err != nil {
		return err
	}
	if b[0] != statusAccepted {
		return fmt.Errorf("%w: %s", ErrRefused, printable(text))
	}
	return nil
}
