package afxdp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// cookies are numbers that only who receives at an address can know: nothing is
// kept for a stranger until it has brought its one back. They are a keyed digest
// of the address and the session that the stranger has chosen; the key is a new
// one every cookieLife, and the one before still counts.
type cookies struct {
	keys  [2][32]byte // the present one and the one before
	since time.Time   // of the present one
}

const cookieLife = 10 * time.Second

// turn sees to the keys.
func (k *cookies) turn(now time.Time) {
	age := now.Sub(k.since)
	if !k.since.IsZero() && age < cookieLife {
		return
	}
	k.keys[1] = k.keys[0]
	_, _ = rand.Read(k.keys[0][:]) // never fails (crypto/rand)
	if k.since.IsZero() || age >= 2*cookieLife {
		_, _ = rand.Read(k.keys[1][:])
	}
	k.since = now
}

// of is the cookie for a stranger. It is never 0.
func (k *cookies) of(now time.Time, from netip.AddrPort, session uint32) uint64 {
	k.turn(now)
	return digest(k.keys[0][:], from, session)
}

// is says whether a stranger's cookie is its own.
func (k *cookies) is(now time.Time, cookie uint64, from netip.AddrPort, session uint32) bool {
	k.turn(now)
	for i := range k.keys {
		if cookie == digest(k.keys[i][:], from, session) {
			return true
		}
	}
	return false
}

func digest(key []byte, from netip.AddrPort, session uint32) uint64 {
	address := from.Addr().As16()
	b := binary.BigEndian.AppendUint16(append([]byte(nil), address[:]...), from.Port())
	m := hmac.New(sha256.New, key)
	m.Write(binary.BigEndian.AppendUint32(b, session))
	return max(binary.BigEndian.Uint64(m.Sum(nil)), 1)
}
