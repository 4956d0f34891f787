package linktest

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func caseFragments(s *suite) {
	a, b := s.open()
	most := a.Info().MaxPayload
	for _, size := range []int{most - 1, most, most + 1, 2*most - wire.FragmentSize, 3*most + 7, 9 * most} {
		if size > max(s.h.MaxTotal/2, most+1) {
			continue
		}
		w := &wholeVesicle{s: s, arrived: make(chan struct{}), payload: make([]byte, size), header: wire.Header{
			Fingerprint: mix(uint64(size)), Correlation: uint32(size), Kind: wire.KindReply, Hops: 9,
			Flags: wire.FlagEnd.WithPriority(2), Channel: wire.ChannelConsensus, Length: uint32(size),
		}}
		fill(w.payload, size)
		s.must(together(func() error { return w.send(a) }, func() error { return w.receive(b) }))
	}
}

// wholeVesicle travels in as many pieces as it must, and repeatedly where the
// link may lose some of them.
type wholeVesicle struct {
	s       *suite
	header  wire.Header
	payload []byte
	arrived chan struct{} // closed when it has, or never will
}

func (w *wholeVesicle) send(l link.Link) error {
	f, err := link.NewFragmenter(l, l.Info().MaxPayload)
	if err != nil {
		return err
	}
	for {
		err := w.persist(l, func() error { return f.Send(w.header, w.payload) })
		if err == nil {
			err = w.persist(l, l.Flush)
		}
		if err != nil {
			return fmt.Errorf("%d bytes in pieces: %w", len(w.payload), err)
		}
		if !w.s.h.Lossy {
			return nil
		}
		select {
		case <-w.arrived:
			return nil
		case <-time.After(settle): // lost; once more
		}
	}
}

// persist calls f until it has something other to say than ErrFull, or the
// receiver has ended.
func (w *wholeVesicle) persist(l link.Link, f func() error) error {
	for {
		err := f()
		if !errors.Is(err, link.ErrFull) {
			return err
		}
		_ = l.Flush()
		select {
		case <-w.arrived:
			return nil
		case <-time.After(20 * time.Microsecond):
		}
	}
}

func (w *wholeVesicle) receive(l link.Link) error {
	defer close(w.arrived)
	r, err := link.NewReassembler(link.ReassemblyLimits{Message: max(len(w.payload), 1)})
	if err != nil {
		return err
	}
	var in [8]wire.Vesicle
	p := w.s.patience("")
	for {
		n, err := l.Poll(in[:])
		if err != nil {
			return err
		}
		if n == 0 {
			p.what = fmt.Sprintf("a vesicle of %d bytes does not come together: %+v", len(w.payload), r.Stats())
			if err := p.idle(); err != nil {
				return err
			}
			continue
		}
		if !w.s.h.Lossy { // there repetitions are no progress
			p.progress()
		}
		done := false
		for i := range in[:n] {
			whole, err := r.Add(&in[i], 0)
			if err != nil {
				return fmt.Errorf("reassembly: %w", err)
			}
			if !whole || in[i].Header.Correlation != w.header.Correlation {
				continue // a repetition of what came before
			}
			if in[i].Header != w.header || !bytes.Equal(in[i].Payload, w.payload) {
				return fmt.Errorf("%d bytes in pieces came out changed: header %+v, want %+v", len(w.payload), in[i].Header, w.header)
			}
			done = true
		}
		if err := l.Release(n); err != nil || done {
			return err
		}
	}
}
