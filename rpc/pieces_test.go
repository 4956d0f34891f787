package rpc_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

const (
	piecesRequest = 4 << 10
	piecesMost    = 8 * piecesRequest
)

// beginRequest sends the first piece of a request whose rest never comes.
func beginRequest(t *testing.T, l *linktest.End, sequence uint32) {
	t.Helper()
	b := make([]byte, wire.FragmentSize+100)
	wire.PutFragment((*[wire.FragmentSize]byte)(b), wire.Fragment{Total: piecesRequest, Sequence: sequence})
	talk(t, l, wire.Header{
		Fingerprint: 1, Kind: wire.KindRequest, Correlation: sequence, Hops: 1, Flags: wire.FlagFragment | wire.FlagMore,
	}, b)
}

// answered waits for an answer and returns its error.
func answered(t *testing.T, l *linktest.End) error {
	t.Helper()
	var in [1]wire.Vesicle
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		if n, err := l.Poll(in[:]); err != nil {
			return err
		} else if n == 1 {
			defer l.Release(1)
			p, err := wire.DecodeError(in[0].Payload)
			return errors.Join(err, p.Status)
		}
	}
	t.Fatal("no answer")
	return nil
}

func awaitHeld(t *testing.T, s *rpc.Server, what string, enough func(held int64) bool) {
	t.Helper()
	for end := time.Now().Add(patience); !enough(s.PiecesHeld()); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: %d bytes held", what, s.PiecesHeld())
		}
	}
}

// Links that begin requests in pieces and end none share the memory that the
// server has for them; whoever comes too late is told, and it comes back.
func TestPiecesOfAllLinksAreBounded(t *testing.T) {
	s := newServer(t, &rpc.ServerOptions{MaxRequest: piecesRequest, MaxPieces: piecesMost})
	e := startEngine(t, engine.IdleAdaptive)
	var (
		rude    []*linktest.End
		refused error
	)
	for i := 0; i < 20 && refused == nil; i++ {
		near, far, err := linktest.Pipe(linktest.PipeConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		if err := s.Serve(e, near); err != nil {
			t.Fatal(err)
		}
		rude = append(rude, far)
		before := s.PiecesHeld()
		for sequence := range uint32(8) { // more than its share, from the first link on
			beginRequest(t, far, sequence)
		}
		if before >= piecesMost-piecesRequest {
			refused = answered(t, far)
			break
		}
		awaitHeld(t, s, "a link that sends pieces", func(held int64) bool { return held > before })
		time.Sleep(time.Millisecond) // the rest of them
		if held := s.PiecesHeld(); held > piecesMost {
			t.Fatalf("%d links hold %d bytes, more than MaxPieces %d", len(rude), held, piecesMost)
		}
	}
	if !errors.Is(refused, wire.StatusResourceExhausted) {
		t.Errorf("the last of %d links: %v", len(rude), refused)
	}
	for _, l := range rude {
		_ = l.Close()
	}
	awaitHeld(t, s, "after all links have closed", func(held int64) bool { return held == 0 })
}

func TestPiecesThatMakeNoProgressGiveTheirMemoryBack(t *testing.T) {
	rpc.DropPiecesAfter(t, time.Millisecond)
	s := newServer(t, &rpc.ServerOptions{MaxRequest: piecesRequest})
	e := startEngine(t, engine.IdleAdaptive)
	near, far, err := linktest.Pipe(linktest.PipeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if err := s.Serve(e, near); err != nil {
		t.Fatal(err)
	}
	beginRequest(t, far, 1)
	awaitHeld(t, s, "a link that went silent", func(held int64) bool { return held == 0 })
}

func TestMaxPiecesMustSufficeForOneRequest(t *testing.T) {
	if _, err := rpc.NewServer(&rpc.ServerOptions{MaxRequest: 1 << 20, MaxPieces: 1 << 20}); !errors.Is(err, rpc.ErrOptions) {
		t.Errorf("%v, want ErrOptions", err)
	}
}
