package ring

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

func benchFanIn(b *testing.B, producers, batch int) {
	f := newFan(b, 256<<10)
	var stop atomic.Bool
	var all sync.WaitGroup
	for range producers {
		p := f.producer(0)
		all.Go(func() {
			vs := make([]wire.Vesicle, batch)
			for !stop.Load() {
				n, err := p.Claim(vs, 40)
				if err != nil {
					for range 20 {
						pause()
					}
					continue
				}
				for i := range vs[:n] {
					vs[i].Header = wire.Header{Kind: wire.KindEvent}
				}
				_ = p.Commit(vs[:n])
				_ = p.Flush()
			}
		})
	}
	in := make([]wire.Vesicle, 64)
	b.ResetTimer()
	for got := 0; got < b.N; {
		n, _ := f.c.Poll(in)
		if n == 0 {
			pause()
			continue
		}
		_ = f.c.Release(n)
		got += n
	}
	b.StopTimer()
	stop.Store(true)
	all.Wait()
}

func BenchmarkSharedFanIn1x1(b *testing.B)  { benchFanIn(b, 1, 1) }
func BenchmarkSharedFanIn1x16(b *testing.B) { benchFanIn(b, 1, 16) }
func BenchmarkSharedFanIn1x32(b *testing.B) { benchFanIn(b, 1, 32) }

func benchBroadcast(b *testing.B, batch int, poll bool) {
	a := newAir(b, 256<<10)
	s := a.subscriber(Newest)
	var stop atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		vs := make([]wire.Vesicle, batch)
		for !stop.Load() {
			n, _ := a.p.Claim(vs, 32)
			for i := range vs[:n] {
				vs[i].Header = wire.Header{Kind: wire.KindEvent}
			}
			_ = a.p.Commit(vs[:n])
			_ = a.p.Flush()
		}
	})
	in, buf, got := make([]wire.Vesicle, 64), make([]byte, 64), 0
	b.ResetTimer()
	for s.Sequence() < uint64(b.N) {
		if poll {
			n, _ := s.Poll(in)
			if n == 0 {
				pause()
				continue
			}
			if ok, _ := s.Release(n); ok {
				got += n
			}
		} else if _, err := s.Receive(buf); err == nil {
			got++
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(got)/float64(s.Sequence()), "got")
	stop.Store(true)
	all.Wait()
}

func BenchmarkBroadcast1Poll(b *testing.B)     { benchBroadcast(b, 1, true) }
func BenchmarkBroadcast32Poll(b *testing.B)    { benchBroadcast(b, 32, true) }
func BenchmarkBroadcast32Receive(b *testing.B) { benchBroadcast(b, 32, false) }

func BenchmarkBroadcastPublishAlone(b *testing.B) {
	a := newAir(b, 256<<10)
	vs := make([]wire.Vesicle, 32)
	b.ResetTimer()
	for i := 0; i < b.N; i += 32 {
		n, _ := a.p.Claim(vs, 32)
		for i := range vs[:n] {
			vs[i].Header = wire.Header{Kind: wire.KindEvent}
		}
		_ = a.p.Commit(vs[:n])
		_ = a.p.Flush()
	}
}
