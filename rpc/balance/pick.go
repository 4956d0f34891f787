package balance

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/cell-runtime/cell/rpc"
)

// trail is the instances at which a call has failed. It lies on the stack.
type trail struct {
	been [maxFailovers]*instance
	n    int
}

func (t *trail) add(i *instance) {
	t.been[t.n] = i
	t.n++
}

func (t *trail) has(i *instance) bool {
	for _, other := range t.been[:t.n] {
		if other == i {
			return true
		}
	}
	return false
}

// pick chooses an instance at which the call has not been, or nil.
func (b *Balancer) pick(ctx context.Context, m *rpc.Method, req rpc.Encoder, t *trail) *instance {
	live := *b.live.Load()
	if len(live) == 0 {
		return nil
	}
	switch b.opts.Strategy {
	case RoundRobin:
		return inTurn(live, b.turn.Add(1), t)
	case LeastOutstanding:
		return least(live, t)
	case Sticky:
		if key, ok := b.opts.Key(ctx, m, req); ok {
			return rendezvous(live, key, b.opts.Load, t)
		}
	}
	return ofTwo(live, t)
}

// inTurn takes the first at or after a position.
func inTurn(live []*instance, from uint64, t *trail) *instance {
	n := uint64(len(live))
	for k := range n {
		if i := live[(from+k)%n]; t.n == 0 || !t.has(i) {
			return i
		}
	}
	return nil
}

// least takes the one with the fewest calls under way. It begins anywhere, or
// the first would get all calls of an idle time.
func least(live []*instance, t *trail) *instance {
	var best *instance
	fewest := int64(math.MaxInt64)
	n := len(live)
	at := int(rand.Uint64N(uint64(n)))
	for range n {
		i := live[at]
		if o := i.outstanding.Load(); o < fewest && (t.n == 0 || !t.has(i)) {
			best, fewest = i, o
		}
		if at++; at == n {
			at = 0
		}
	}
	return best
}

// ofTwo takes the better of two.
func ofTwo(live []*instance, t *trail) *instance {
	n := uint64(len(live))
	if n == 1 || t.n > 0 { // when calls fail, cost does not matter
		return least(live, t)
	}
	// One draw gives both: the second is among the n-1 others.
	high := rand.Uint64N(n * (n - 1))
	first, second := high/(n-1), high%(n-1)
	if second >= first {
		second++
	}
	a, b := live[first], live[second]
	if b.outstanding.Load() < a.outstanding.Load() {
		return b
	}
	return a
}

// rendezvous takes the instance with the highest score for a key, which each
// key has by itself, among those that are not overloaded. Thaler and
// Ravishankar, "A Name-Based Mapping Scheme for Rendezvous" (1996); the bound
// is that of Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with
// Bounded Loads" (2018): at most load × the mean, this call included, so that
// there is always one below it.
func rendezvous(live []*instance, key uint64, load float64, t *trail) *instance {
	bound := int64(math.MaxInt64)
	if load >= 1 {
		total := int64(1)
		for _, i := range live {
			total += i.outstanding.Load()
		}
		bound = int64(math.Ceil(load * float64(total) / float64(len(live))))
	}
	var best, spare *instance // spare: the best without regard to the bound
	var score, spareScore uint64
	for _, i := range live {
		if t.n > 0 && t.has(i) {
			continue
		}
		s := mix(key ^ i.seed)
		if spare == nil || s > spareScore {
			spare, spareScore = i, s
		}
		if (best == nil || s > score) && i.outstanding.Load() < bound {
			best, score = i, s
		}
	}
	if best == nil {
		return spare
	}
	return best
}

// mix spreads every bit over all others: the finaliser of SplitMix64 (Steele,
// Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
