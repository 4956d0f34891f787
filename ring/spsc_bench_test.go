package ring

import (
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// What a record costs each side when nothing has to come from another core:
// one goroutine writes a batch and reads it. Compare the lines of one run.
func BenchmarkOneCore(b *testing.B) {
	const batch = 32
	m := must(Create(Options{Size: 16 << 10, Prefault: true}))
	defer m.Close()
	far := must(Attach(m.FD(), SPSC))
	defer far.Close()
	p, c := must(NewProducer(m, nil, nil)), must(NewConsumer(far, nil, nil))
	out, in := make([]wire.Vesicle, batch), make([]wire.Vesicle, batch)
	source := make([]byte, 40)
	take := func() {
		n, err := c.Poll(in)
		if n != batch || err != nil {
			b.Fatal(n, err)
		}
		_ = c.Release(n)
	}
	b.Run("claim, fill, commit, flush, poll, release", func(b *testing.B) {
		for i := 0; i < b.N; i += batch {
			n, _ := p.Claim(out, 40)
			for k := range out[:n] {
				out[k].Header = wire.Header{Fingerprint: 1, Kind: wire.KindEvent, Correlation: uint32(i)}
				copy(out[k].Payload, source)
			}
			_ = p.Commit(out[:n])
			_ = p.Flush()
			take()
		}
	})
	b.Run("claim, abort", func(b *testing.B) {
		for i := 0; i < b.N; i += batch {
			_, _ = p.Claim(out, 40)
			p.Abort()
		}
	})
	b.Run("claim, commit, flush, poll, release", func(b *testing.B) {
		for i := range out {
			out[i].Header = wire.Header{Fingerprint: 1, Kind: wire.KindEvent}
		}
		for i := 0; i < b.N; i += batch {
			_, _ = p.Claim(out, 40)
			_ = p.Commit(out)
			_ = p.Flush()
			take()
		}
	})
	for i := range out {
		out[i] = wire.Vesicle{Header: wire.Header{Fingerprint: 1, Kind: wire.KindEvent}, Payload: source}
	}
	b.Run("write, poll, release", func(b *testing.B) {
		for i := 0; i < b.N; i += batch {
			for k := range out {
				out[k].Header.Correlation = uint32(i)
			}
			_, _ = p.Write(out)
			take()
		}
	})
	b.Run("write one by one, poll, release", func(b *testing.B) {
		for i := 0; i < b.N; i += batch {
			for k := range out {
				out[k].Header.Correlation = uint32(i)
				_, _ = p.Write(out[k : k+1])
			}
			take()
		}
	})
	b.Run("write one by one, poll and release one by one", func(b *testing.B) {
		for i := 0; i < b.N; i += batch {
			for k := range out {
				out[k].Header.Correlation = uint32(i)
				_, _ = p.Write(out[k : k+1])
			}
			for range out {
				n, _ := c.Poll(in[:1])
				_ = c.Release(n)
			}
		}
	})
}
