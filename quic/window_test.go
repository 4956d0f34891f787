package quic

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// miser is a peer that speaks the protocol by itself, and grants a window as it
// likes.
type miser struct {
	t    *testing.T
	conn *quicgo.Conn
}

func newMiser(t *testing.T, s *node, window uint64) *miser {
	t.Helper()
	return newMiserOf(t, s, window, 1000)
}

func newMiserOf(t *testing.T, s *node, window uint64, streams int64) *miser {
	t.Helper()
	c, err := quicgo.DialAddr(soon(t), s.Addr().String(), strangerTLS(t, 2), &quicgo.Config{
		EnableDatagrams: true, InitialConnectionReceiveWindow: window, MaxConnectionReceiveWindow: window,
		MaxIncomingUniStreams: streams,
	})
	must(t, err)
	t.Cleanup(func() { _ = c.CloseWithError(0, "") })
	return &miser{t, c}
}

// open opens a link and returns both ends, the miser's being the control stream.
func (m *miser) open(s *node) (*quicgo.Stream, *Link) {
	m.t.Helper()
	control, err := m.conn.OpenStreamSync(soon(m.t))
	must(m.t, err)
	_, err = control.Write(opening{lanes: 8, maxPayload: 65536, credit: 1 << 28}.append(nil))
	must(m.t, err)
	_, _, err = readAnswer(control, 65536)
	must(m.t, err)
	y, err := s.Accept(soon(m.t))
	must(m.t, err)
	return control, y
}

// lane opens a lane of a link with one of the miser's vesicles.
func (m *miser) lane(control *quicgo.Stream, index byte, size int) *quicgo.SendStream {
	m.t.Helper()
	u, err := m.conn.OpenUniStream()
	must(m.t, err)
	head := append(binary.LittleEndian.AppendUint64(nil, uint64(control.StreamID())), index)
	h := wire.Header{Kind: wire.KindEvent, Correlation: 1, Length: uint32(size)}
	_, err = u.Write(append(h.Append(head), make([]byte, size)...))
	must(m.t, err)
	return u
}

// exhaust uses up all the window that the peer of y has granted.
func exhaust(t *testing.T, y *Link) {
	t.Helper()
	u, err := y.carrier.(*quicLink).conn.q.OpenUniStream()
	must(t, err)
	for b := make([]byte, 4096); len(b) > 0; {
		switch err := u.TryWriteAll(b); {
		case errors.Is(err, quicgo.ErrWouldBlock):
			b = b[:len(b)/2]
		default:
			must(t, err)
		}
	}
}

// relent reads what has used up the window, so that there is one again.
func (m *miser) relent() {
	m.t.Helper()
	u, err := m.conn.AcceptUniStream(soon(m.t))
	must(m.t, err)
	go func() { _, _ = io.Copy(io.Discard, u) }()
}

// send sends one vesicle, now or when there is room.
func send(t *testing.T, l *Link, correlation uint32, size int) error {
	t.Helper()
	var out [1]wire.Vesicle
	if _, err := l.Claim(out[:], size); err != nil {
		return err
	}
	out[0].Header = wire.Header{Kind: wire.KindRequest, Correlation: correlation}
	must(t, l.Commit(out[:]))
	if err := l.Flush(); !errors.Is(err, link.ErrFull) {
		return err
	}
	return nil
}

// What a link says about itself is not lost because others have used up the
// window: else its peer would wait for credit for ever.
func TestCreditIsGivenWhenThereIsAWindowAgain(t *testing.T) {
	s := listen(t, 1, nil, 2)
	m := newMiser(t, s, 32<<10)
	control, y := m.open(s)
	exhaust(t, y)
	const size = 60_000
	const lanes = 6 // more than a quarter of the ring
	for i := range byte(lanes) {
		m.lane(control, laneApplication+i, size)
	}
	got := 0
	eventually(t, "the miser's vesicles", func() bool {
		var in [8]wire.Vesicle
		n, err := y.Poll(in[:])
		must(t, err)
		must(t, y.Release(n))
		got += n
		return got == lanes
	})
	m.relent()
	var said [5]byte
	must(t, control.SetReadDeadline(time.Now().Add(patience)))
	if _, err := io.ReadFull(control, said[:]); err != nil || said[0] != credited {
		t.Errorf("%x on the control stream, %v; credit was to come", said, err)
	}
}

// A lane that is used for the first time when there is no window waits for one.
func TestALaneBeginsWhenThereIsAWindowAgain(t *testing.T) {
	s := listen(t, 1, nil, 2)
	m := newMiser(t, s, 32<<10)
	_, y := m.open(s)
	exhaust(t, y)
	must(t, send(t, y, 1, 100))
	must(t, y.CheckPeer())
	m.relent()
	u, err := m.conn.AcceptUniStream(soon(t))
	must(t, err)
	b := make([]byte, laneHeadSize+frameSize+100)
	must(t, u.SetReadDeadline(time.Now().Add(patience)))
	if _, err := io.ReadFull(u, b); err != nil {
		t.Error(err)
	}
	must(t, y.CheckPeer())
}

