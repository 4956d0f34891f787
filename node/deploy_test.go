package node_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/rpc"
)

// Who comes while a version is watched that replaces the one before is served.
func TestCallersComeWhileADeploymentIsWatched(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "v1", nil), nil)
	// On a slow host it must be watched for longer, for somebody to come meanwhile.
	for watch := 300 * time.Millisecond; !r.seenWatched(watch) && !t.Failed(); watch *= 2 {
		if watch > patience {
			t.Fatal("nobody came while it was watched")
		}
	}
}

// seenWatched deploys a version that is watched for a while, and has callers come
// until it is there. It reports whether one came meanwhile.
func (r rig) seenWatched(watch time.Duration) (watched bool) {
	t := r.t
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := r.ops.Deploy(context.Background(), ops.Deployment{Cell: "postage", Command: command("v2"), Version: "v2", Watch: int64(watch)})
		ended <- err
	}()
	for {
		before := r.state().Versions == 2
		conn, err := rpc.Connect(soon(t), r.dialer("postage"), &rpc.ConnOptions{Wait: rpc.WaitPark, Timeout: patience})
		if err == nil {
			_, err = v1.NewPostageClient(conn).Quote(soon(t), v1.Parcel{Weight: 7})
			_ = conn.Close()
		}
		if err != nil {
			t.Fatalf("a caller in between: %v", err)
		}
		watched = watched || before && r.state().Versions == 2
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			return watched
		default:
		}
	}
}

func TestAnOperatorWhoseTimeIsUp(t *testing.T) {
	t.Parallel()
	r := run(t, postage(privateDir(t), "v1", nil), nil)
	ctx, cancel := context.WithCancel(soon(t))
	ended := make(chan error, 1)
	go func() {
		_, err := r.ops.Deploy(ctx, ops.Deployment{Cell: "postage", Command: command("v2"), Version: "v2", Watch: int64(time.Hour)})
		ended <- err
	}()
	eventually(t, "it is watched", func() bool { return r.state().Versions == 2 })
	cancel()
	<-ended
	eventually(t, "callers are led back, and it is said why", func() bool {
		audit, err := r.ops.Audit(soon(t))
		return err == nil && slices.ContainsFunc(audit.Entries, func(e ops.Entry) bool {
			return e.Did == "returned" && strings.Contains(e.Why, "time was up")
		})
	})
	if s := r.state(); s.Version != "v1" || s.Versions != 1 {
		t.Errorf("%+v", s)
	}
}
