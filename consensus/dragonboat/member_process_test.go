//go:build !nodragonboat && !s390x

package dragonboat

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
	"github.com/cell-runtime/cell/consensus/internal/wall"
	"github.com/cell-runtime/cell/internal/leash"
)

const memberEnv = "CELL_RAFT_MEMBER" // JSON of memberConfig: this process is a member

// memberConfig is one member of a cluster of processes.
type memberConfig struct {
	Replica int
	Dir     string
	Listen  string
	Peers   []string // addresses by which it reaches the others; its own is unused
	// Broken reads what the member has, without asking the leader: the fault
	// that the test has to find.
	Broken bool
	// Defaults: Raft's times are those of who says nothing.
	Defaults bool
	// Direct: members reach each other without wires between, so that they
	// notice what the kernel says of a process that has ended.
	Direct bool
}

// Keys that are no registers.
const (
	leaderKey = 254 // reading it says whether the member leads
	clockKey  = 253 // writing it sets by how many ns the member's wall clock is wrong
	bulkKey   = 251 // writing it writes so many bytes into the log that have no effect
)

func TestMain(m *testing.M) {
	if text := os.Getenv(memberEnv); text != "" {
		if err := memberMain(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if text := os.Getenv(idleEnv); text != "" {
		if err := idleMain(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if text := os.Getenv(damageEnv); text != "" {
		if err := damagedMain(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Most of these tests wait, for elections and for processes: more of them at
	// once than there are processors. Who says -parallel is heard after this.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func nodeName(replica int) consensus.NodeID {
	return consensus.NodeID(fmt.Sprintf("member-%d", replica))
}

// memberMain serves requests, a line each, until its input ends.
func memberMain(text string) error {
	var c memberConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	members := make(map[consensus.ReplicaID]consensus.NodeID)
	addrs := make(map[consensus.NodeID]string)
	for i, a := range c.Peers {
		members[consensus.ReplicaID(i+1)] = nodeName(i + 1)
		addrs[nodeName(i+1)] = a
	}
	o := Options{
		Node: nodeName(c.Replica), Dir: c.Dir, Listen: c.Listen, Insecure: true, Tick: 20 * time.Millisecond, ElectionTicks: 15,
		Resolve: func(_ context.Context, n consensus.NodeID) (string, error) { return addrs[n], nil },
	}
	if c.Defaults {
		o.Tick, o.ElectionTicks = 0, 0
	}
	h, err := Open(o)
	if err != nil {
		return err
	}
	g, err := h.Start(context.Background(), consensus.GroupConfig{
		Name: "registers", Replica: consensus.ReplicaID(c.Replica), Members: members,
		Machines: consensustest.Memory(0), SnapshotEntries: 500, KeepEntries: 50,
	})
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ) // writes beyond RLIMIT_FSIZE fail, as on a full disk
	var out sync.Mutex
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var id, value uint64
		var write bool
		var key byte
		if _, err := fmt.Sscan(in.Text(), &id, &write, &key, &value); err != nil {
			return err
		}
		go func() {
			got, err := memberDo(g, c.Broken, call{write: write, value: value}, key)
			out.Lock()
			defer out.Unlock()
			fmt.Println(id, uint64(answerOf(err)), got)
		}()
	}
	return h.Close()
}

func memberDo(g consensus.Group, broken bool, c call, key byte) (uint64, error) {
	if c.write && key == clockKey {
		wall.Jump(time.Duration(c.value))
		return 0, nil
	}
	if c.write && key == bulkKey {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := g.ProposeEntry(ctx, append([]byte{77}, make([]byte, c.value)...)) // no kind of entry
		return 0, err
	}
	if !c.write && key == leaderKey {
		if g.Status().Leads() {
			return 1, nil
		}
		return 0, nil
	}
	if !c.write && broken {
		answer, _, err := consensus.QueryStale(context.Background(), g, key, -1)
		if err != nil {
			return 0, err
		}
		return answer.(uint64), nil
	}
	return operate(g, c, key)
}

// member is a process of the cluster, as the test has it.
type member struct {
	t      testing.TB
	config memberConfig
	prefix []string // of the command line
	ahead  int64    // ns by which its clock is wrong

	mu    sync.Mutex
	cmd   *exec.Cmd
	leash *leash.Leash
	in    io.WriteCloser
	wait  map[uint64]chan [2]uint64
	next  uint64
}

func (m *member) start() {
	text, err := json.Marshal(m.config)
	if err != nil {
		m.t.Error(err)
		return
	}
	self, err := os.Executable()
	if err != nil {
		m.t.Error(err)
		return
	}
	line := append(slices.Clone(m.prefix), self)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), memberEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		m.t.Error(err)
		return
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Error(err)
		return
	}
	l, err := leash.Start(cmd)
	if err != nil {
		m.t.Error(err)
		return
	}
	m.mu.Lock()
	m.cmd, m.leash, m.in, m.wait = cmd, l, in, make(map[uint64]chan [2]uint64)
	wait := m.wait
	m.mu.Unlock()
	go m.answers(out, wait)
	if m.ahead != 0 { // the host's clock is wrong: it stays so
		go m.do(call{write: true, value: uint64(m.ahead)}, clockKey)
	}
}

// answers passes on what the process says, until it says nothing more.
func (m *member) answers(out io.Reader, wait map[uint64]chan [2]uint64) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var id, a, value uint64
		if _, err := fmt.Sscan(lines.Text(), &id, &a, &value); err != nil {
			break
		}
		m.mu.Lock()
		if c := wait[id]; c != nil {
			c <- [2]uint64{a, value}
			delete(wait, id)
		}
		m.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, c := range wait {
		close(c)
		delete(wait, id)
	}
}

// do asks the process.
func (m *member) do(c call, key byte) (uint64, answer) {
	m.mu.Lock()
	if m.in == nil {
		m.mu.Unlock()
		return 0, never
	}
	m.next++
	reply := make(chan [2]uint64, 1)
	m.wait[m.next] = reply
	_, err := fmt.Fprintln(m.in, m.next, c.write, key, c.value)
	m.mu.Unlock()
	if err != nil {
		return 0, unknown
	}
	select {
	case a := <-reply: // of a process that ended: zeros, unknown
		return a[1], answer(a[0])
	case <-time.After(6 * time.Second):
		return 0, unknown
	}
}

func (m *member) signal(s syscall.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd != nil {
		_ = syscall.Kill(m.cmd.Process.Pid, s)
	}
}

// kill ends the process without a warning and waits for its end.
func (m *member) kill() {
	m.signal(syscall.SIGKILL)
	m.mu.Lock()
	cmd, l := m.cmd, m.leash
	m.cmd, m.in = nil, nil
	m.mu.Unlock()
	if cmd != nil {
		_ = cmd.Wait()
		l.Release()
	}
}

// jump makes the process's wall clock wrong.
func (m *member) jump(by time.Duration) {
	m.ahead = int64(by)
	_, _ = m.do(call{write: true, value: uint64(m.ahead)}, clockKey)
}

// ends waits until the process has ended by itself, and notes that it has.
func (m *member) ends(patience time.Duration) bool {
	m.mu.Lock()
	cmd := m.cmd
	m.mu.Unlock()
	if cmd == nil {
		return true
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		// A zombie has ended; kill waits for it.
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if _, after, ok := strings.Cut(string(b), ") "); err != nil || ok && strings.HasPrefix(after, "Z") {
			return true
		}
	}
	return false
}

// wire is the way from one member to another. Blocked, nothing gets through in
// that direction; what was sent comes later, as it does over TCP.
type wire struct {
	listener net.Listener
	to       string
	blocked  atomic.Bool
	ctx      context.Context
}

func newWire(t testing.TB, ctx context.Context, to string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, to: to, ctx: ctx}
	go w.serve()
	return w
}

func (w *wire) serve() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		go w.pump(c)
	}
}

func (w *wire) pump(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer to.Close()
	stop := context.AfterFunc(w.ctx, func() { from.Close(); to.Close() })
	defer stop()
	go func() { // nothing comes back, but the end
		_, _ = io.Copy(io.Discard, to)
		from.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		for w.blocked.Load() && w.ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
