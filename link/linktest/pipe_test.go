package linktest

import (
	"math/rand/v2"
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func pipeHarness(c PipeConfig) Harness {
	return Harness{
		Open: func(t testing.TB) (a, b link.Link) {
			x, y, err := Pipe(c)
			if err != nil {
				t.Fatal(err)
			}
			return x, y
		},
		Kill: func(_ testing.TB, peer link.Link) { peer.Shutdown() },
		Garbage: func(_ testing.TB, rng *rand.Rand, _, b link.Link) {
			var header [wire.HeaderSize]byte
			payload := make([]byte, rng.IntN(100))
			h := plainHeader(rng.Int(), len(payload))
			h.Put(&header)
			for range 1 + rng.IntN(4) {
				header[rng.IntN(len(header))] ^= 1 << rng.IntN(8)
			}
			b.(*End).Inject(header, payload)
		},
		CanPark: true, MaxTotal: 4 << 20,
		Lossy: c.Drop != nil, Unordered: c.Swap != nil,
	}
}

func TestPipe(t *testing.T) {
	for name, c := range map[string]PipeConfig{
		"default": {},
		"small":   {Slots: 16, MaxPayload: 200},
		"narrow":  {Slots: 40, MaxPayload: link.MinFragmentPayload},
		"lossy":   {Drop: func(i uint64) bool { return mix(i)%10 == 0 }},
		"lossy and unordered": {Drop: func(i uint64) bool { return mix(i)%10 == 0 },
			Swap: func(i uint64) bool { return mix(i)%3 == 0 }},
		"unordered": {Swap: func(i uint64) bool { return i%2 == 0 }},
	} {
		t.Run(name, func(t *testing.T) { Run(t, pipeHarness(c)) })
	}
}
