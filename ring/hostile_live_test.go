package ring

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// scribblerSocket is where the hostile process receives the rings.
const scribblerSocket = 3

func init() { children["scribble"] = childScribble }

// childScribble scribbles over the rings that come through its socket, always
// over the newest two, until the socket ends.
func childScribble(args []string) {
	seed := must(strconv.ParseUint(args[0], 10, 64))
	r := rand.New(rand.NewPCG(seed, 6))
	var rings [2]*Memory
	must(0, unix.SetNonblock(scribblerSocket, true))
	for {
		fds, err := receiveFDs(scribblerSocket, rings[0] == nil)
		if err != nil {
			return
		}
		for i, fd := range fds {
			if rings[i] != nil {
				must(0, rings[i].Close())
			}
			rings[i] = must(Attach(fd, SPSC))
		}
		for range 200 {
			scribbler{rings[r.IntN(2)], r}.act(r.IntN(11), r.IntN(256))
			for range r.IntN(200) {
				pause() // sometimes, let the prey come far
			}
		}
	}
}

// receiveFDs returns two descriptors, or none if none are there and wait is
// false; an error is the end.
func receiveFDs(socket int, wait bool) ([]int, error) {
	if wait {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(socket), Events: unix.POLLIN}}, 20_000)
	}
	b, control := make([]byte, 1), make([]byte, unix.CmsgSpace(2*4))
	n, size, _, _, err := unix.Recvmsg(socket, b, control, unix.MSG_CMSG_CLOEXEC)
	if errors.Is(err, unix.EAGAIN) && !wait {
		return nil, nil
	}
	if err != nil || n == 0 {
		return nil, errors.Join(err, ErrPeerGone)
	}
	messages, err := unix.ParseSocketControlMessage(control[:size])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(err, ErrCorrupt)
	}
	return unix.ParseUnixRights(&messages[0])
}

// Another process scribbles over both rings and punches holes into them while
// the prey works; the prey notices, gives the rings up and goes on with new
// ones. CELL_SOAK=1 makes it a minute.
func TestHostileProcess(t *testing.T) {
	skipEmulated(t, "it can't start this binary again")
	length := 2 * time.Second
	if os.Getenv("CELL_SOAK") != "" {
		length = time.Minute
	} else if testing.Short() {
		length = 500 * time.Millisecond
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "socket")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=scribble "+strconv.FormatInt(time.Now().UnixNano(), 10))
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()

	rings, noticed, received := 0, 0, 0
	r := rand.New(rand.NewPCG(1, 7))
	// On a busy machine the scribbler may get no turn for long.
	enough := func(since time.Duration) bool { return since > length && noticed >= 3 || since > time.Minute+length }
	for begin := time.Now(); !enough(time.Since(begin)) && !t.Failed(); rings++ {
		t.Run("", func(t *testing.T) {
			x, shared := newPrey(t)
			if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(shared[0].FD(), shared[1].FD()), nil, 0); err != nil {
				t.Fatal("the hostile process is gone: ", err)
			}
			if !x.sides() {
				noticed++
				return
			}
			for begun := time.Now(); x.corrupt == 0 && time.Since(begun) < 100*time.Millisecond; {
				for range 100 {
					x.act(r.IntN(9), r.IntN(256))
				}
			}
			x.settle()
			noticed += min(1, x.corrupt)
			received += x.received
		})
	}
	unix.Close(pair[0])
	if err := cmd.Wait(); err != nil {
		t.Errorf("the hostile process: %v", err)
	}
	t.Logf("%d pairs of rings, %d noticed to be corrupt, %d records read", rings, noticed, received)
	if noticed < 3 {
		t.Errorf("only %d of %d pairs of rings were noticed to be corrupt", noticed, rings)
	}
}
