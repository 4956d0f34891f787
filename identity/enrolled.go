package identity

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// ErrPlaceTaken: a key vouches for another one, and the place that it came by
// has as many keys as it may.
var ErrPlaceTaken = errors.New("identity: no place for another key")

// register is what an [Issuer] remembers of whom it has admitted, the file
// "enrolled". Without it a node that was admitted once could vouch for any
// number of others: what the issuer gives to a successor stands by itself, and
// lets that vouch in turn.
//
// So a node has one place, and a place two keys at most: the one that has it,
// and the one from which it took it over, as long as that may still be a member.
// A key hands its place on once; the next one does when the former has ended or
// was revoked.
type register []place

// place is a line: serial number, node, until when the line matters, and, where
// it tells of a succession, whose place the node has taken. Lines without that
// are the uses of counted tokens.
type place struct {
	serial   uint64
	node     ID
	until    time.Time
	formerly ID // zero in a use of a token
}

func parsePlace(words []string) (p place, err error) {
	if len(words) != 3 && len(words) != 4 {
		return p, fmt.Errorf("%w: serial, node, end, and perhaps a former node are expected", ErrText)
	}
	errs := make([]error, 4)
	p.serial, errs[0] = strconv.ParseUint(words[0], 16, 64)
	p.node, errs[1] = ParseID(words[1])
	p.until, errs[2] = time.Parse(time.RFC3339, words[2])
	if len(words) == 4 {
		p.formerly, errs[3] = ParseID(words[3])
	}
	if err := errors.Join(errs...); err != nil {
		return p, fmt.Errorf("%w: %w", ErrText, err)
	}
	return p, nil
}

func (p place) append(b []byte) []byte {
	b = fmt.Appendf(b, "%016x %v %s", p.serial, p.node, stamp(p.until))
	if !p.formerly.IsZero() {
		b = fmt.Appendf(b, " %v", p.formerly)
	}
	return append(b, '\n')
}

// readRegister reads the file, without what has become meaningless: lines whose
// time has come, and those of tokens that were revoked.
func readRegister(d *dir, now time.Time, r *rules) (all register, err error) {
	data, err := d.readIfThere(fileEnrolled)
	if err != nil {
		return nil, err
	}
	err = eachLine(data, func(words []string) error {
		p, err := parsePlace(words)
		if err == nil && now.Before(p.until) && !r.isSerialRevoked(p.serial) {
			all = append(all, p)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.name(fileEnrolled), err)
	}
	return all, nil
}

func (r register) write(d *dir) error {
	var b []byte
	for _, p := range r {
		b = p.append(b)
	}
	if len(b) > maxTrustFile || len(r) > MaxAllowed {
		return fmt.Errorf("identity: %s is full; let what it tells of expire, or revoke the token by which most came", d.name(fileEnrolled))
	}
	return d.write(fileEnrolled, b)
}

// successor returns the line that tells who has taken id's place; nil if nobody.
func (r register) successor(id ID) *place {
	for i := range r {
		if r[i].formerly == id {
			return &r[i]
		}
	}
	return nil
}

// hand gives the place of the first of keys to the last, and reports whether
// that is news. Those in between have vouched and never had it. until is how
// long the former may be a member.
func (r *register) hand(serial uint64, keys []ID, until time.Time, revoked func(ID) bool) (news bool, err error) {
	at, id := 0, keys[len(keys)-1]
	for taken := r.successor(keys[at]); taken != nil; taken = r.successor(keys[at]) {
		next := slices.Index(keys[at+1:], taken.node)
		if next < 0 {
			return false, fmt.Errorf("%w: %v has handed its place to %v, until %s; the node goes on with that key, or needs a new token",
				ErrPlaceTaken, keys[at], taken.node, stamp(taken.until))
		}
		at += 1 + next
	}
	old := keys[at]
	if old == id {
		return false, nil
	}
	for _, p := range *r {
		if p.node == old && !p.formerly.IsZero() && !revoked(p.formerly) {
			return false, fmt.Errorf("%w: %v has taken the place of %v, which may be a member until %s; revoke that key (cellnode trust revoke), or wait",
				ErrPlaceTaken, old, p.formerly, stamp(p.until))
		}
	}
	for i, p := range *r {
		if p.node == old && p.formerly.IsZero() {
			(*r)[i].node = id // a use of a counted token goes with the place
		}
	}
	*r = append(*r, place{serial: serial, node: id, until: until, formerly: old})
	return true, nil
}

// count notes that id has come by a counted token, and reports whether that is
// news: a node that comes again, whose answer was lost, say, is not counted again.
func (r *register) count(id ID, g *Grant) (news bool, err error) {
	used := uint32(0)
	for _, p := range *r {
		if p.serial != g.Serial || !p.formerly.IsZero() {
			continue
		}
		if p.node == id {
			return false, nil
		}
		used++
	}
	if used >= g.Uses {
		return false, fmt.Errorf("%w: token %016x was for %d nodes, and %d have come; ask for another", ErrUsedUp, g.Serial, g.Uses, used)
	}
	*r = append(*r, place{serial: g.Serial, node: id, until: g.NotAfter})
	return true, nil
}
