package linktest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func caseInfo(s *suite) {
	a, b := s.open()
	for _, l := range []link.Link{a, b} {
		info := l.Info()
		if info.Kind == "" {
			s.Error("Info.Kind is empty")
		}
		if info.MaxPayload < link.MinFragmentPayload || info.MaxPayload > wire.MaxLength {
			s.Errorf("Info.MaxPayload is %d, want %d to %d", info.MaxPayload, link.MinFragmentPayload, wire.MaxLength)
		}
		if info.Reliable == s.h.Lossy || info.Ordered == s.h.Unordered {
			s.Errorf("Info says Reliable %t and Ordered %t, Harness says Lossy %t and Unordered %t",
				info.Reliable, info.Ordered, s.h.Lossy, s.h.Unordered)
		}
		for _, why := range info.Why {
			if why == "" {
				s.Error("Info.Why has an empty sentence")
			}
		}
		fds := l.WaitFDs([]int{-7})
		if len(fds) < 1 || fds[0] != -7 {
			s.Errorf("WaitFDs does not append: %v", fds)
		}
		if s.h.CanPark && len(fds) < 2 {
			s.Error("Harness says CanPark, WaitFDs gives no descriptor")
		}
		s.must(l.CheckPeer())
		defer func() {
			if again := l.Info(); !reflect.DeepEqual(again, info) {
				s.Errorf("Info changed from %+v to %+v", info, again)
			}
			if again := l.WaitFDs([]int{-7}); !reflect.DeepEqual(again, fds) {
				s.Errorf("WaitFDs changed from %v to %v", fds, again)
			}
		}()
	}
	s.transfer(a, b, stream{count: 100, batch: 4, size: constant(small(a, 100))})
}

func caseAllocations(s *suite) {
	a, b := s.open()
	for _, batch := range []int{1, 8} {
		st := stream{size: constant(small(a, 64))}
		var out, in [8]wire.Vesicle
		var failed error
		round := func() {
			n, err := a.Claim(out[:batch], st.size(0))
			if err == nil {
				write(out[:n], &st, 0)
				err = a.Commit(out[:n])
			}
			if err == nil {
				err = a.Flush() // not errors.Join, which allocates where this says ErrFull
			}
			deadline := time.Now().Add(s.h.Timeout)
			if s.h.Lossy {
				deadline = time.Now().Add(time.Millisecond)
			}
			for got := 0; got < n && err == nil && time.Now().Before(deadline); {
				k, e := b.Poll(in[:])
				if e == nil && k > 0 {
					e = b.Release(k)
				}
				got, err = got+k, e
			}
			if err != nil && !errors.Is(err, link.ErrFull) {
				failed = err
			}
		}
		for range 100 {
			round() // steady state
		}
		if found := allocations(s.most(500, 64*batch), round); found != "" || failed != nil {
			s.Errorf("batches of %d: %v%s", batch, failed, found)
		}
	}
}

func caseLeaks(s *suite) {
	if s.h.LeaksUntilCleanup {
		s.Skip("links share what Close would give back")
	}
	use := func(round int) {
		a, b := s.h.Open(s.TB)
		s.transfer(a, b, stream{count: 10, batch: 2, size: constant(small(a, 100))})
		if s.h.CanPark {
			a.Arm()
		}
		if round%2 == 0 {
			s.claim(a, 2, small(a, 100))
		}
		if round%3 == 0 && s.h.Kill != nil {
			s.h.Kill(s.TB, b)
		}
		s.must(errors.Join(a.Close(), b.Close()))
	}
	use(1) // what is made once, such as the runtime's epoll descriptor, is there now
	before := s.resources()
	for round := range 20 {
		use(round)
	}
	s.eventually("comparing descriptors, shared mappings and goroutines before and after 20 links", nil, func() error {
		if after := s.resources(); after.fds > before.fds || after.maps > before.maps || after.goroutines > before.goroutines {
			return fmt.Errorf("%+v before, %+v after", before, after)
		}
		return nil
	})
}

// resources is what a process can leak, in numbers.
type resources struct{ fds, maps, goroutines int }

func (s *suite) resources() (r resources) {
	s.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	s.must(err)
	r.fds = len(entries)
	r.goroutines = runtime.NumGoroutine()
	maps, err := os.ReadFile("/proc/self/maps")
	s.must(err)
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 && strings.HasSuffix(f[1], "s") {
			r.maps++
		}
	}
	return r
}
