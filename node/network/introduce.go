package network

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// A link between two nodes begins with one request on the operations channel, by
// which whoever has dialed says what the link is for, and one answer. What
// follows belongs to that purpose.
//
//	0 version u8 (1)   1 purpose u8   2 length u8   3 name
//
// The answer is a reply (purposeList: stream items, then a reply), or an error.
const (
	introduceVersion = 1
	introduceHead    = 3
	// introduceFingerprint is the first 8 bytes of SHA-256 of
	// "cell node introduce v1", little endian; a test computes it.
	introduceFingerprint = 0x499453fbde41d025
	// introduceCorrelation is that of the request: it is the link's first.
	introduceCorrelation = 1
)

// purpose is what a link between nodes is for.
type purpose uint8

const (
	// purposeCell: calls of the cell of that name.
	purposeCell purpose = iota + 1
	// purposeGossip: pheromones, both ways, as events on the discovery channel.
	purposeGossip
	// purposeList: the list of services that the beacon has no room for.
	purposeList
	// purposeAlive: to find out whether anybody answers.
	purposeAlive

	purposeLast = purposeAlive
)

// errIntroduction: a peer has begun a link with something else.
var errIntroduction = errors.New("network: not an introduction")

// errAnswered: the peer has answered, by a refusal.
var errAnswered = errors.New("network: refused")

func appendIntroduction(to []byte, p purpose, name string) []byte {
	return append(append(to, introduceVersion, byte(p), byte(len(name))), name...)
}

// parseIntroduction reads what appendIntroduction wrote, believing nothing.
func parseIntroduction(h *wire.Header, b []byte) (p purpose, name string, err error) {
	if h.Kind != wire.KindRequest || h.Channel != wire.ChannelOperations || h.Fingerprint != introduceFingerprint {
		return 0, "", fmt.Errorf("%w: %v with fingerprint %x on channel %d; does the peer run a node of this version?", errIntroduction, h.Kind, h.Fingerprint, h.Channel)
	}
	if len(b) < introduceHead || b[0] != introduceVersion || len(b) != introduceHead+int(b[2]) {
		return 0, "", fmt.Errorf("%w: %d bytes of another form", errIntroduction, len(b))
	}
	p, name = purpose(b[1]), string(b[introduceHead:])
	if p == 0 || p > purposeLast {
		return 0, "", fmt.Errorf("%w: purpose %d is not known here", errIntroduction, p)
	}
	if p == purposeCell {
		err = uds.ValidateName(name)
	} else if name != "" {
		err = fmt.Errorf("%w: a name where none belongs", errIntroduction)
	}
	return p, name, err
}

// introduce says what a link that was dialed is for, and waits for the answer,
// whose items are given to each; nil where none are expected.
func introduce(ctx context.Context, l link.Link, p purpose, name string, each func([]byte) error) error {
	h := wire.Header{Kind: wire.KindRequest, Channel: wire.ChannelOperations, Fingerprint: introduceFingerprint, Correlation: introduceCorrelation, Hops: 1}
	// A peer that has no place for another link refuses before it has heard, and
	// may have closed it by now; its words are there all the same.
	if err := say(ctx, l, h, appendIntroduction(nil, p, name)); err != nil && !errors.Is(err, link.ErrPeerGone) {
		return err
	}
	for {
		var done bool
		err := hear(ctx, l, func(v *wire.Vesicle) error {
			if v.Header.Fingerprint != introduceFingerprint || v.Header.Correlation != introduceCorrelation {
				return fmt.Errorf("%w: an answer to something else", errIntroduction)
			}
			switch v.Header.Kind {
			case wire.KindReply:
				done = true
				return nil
			case wire.KindStreamItem:
				if each != nil {
					return each(v.Payload)
				}
			case wire.KindError:
				e, err := wire.DecodeError(v.Payload)
				if err != nil {
					return err
				}
				return fmt.Errorf("%w: %w", errAnswered, rpc.Errorf(e.Status, "the other node: %s", printable(e.Message)))
			}
			return fmt.Errorf("%w: answered with %v", errIntroduction, v.Header.Kind)
		})
		if err != nil || done {
			return err
		}
	}
}

// answer says yes to an introduction, or why not.
func answer(ctx context.Context, l link.Link, correlation uint32, why error) error {
	h := wire.Header{Kind: wire.KindReply, Channel: wire.ChannelOperations, Fingerprint: introduceFingerprint, Correlation: correlation, Hops: 1}
	if why == nil {
		return say(ctx, l, h, nil)
	}
	h.Kind = wire.KindError
	text := why.Error()
	e := wire.ErrorPayload{Status: rpc.StatusOf(why), Message: text[:min(len(text), mostWords)]}
	return say(ctx, l, h, e.Append(nil))
}

// mostWords bounds the text of a refusal, in bytes.
const mostWords = 1024

// printable is a peer's text without what commands a terminal.
func printable(s string) string {
	b := []byte(s[:min(len(s), mostWords)])
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

// pace is how long to wait before looking again where no descriptor tells.
const pace = time.Millisecond

// say sends one vesicle, waiting for room.
func say(ctx context.Context, l link.Link, h wire.Header, payload []byte) error {
	var out [1]wire.Vesicle
	for {
		_, err := l.Claim(out[:], len(payload))
		if err == nil {
			break
		}
		if !errors.Is(err, link.ErrFull) || !rest(ctx) {
			return errors.Join(err, context.Cause(ctx))
		}
	}
	copy(out[0].Payload, payload)
	out[0].Header = h
	err := l.Commit(out[:])
	for err == nil {
		if err = l.Flush(); err == nil {
			return nil
		}
		if errors.Is(err, link.ErrFull) && rest(ctx) {
			err = nil
		}
	}
	return errors.Join(err, context.Cause(ctx))
}

// rest waits for a moment and reports whether ctx lasts.
func rest(ctx context.Context) bool {
	select {
	case <-time.After(pace):
		return true
	case <-ctx.Done():
		return false
	}
}

// hear waits for one vesicle and gives it to take before it is released.
func hear(ctx context.Context, l link.Link, take func(*wire.Vesicle) error) error {
	var in [1]wire.Vesicle
	var fds [8]int
	for {
		n, err := l.Poll(in[:])
		if err != nil {
			return err
		}
		if n == 1 {
			return errors.Join(take(&in[0]), l.Release(1))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if l.Arm() {
			await(l.WaitFDs(fds[:0]))
		}
		l.Disarm()
	}
}

// lookEvery is how often who waits for a peer looks whether it is still to wait.
const lookEvery = 100 * time.Millisecond

// await waits until one of the descriptors is readable, for a moment.
func await(fds []int) {
	var all [8]unix.PollFd
	n := 0
	for ; n < min(len(fds), len(all)); n++ {
		if fds[n] >= 0 && fds[n] <= math.MaxInt32 {
			all[n] = unix.PollFd{Fd: int32(fds[n]), Events: unix.POLLIN}
		}
	}
	_, _ = unix.Poll(all[:n], int(lookEvery.Milliseconds()))
}
