//go:build !nodragonboat && !s390x

package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/dragonboat"
	"github.com/cell-runtime/cell/consensus/kv"
)

// alone is a cluster of one node.
func alone(t *testing.T) *Member {
	t.Helper()
	dir := t.TempDir()
	m, err := Open(Options{Dir: dir, Nodes: 1, keepEvery: 20 * time.Millisecond, Open: func(answer AnswerFunc, resolve ResolveFunc, vouch VouchFunc) (Host, error) {
		return dragonboat.Open(dragonboat.Options{Node: "alone", Dir: filepath.Join(dir, "raft"), Listen: "127.0.0.1:0", Insecure: true,
			Resolve: resolve, Answer: answer, Vouch: vouch, Tick: 2 * time.Millisecond, ElectionTicks: 10})
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	formed(t, m)
	return m
}

// makeOrders makes the group "orders", once the table has the node.
func makeOrders(t *testing.T, m *Member) {
	t.Helper()
	eventually(t, "making a group", func(ctx context.Context) error {
		_, err := m.Create(ctx, "orders", Kind, 1)
		if errors.Is(err, consensus.ErrConflict) { // an attempt without answer has done it
			_, err = m.find(ctx, "orders")
		}
		return err
	})
}

// patient lasts for long enough also on a host that is busy with others.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// do does something with a store, when it can be done.
func do(t *testing.T, m *Member, group string, f func(ctx context.Context, s *kv.Service) error) {
	t.Helper()
	eventually(t, group, func(ctx context.Context) error {
		s, err := m.Store(group)
		if err != nil {
			return err
		}
		return f(ctx, s)
	})
}

func TestSplit(t *testing.T) {
	m := alone(t)
	makeOrders(t, m)
	for _, key := range []string{"a", "m", "z"} {
		do(t, m, "orders", func(ctx context.Context, s *kv.Service) error {
			_, err := s.Put(ctx, kv.PutRequest{Key: []byte(key), Value: []byte(key)})
			return err
		})
	}
	for _, bad := range []struct {
		group, at, to string
		want          error
	}{
		{"orders", "m", SystemGroup, consensus.ErrConfig}, {"orders", "", "new", consensus.ErrConfig}, {"none", "m", "new", consensus.ErrNoGroup},
		{"orders", "m", "orders", consensus.ErrConflict},
	} {
		refused(t, fmt.Sprintf("splitting %+v", bad), bad.want, func(ctx context.Context) error { return m.Split(ctx, bad.group, []byte(bad.at), bad.to) })
	}
	split := func(at, to string) {
		t.Helper()
		if err := m.Split(patient(t), "orders", []byte(at), to); err != nil {
			t.Fatal(err)
		}
		eventually(t, to+" has its keys", func(ctx context.Context) error {
			e, err := m.find(ctx, to)
			if err == nil && e.Source != "" {
				err = errors.New("not yet")
			}
			return err
		})
	}
	split("m", "right")
	split("b", "middle")
	refused(t, "splitting at a key that is another's", consensus.ErrConfig, func(ctx context.Context) error { return m.Split(ctx, "orders", []byte("c"), "new") })
	for group, key := range map[string]string{"orders": "a", "right": "z"} {
		do(t, m, group, func(ctx context.Context, s *kv.Service) error {
			if got, err := s.Get(ctx, kv.GetRequest{Key: []byte(key)}); err != nil || string(got.Value) != key {
				return fmt.Errorf("%s of %s: %q, %w", key, group, got.Value, err)
			}
			return nil
		})
	}
	do(t, m, "middle", func(ctx context.Context, s *kv.Service) error {
		p, err := s.Part(ctx)
		if want := (kv.Part{From: "b", To: "m", Next: "right"}); err == nil && p != want {
			err = fmt.Errorf("%+v, want %+v", p, want)
		}
		return err
	})
	refused(t, "deleting a part to which callers are sent", consensus.ErrConflict, func(ctx context.Context) error { return m.Delete(ctx, "right") })
	if err := m.Delete(patient(t), "orders"); err != nil {
		t.Error(err)
	}
}

// A store that can't be split keeps its keys.
func TestASplitThatCantBe(t *testing.T) {
	m := alone(t)
	makeOrders(t, m)
	do(t, m, "orders", func(ctx context.Context, s *kv.Service) error {
		l, err := s.Grant(ctx, kv.GrantRequest{Ttl: int64(time.Hour)})
		if err == nil {
			_, err = s.Put(ctx, kv.PutRequest{Key: []byte("z"), Lease: l.Id})
		}
		return err
	})
	if err := m.Split(patient(t), "orders", []byte("m"), "right"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the table is as it was", func(ctx context.Context) error {
		if _, err := m.find(ctx, "right"); !errors.Is(err, consensus.ErrNoGroup) {
			return fmt.Errorf("the new group: %w", err)
		}
		e, err := m.find(ctx, "orders")
		if err == nil && (len(e.To) > 0 || e.Beyond != "") {
			err = fmt.Errorf("%+v", e)
		}
		return err
	})
	do(t, m, "orders", func(ctx context.Context, s *kv.Service) error {
		got, err := s.Get(ctx, kv.GetRequest{Key: []byte("z")})
		if err == nil && !got.Found {
			err = errors.New("the key is gone")
		}
		return err
	})
}