// A lane for which the peer grants no stream, because those of a link that has
// ended are not given back yet, waits for one; the link goes on.
func TestALaneBeginsWhenThereIsAStreamAgain(t *testing.T) {
	s := listen(t, 1, nil, 2)
	m := newMiserOf(t, s, 1<<20, 2)
	_, y := m.open(s)
	for n := range uint32(2) {
		must(t, send(t, y, n, 100))
	}
	_, next := m.open(s)
	const lanes = 3
	for n := range uint32(lanes) {
		must(t, send(t, next, n, 100))
	}
	if err := next.Flush(); !errors.Is(err, link.ErrFull) {
		t.Fatalf("without a stream: %v", err)
	}
	must(t, next.CheckPeer())
	rung := make(chan struct{}, 1)
	next.OnWake(func() {
		select {
		case rung <- struct{}{}:
		default:
		}
	})
	next.space.armed.Store(true)
	go func() { // read everything, to its end
		for {
			u, err := m.conn.AcceptUniStream(context.Background())
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, u) }()
		}
	}()
	y.Shutdown()
	select {
	case <-rung:
	case <-soon(t).Done():
		t.Fatal("the link that waits was not rung")
	}
	eventually(t, "two of three lanes", func() bool {
		_ = next.Flush()
		used := 0
		for i := range next.lanes {
			if next.lanes[i].stream != nil {
				used++
			}
		}
		return used == 2
	})
	must(t, next.CheckPeer())
	must(t, next.Close())
}

// Lanes that do not say whose they are hold up nobody, and there is a bound of
// them, over all connections of a peer.
func TestLanesThatSayNothing(t *testing.T) {
	s := listen(t, 1, nil, 2)
	m := newMiser(t, s, 1<<20)
	control, y := m.open(s)
	for range 400 { // the first bytes of a later one make them known
		_, err := m.conn.OpenUniStream()
		must(t, err)
	}
	m.lane(control, laneApplication, 10)
	eventually(t, "the vesicle of a lane behind them", func() bool {
		var in [1]wire.Vesicle
		n, err := y.Poll(in[:])
		must(t, err)
		return n == 1
	})

	s = listen(t, 3, &Options{MaxLinks: 2}, 2)
	first, second := newMiser(t, s, 1<<20), newMiser(t, s, 1<<20)
	for _, m := range []*miser{first, second} {
		for range 2 * maxLane {
			u, err := m.conn.OpenUniStream()
			if err != nil && m.conn.Context().Err() != nil {
				break // it was ended by now
			}
			must(t, err)
			_, _ = u.Write([]byte{1}) // fails when it is ended
		}
	}
	eventually(t, "the end of who has too many", func() bool {
		return first.conn.Context().Err() != nil || second.conn.Context().Err() != nil
	})
}

// What all links to a peer hold back has one bound; who waits for others' bytes
// to leave is rung; and when all is over nothing is left in the account.
func TestBacklogsOfAPeerAreBounded(t *testing.T) {
	const most, links, size = 256 << 10, 6, 60_000
	s := listen(t, 1, &Options{MaxBacklog: most}, 2)
	m := newMiser(t, s, 16<<10)
	var ys []*Link
	for range links {
		_, y := m.open(s)
		ys = append(ys, y)
	}
	full := 0
	for _, y := range ys {
		var err error
		for n := uint32(0); err == nil && n < 100; n++ {
			err = send(t, y, n, size)
		}
		if errors.Is(err, link.ErrFull) {
			full++
		}
	}
	held := ys[0].backlog
	if used := held.used.Load(); full != links || used > most+links*maxLane*runMost {
		t.Errorf("%d of %d links are full, %d bytes are held back, at most %d", full, links, used, most)
	}
	sleeper := ys[links-1]
	rung := make(chan struct{}, 1)
	sleeper.OnWake(func() {
		select {
		case rung <- struct{}{}:
		default:
		}
	})
	if !sleeper.ArmSpace(size) {
		t.Fatal("a link that is full has room")
	}
	go func() { // read everything
		for {
			u, err := m.conn.AcceptUniStream(context.Background())
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, u) }()
		}
	}()
	select {
	case <-rung:
	case <-soon(t).Done():
		t.Error("the link that waits was not rung")
	}
	for _, y := range ys {
		eventually(t, "room for what waits", func() bool { return !errors.Is(y.Flush(), link.ErrFull) })
	}
	eventually(t, "everything has left", func() bool { return held.used.Load() == 0 })
	for n := range uint32(4) {
		_ = send(t, ys[0], n, size)
	}
	must(t, m.conn.CloseWithError(0, ""))
	eventually(t, "nothing is held for one that has gone", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return held.used.Load() == 0 && len(s.held) == 0 && len(s.heads) == 0
	})
}

// Whoever is refused again and again is not told of each time.
func TestRefusalsAreToldInModeration(t *testing.T) {
	var told atomic.Int32
	var last error
	r := refusals{tell: func(_ string, why error) { told.Add(1); last = why }}
	const all = 10_000
	for range all {
		r.add("somewhere", link.ErrPeerGone)
	}
	if n := told.Load(); n < refusalsBurst || n > all/2 {
		t.Errorf("%d of %d were told", n, all)
	}
	r.spare.spare = 1
	untold := r.untold
	r.add("somewhere", link.ErrPeerGone)
	if untold == 0 || r.untold != 0 || !errors.Is(last, link.ErrPeerGone) || last.Error() == link.ErrPeerGone.Error() {
		t.Errorf("%d were not told, and then %v", untold, last)
	}
}
