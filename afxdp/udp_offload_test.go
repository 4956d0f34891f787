package afxdp

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// framesOf makes frames of these lengths that lie behind each other.
func framesOf(size int, lengths ...int) (fs []*outFrame) {
	slab := make([]byte, size*len(lengths))
	for i, n := range lengths {
		fs = append(fs, &outFrame{buf: slab[i*size : (i+1)*size : (i+1)*size], n: n, id: uint64(i)})
	}
	return fs
}

func TestBundle(t *testing.T) {
	many := slices.Repeat([]int{1000}, 70)
	for _, v := range []struct {
		name     string
		fs       []*outFrame
		ends     []int // of messages, in frames
		vectors  []int // of each
		noCutter bool
	}{
		{"one", framesOf(100, 60), []int{1}, []int{1}, false},
		{"equal and full", framesOf(100, 100, 100, 100), []int{3}, []int{1}, false},
		{"equal and not full", framesOf(100, 60, 60, 60), []int{3}, []int{3}, false},
		{"a shorter one ends it", framesOf(100, 100, 100, 40, 40), []int{3, 4}, []int{1, 1}, false},
		{"a longer one begins anew", framesOf(100, 40, 100, 100), []int{1, 3}, []int{1, 1}, false},
		{"as many as the kernel takes", framesOf(1000, many...), []int{64, 70}, []int{1, 1}, false},
		{"as long as UDP takes", framesOf(30000, 30000, 30000, 30000), []int{2, 3}, []int{1, 1}, false},
		{"no cutting", framesOf(100, 100, 100), []int{1, 2}, []int{1, 1}, true},
	} {
		t.Run(v.name, func(t *testing.T) {
			s := &udpSender{segment: !v.noCutter}
			messages, cut := s.bundle(v.fs)
			if !slices.Equal(s.ends[:messages], v.ends) {
				t.Errorf("messages end behind frames %v, want %v", s.ends[:messages], v.ends)
			}
			total, several := 0, false
			for i := range messages {
				if n := int(s.batch.headers[i].header.Iovlen); n != v.vectors[i] {
					t.Errorf("message %d has %d pieces, want %d", i, n, v.vectors[i])
				}
				first := 0
				if i > 0 {
					first = s.ends[i-1]
				}
				several = several || s.ends[i]-first > 1
				if control := s.batch.headers[i].header.Controllen > 0; control != (s.ends[i]-first > 1) {
					t.Errorf("message %d of %d frames: to be cut up: %t", i, s.ends[i]-first, control)
				}
			}
			for i := range v.fs {
				total += v.fs[i].n
			}
			for _, e := range s.batch.vectors {
				total -= int(e.Len)
			}
			if total != 0 || cut != several {
				t.Errorf("%d bytes are missing; cut %t", total, cut)
			}
		})
	}
}

// Ends with and without GSO and GRO understand each other; what is sent in bulk
// and in all sizes arrives as it was.
func TestOffloadAndNone(t *testing.T) {
	for _, v := range []struct {
		name string
		a, b bool // NoOffload
	}{{"both", false, false}, {"the receiver has none", false, true}, {"the sender has none", true, false}} {
		t.Run(v.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			x, y := netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("127.0.0.1:0")
			x, y = reserve(t, x), reserve(t, y)
			var a, b *Conn
			var errs [2]error
			var wg sync.WaitGroup
			wg.Go(func() {
				a, errs[0] = DialUDP(ctx, x, y, &Options{Reliable: true, Datagram: 1432, NoOffload: v.a})
			})
			wg.Go(func() {
				b, errs[1] = DialUDP(ctx, y, x, &Options{Reliable: true, Datagram: 1432, NoOffload: v.b})
			})
			wg.Wait()
			if err := errors.Join(errs[:]...); err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			defer b.Close()
			if said := strings.Contains(strings.Join(a.Info().Why, " "), "NoOffload"); said != v.a {
				t.Errorf("Info says %q", a.Info().Why)
			}
			sizes := rand.New(rand.NewPCG(1, 2))
			var sent []int
			for range 20_000 {
				n := 4 + sizes.IntN(40)
				if len(sent)/1000%2 == 0 {
					n = a.Info().MaxPayload
				}
				sent = append(sent, n)
			}
			wg.Go(func() { sendAll(ctx, t, a, sent) })
			receiveAll(ctx, t, b, sent)
			wg.Wait()
		})
	}
}

func reserve(t *testing.T, a netip.AddrPort) netip.AddrPort {
	m, err := openUDP(a, netip.MustParseAddrPort("127.0.0.1:9"), &Options{Window: minWindow, NoOffload: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	got, err := localAddr(m.sock)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func sendAll(ctx context.Context, t *testing.T, a *Conn, sizes []int) {
	var out [1]wire.Vesicle
	for i := 0; i < len(sizes); {
		if _, err := a.Claim(out[:], sizes[i]); err != nil {
			if !errors.Is(err, link.ErrFull) || ctx.Err() != nil {
				t.Error(err, ctx.Err())
				return
			}
			_ = a.Flush() // full: again
			continue
		}
		binary.LittleEndian.PutUint32(out[0].Payload, uint32(i))
		out[0].Header = wire.Header{Kind: wire.KindEvent, Correlation: uint32(i)}
		if err := a.Commit(out[:]); err != nil {
			t.Error(err)
			return
		}
		i++
	}
	for errors.Is(a.Flush(), link.ErrFull) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

func receiveAll(ctx context.Context, t *testing.T, b *Conn, sizes []int) {
	var in [64]wire.Vesicle
	for got := 0; got < len(sizes); {
		n, err := b.Poll(in[:])
		if err != nil || ctx.Err() != nil {
			t.Fatalf("after %d: %v, %v", got, err, ctx.Err())
		}
		for _, v := range in[:n] {
			if len(v.Payload) != sizes[got] || v.Header.Correlation != uint32(got) || binary.LittleEndian.Uint32(v.Payload) != uint32(got) {
				t.Fatalf("vesicle %d: %d bytes, correlation %d; want %d bytes", got, len(v.Payload), v.Header.Correlation, sizes[got])
			}
			got++
		}
		if err := b.Release(n); err != nil {
			t.Fatal(err)
		}
	}
}
