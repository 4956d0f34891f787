package node_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
)

// patient answers a parcel of weight 1 when a file is there, and says by another
// that it was asked.
type patient struct{ file string }

func (p patient) Quote(ctx context.Context, parcel v1.Parcel) (v1.Price, error) {
	if parcel.Weight == 1 {
		if err := os.WriteFile(p.file+".asked", nil, 0o600); err != nil {
			return v1.Price{}, err
		}
	}
	for parcel.Weight == 1 && ctx.Err() == nil {
		if _, err := os.Stat(p.file); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return v1.Price{Amount: int64(parcel.Weight)}, ctx.Err()
}

// waitingCall runs a node whose cell has an old and a new version, with a call
// of the old one under way that ends when end is called.
func waitingCall(t *testing.T, change func(*config.Cell)) (r rig, answer <-chan error, end func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "answer")
	r = run(t, postage(privateDir(t), "v1", func(c *config.Cell) {
		c.Command = append(command("patient"), "postage", file)
		c.StopGrace = config.Duration(patience)
		if change != nil {
			change(c)
		}
	}), nil)
	done, err := r.ops.Deploy(soon(t), ops.Deployment{Cell: "postage", Command: command("v3"), Version: "v3"})
	if err != nil || !strings.Contains(strings.Join(done.Did, "\n"), "stays beside") {
		t.Fatalf("%v, %v", done.Did, err)
	}
	waiting, conn := make(chan error, 1), r.caller()
	go func() {
		amount, err := quoteV1(conn, 1)
		if err == nil && amount != 1 {
			t.Errorf("the call was answered %d", amount)
		}
		waiting <- err
	}()
	eventually(t, "the call is under way", func() bool { _, err := os.Stat(file + ".asked"); return err == nil })
	return r, waiting, func() {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A version is stopped while it answers, and woken by another call: the new
// process takes that, and the old one finishes what it has begun.
func TestACallUnderWayOutlivesANewProcess(t *testing.T) {
	t.Parallel()
	r, answer, end := waitingCall(t, nil)
	stopped := make(chan error, 1)
	go func() {
		_, err := r.ops.Stop(soon(t), ops.Name{Cell: "postage"})
		stopped <- err
	}()
	eventually(t, "its process drains", func() bool {
		all, err := r.ops.Versions(soon(t), ops.Name{Cell: "postage"})
		return err == nil && all.Versions[0].State == "draining"
	})
	if amount, err := quoteV1(r.caller(), 7); err != nil || amount != 7 {
		t.Errorf("the call that woke it: %d, %v", amount, err)
	}
	select {
	case err := <-answer:
		t.Fatalf("the call under way was cut: %v", err)
	default:
	}
	end()
	if err := <-answer; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A call that takes longer than a version may be idle keeps that awake.
func TestAVersionThatAnswersIsNotIdle(t *testing.T) {
	t.Parallel()
	const idle = 50 * time.Millisecond
	r, answer, end := waitingCall(t, func(c *config.Cell) { c.VersionIdle = config.Duration(idle) })
	time.Sleep(10 * idle) // what must not happen has had its time
	all, err := r.ops.Versions(soon(t), ops.Name{Cell: "postage"})
	if err != nil || all.Versions[0].State != "ready" {
		t.Errorf("%+v, %v", all.Versions, err)
	}
	end()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	eventually(t, "it sleeps after the call", func() bool {
		all, err := r.ops.Versions(soon(t), ops.Name{Cell: "postage"})
		return err == nil && all.Versions[0].State == "asleep"
	})
}
