package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

func TestInputArrivesWhole(t *testing.T) {
	const payload = 1000
	for _, link := range []string{LinkRing, LinkUDS} {
		for _, wait := range []string{"spin", "park"} {
			for name, size := range map[string]int{
				"empty": 0, "one byte": 1, "one payload": payload, "one more": payload + 1,
				"a batch": 4 * payload, "no multiple": 1<<20 + 17,
			} {
				t.Run(link+" "+wait+" "+name, func(t *testing.T) {
					b, ctx := begin(t)
					data := noise(size)
					file := filepath.Join(t.TempDir(), "input")
					if err := os.WriteFile(file, data, 0o600); err != nil {
						t.Fatal(err)
					}
					s := short(report.KindStream, link)
					s.Size, s.Batch, s.Wait, s.Input = payload+Prefix, 4, wait, file
					res, _, err := b.Measure(ctx, s, nil)
					if err != nil {
						t.Fatal(err)
					}
					want := sha256.Sum256(data)
					if res.SHA256 != hex.EncodeToString(want[:]) || res.Input != file {
						t.Errorf("%s has digest %s, want %x", res.Input, res.SHA256, want)
					}
					if n := uint64((size + payload - 1) / payload); res.Count != n {
						t.Errorf("%d vesicles, want %d", res.Count, n)
					}
					if err := report.WriteResult(io.Discard, res); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func TestInputThatCannotBeRead(t *testing.T) {
	b, ctx := begin(t)
	s := short(report.KindStream, LinkRing)
	s.Input = filepath.Join(t.TempDir(), "missing")
	if _, _, err := b.Measure(ctx, s, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	s.Input = t.TempDir()
	if _, _, err := b.Measure(ctx, s, nil); !errors.Is(err, ErrSpec) {
		t.Errorf("directory: %v", err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the disk is on fire")
	r := io.MultiReader(bytes.NewReader(noise(5000)), readFunc(func([]byte) (int, error) { return 0, broken }))
	if _, _, err := b.send(ctx, &s, r, time.Now()); !errors.Is(err, broken) || errors.Is(err, errPeer) {
		t.Errorf("read error in the middle: %v; want the cause and not what followed from it", err)
	}
	// The bench is as good as new.
	if res, _, err := b.Measure(ctx, short(report.KindRTT, LinkRing), nil); err != nil {
		t.Error(err)
	} else {
		sound(t, res)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

// A reader sees the very memory that travels. One that changes a byte there
// after it was counted into the digest is what a faulty link would be.
func TestBytesThatChangeOnTheWayAreNoticed(t *testing.T) {
	for _, link := range []string{LinkRing, LinkUDS} {
		t.Run(link, func(t *testing.T) {
			b, ctx := begin(t)
			s := short(report.KindStream, link)
			s.Size, s.Batch, s.Input = 1024, 4, "-"
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			r := bytes.NewReader(noise(100_000))
			var last []byte
			_, _, err := b.send(ctx, &s, readFunc(func(p []byte) (int, error) {
				if last != nil && r.Len() == 50_000 {
					last[7] ^= 1
				}
				last = p
				return r.Read(p[:min(len(p), 1000)])
			}), time.Now())
			if !errors.Is(err, ErrDigest) {
				t.Errorf("got %v, want ErrDigest", err)
			}
		})
	}
}

func TestPeersThatAnswerWrongly(t *testing.T) {
	for manner, want := range map[string]error{"lie": ErrDigest, "garble": errPeer} {
		t.Run(manner, func(t *testing.T) {
			t.Setenv(peerEnv, manner)
			b, ctx := begin(t)
			s := short(report.KindStream, LinkRing)
			if err := errors.Join(s.Check()); err != nil {
				t.Fatal(err)
			}
			if _, _, err := b.send(ctx, &s, bytes.NewReader(noise(5000)), time.Now()); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

// Whatever the peer dies of and whenever, this side ends with an error soon,
// and begin holds that nothing is left.
func TestPeerKilledInTheMiddle(t *testing.T) {
	specs := []Spec{}
	for _, link := range []string{LinkRing, LinkUDS} {
		for _, wait := range []string{"spin", "yield", "park", "adaptive"} {
			for _, kind := range []string{report.KindRTT, report.KindStream, report.KindFanIn} {
				s := short(kind, link)
				s.Wait, s.Peers, s.NoLimit = wait, 3, true
				specs = append(specs, s)
			}
		}
	}
	paced, limited, bulky := short(report.KindStream, LinkRing), short(report.KindRTT, LinkRing), short(report.KindStream, LinkRing)
	paced.Rate, bulky.Size = 10_000, 64<<10
	limited.Warmup = time.Minute // dies within the limit
	specs = append(specs, paced, limited, bulky)
	for _, s := range specs {
		s.Duration = time.Minute
		t.Run(named(s), func(t *testing.T) {
			b, ctx := begin(t)
			failed := make(chan error, 1)
			go func() { _, _, err := b.Measure(ctx, s, nil); failed <- err }()
			time.Sleep(time.Duration(5+rand.IntN(30)) * time.Millisecond)
			if err := b.peer.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			died(t, ctx, failed)
		})
	}
	t.Run("limits", func(t *testing.T) {
		b, ctx := begin(t)
		s, failed := short("", ""), make(chan error, 1)
		s.Duration = time.Minute
		go func() { _, err := b.Limits(ctx, s, func(int, int) {}); failed <- err }()
		time.Sleep(20 * time.Millisecond)
		if err := b.peer.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		died(t, ctx, failed)
	})
}

func died(t *testing.T, ctx context.Context, failed <-chan error) {
	t.Helper()
	select {
	case err := <-failed:
		if !errors.Is(err, errPeer) {
			t.Errorf("got %v, want the peer's end", err)
		}
	case <-ctx.Done():
		t.Fatal("still measuring, long after the peer was killed")
	}
}

func TestCancelledInTheMiddle(t *testing.T) {
	for _, kind := range []string{report.KindRTT, report.KindStream, report.KindFanIn} {
		t.Run(kind, func(t *testing.T) {
			temp := shortTemp(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b, err := New(ctx)
			if err != nil {
				t.Fatal(err)
			}
			s := short(kind, LinkRing)
			s.Duration, s.Peers = time.Minute, 2
			time.AfterFunc(20*time.Millisecond, cancel)
			if _, _, err := b.Measure(ctx, s, nil); err == nil {
				t.Error("a cancelled measurement has a result")
			}
			_ = b.Close()
			if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestSocketsDespiteALongTemporaryDirectory(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	dir, err := socketDir()
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if left, _ := os.ReadDir(long); len(dir) > longestDir || len(left) > 0 {
		t.Errorf("%s has %d bytes, above %d; left in the other: %v", dir, len(dir), longestDir, left)
	}
}

func TestBlameNamesTheCause(t *testing.T) {
	mine, peers := errors.New("mine"), fmt.Errorf("%w: theirs", errPeer)
	for _, c := range []struct{ mine, peers, want error }{
		{nil, nil, nil}, {mine, nil, mine}, {nil, peers, peers}, {mine, peers, mine},
	} {
		if got := blame(c.mine, c.peers); got != c.want {
			t.Errorf("blame(%v, %v) is %v, want %v", c.mine, c.peers, got, c.want)
		}
	}
}
