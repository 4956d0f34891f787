//go:build !nodragonboat && !s390x

package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus/consensustest"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node/raftnode"
)

// startMember runs a member that founds a cluster alone, and returns how to end
// it.
func startMember(t *testing.T, run, data string) (stop func()) {
	t.Helper()
	addr := consensustest.FreeAddr(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- raftnode.Run(ctx, raftnode.Settings{RuntimeDir: run, Dir: filepath.Join(data, "raft"), Identity: filepath.Join(data, "identity"),
			Listen: addr, Advertise: addr, Nodes: 1}, slog.New(slog.DiscardHandler))
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// TestRaftCommands talks to a member by the commands, one after the other.
func TestRaftCommands(t *testing.T) {
	run, data := t.TempDir(), t.TempDir()
	if err := os.Chmod(run, 0o700); err != nil {
		t.Fatal(err)
	}
	id, err := identity.LoadOrCreate(filepath.Join(data, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	node := id.ID().String()
	h, backup := host{dir: run}, filepath.Join(data, "cluster.backup")
	if code, _, complaint := h.run(t, "raft", "status"); code != ExitFailed || !strings.Contains(complaint, "cellnode run --raft") {
		t.Errorf("without a member: %d %s", code, complaint)
	}
	if code, _, complaint := h.run(t, "raft", "versions"); code != ExitFailed || !strings.Contains(complaint, "cellnode run --raft") {
		t.Errorf("versions without a member: %d %s", code, complaint)
	}
	stop := startMember(t, run, data)
	defer func() { stop() }()
	orders := filepath.Join(data, "orders.backup")
	for _, tc := range []struct {
		args string
		code int
		out  string
		err  string
	}{
		{"raft status --wait 30s", 0, "in cluster", ""},
		{"raft status -o json", 0, `"formed": true`, ""},
		{"raft groups", 0, "cluster", ""},
		{"raft create orders", 0, `group "orders" is in the table, with 1 replica`, ""},
		{"raft create orders", 64 + 10, "", "changed by somebody else"},
		{"raft create a/b", 64 + 3, "", "letters, digits, dots"},
		{"raft create .a", 64 + 3, "", "begins with no dot"},
		{"raft create " + strings.Repeat("x", 62), 64 + 3, "", "1 to 61"},
		{"raft create far --replicas 2", 64 + 3, "", "2 replicas on 1 nodes"},
		{"raft groups -o json", 0, `"name": "orders"`, ""},
		{"raft add orders " + node, 64 + 10, "", "has a replica"},
		{"raft add orders nobody", 64 + 9, "", "not of this cluster"},
		{"raft add cluster " + node, 64 + 10, "", "voter already"},
		{"raft move orders " + node + " nobody", 64 + 9, "", "not of this cluster"},
		{"raft transfer cluster " + node, 0, "leads group", ""},
		{"raft transfer none " + node, 64 + 5, "", "a node that has one"},
		{"raft snapshot cluster", 0, "at index", ""},
		{"raft backup cluster " + backup, 0, "is in " + backup, ""},
		{"raft backup cluster " + backup, 1, "", "say --force"},
		{"raft backup cluster " + backup + " --force", 0, "is in " + backup, ""},
		{"raft check " + backup, 0, "in order", ""},
		{"raft check " + filepath.Join(data, "raft"), 1, "", "in use by process"},
		{`call kv.orders.KV.Put {"Key":"YQ==","Value":"Yg=="}`, 0, "", ""},
		{"raft backup orders " + orders, 0, "is in " + orders, ""},
		{"raft load orders " + orders, 64 + 10, "", "raft create"},
		{"raft load none " + orders, 64 + 5, "", "none"},
		{"raft load orders " + data + "/nothing", 1, "", "no such file"},
		{"raft create copy", 0, "with 1 replica", ""},
		{`call kv.copy.KV.Get {"Key":"YQ=="}`, 0, `"Found":false`, ""},
		{"raft load copy " + backup, 0, "keys of group \"cluster\"", ""},
		{"raft remove copy --yes", 0, "delete its data", ""},
		{"raft create again", 0, "with 1 replica", ""},
		{`call kv.again.KV.Get {"Key":"YQ=="}`, 0, `"Found":false`, ""},
		{"raft load again " + orders, 0, "1 keys of group \"orders\"", ""},
		{`call kv.again.KV.Get {"Key":"YQ=="}`, 0, `"Value":"Yg=="`, ""},
		{`call kv.again.KV.Put {"Key":"eg==","Value":"eg=="}`, 0, "", ""},
		{"raft split none m later", 64 + 5, "", "none"},
		{"raft split again m orders", 64 + 10, "", "orders"},
		{"raft split again m later", 0, "later", ""},
		{`call kv.again.KV.Get {"Key":"eg=="}`, 64 + 9, "", `are in group "later"`},
		{`call kv.later.KV.Get {"Key":"eg=="}`, 0, `"Value":"eg=="`, ""},
		{`call kv.again.KV.Get {"Key":"YQ=="}`, 0, `"Value":"Yg=="`, ""},
		{"raft groups", 0, "later", ""},
		{"raft remove later --yes", 64 + 10, "", "delete that one first"},
		{"raft remove orders", 2, "", "--yes"},
		{"raft remove orders --yes", 0, "delete its data", ""},
		{"raft remove cluster --yes", 64 + 3, "", "name a node"},
		{"raft backup orders " + data + "/none/x", 1, "", "make it"},
		{"raft check " + data, 1, "", "raft.dir"},
		{"raft remove cluster nobody", 64 + 9, "", "no member"},
		{"raft restore " + backup, 2, "", "--dir"},
		{"raft restore " + backup + " --dir " + data + "/new --replica 1 --member 1=" + node, 1, "", "a number is used once"},
		{"raft restore " + backup + " --dir " + data + "/new --replica 101 --member 101=" + node, 0, "what was committed after that is lost", ""},
		{"raft check " + data + "/new", 0, "in order", ""},
		{"raft member", 1, "", "a node starts this"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			code, out, complaint := h.run(t, strings.Fields(tc.args)...)
			// A group that was made just now has to be started, and one that is split gets
			// its keys a little before the table says that it has them.
			notYet := func() bool {
				return strings.HasPrefix(tc.args, "call ") && code != tc.code || strings.Contains(complaint, "wait for that")
			}
			for end := time.Now().Add(time.Minute); notYet() && time.Now().Before(end); {
				time.Sleep(20 * time.Millisecond)
				code, out, complaint = h.run(t, strings.Fields(tc.args)...)
			}
			if code != tc.code || !strings.Contains(out, tc.out) || !strings.Contains(complaint, tc.err) {
				t.Errorf("%d, want %d\n%s%s", code, tc.code, out, complaint)
			}
			if strings.HasSuffix(tc.args, "-o json") {
				fitForPrograms(t, out)
			}
		})
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		code, out, complaint := h.run(t, "stat", "raft", "-o", "json")
		if code == 0 && strings.Contains(out, `"group": "cluster"`) && strings.Contains(out, `"cell_raft_applied"`) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("metrics of the groups: %d %s%s", code, out, complaint)
		}
	}
	if err := raftnode.SetVersions(t.Context(), run, []raftnode.Version{{Cell: "calculator", Version: "v2", State: "ready", Current: true}}); err != nil {
		t.Error(err)
	}
	if code, out, complaint := h.run(t, "raft", "versions"); code != 0 || !strings.Contains(out, "calculator") || !strings.Contains(out, shortNode(node)) {
		t.Errorf("what the node has told the table: %d %s%s", code, out, complaint)
	}
	if code, out, _ := h.run(t, "raft", "versions", "-o", "json"); code != 0 || !strings.Contains(out, `"version": "v2"`) {
		t.Errorf("for programs: %d %s", code, out)
	}
	stop()
	stop = func() {}
	if code, out, complaint := h.run(t, "raft", "check", filepath.Join(data, "raft")); code != 0 || !strings.Contains(out, "replica 1 of group") {
		t.Errorf("a directory that nobody uses: %d %s%s", code, out, complaint)
	}

	// What was restored is a cluster of its own.
	if err := os.Rename(filepath.Join(data, "raft"), filepath.Join(data, "old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(data, "new"), filepath.Join(data, "raft")); err != nil {
		t.Fatal(err)
	}
	stop = startMember(t, run, data)
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		code, out, complaint := h.run(t, "raft", "status")
		if code == 0 && strings.Contains(out, "in cluster restored-") && strings.Contains(out, node) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d %s%s", code, out, complaint)
		}
	}
}
