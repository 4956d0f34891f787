package leash

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is also the process that is killed: it starts a shell that starts
// another, tells both numbers when they are on the leash, and waits.
func TestMain(m *testing.M) {
	if os.Getenv("LEASH_TEST_PARENT") == "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("sh", "-c", "sleep 100 & echo $$ $!; wait")
	out, err := cmd.StdoutPipe()
	if err == nil {
		_, err = Start(cmd)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_, _ = io.Copy(os.Stdout, out)
}

func TestTheKilledLeaveNobody(t *testing.T) {
	parent := exec.Command("/proc/self/exe")
	parent.Env = append(os.Environ(), "LEASH_TEST_PARENT=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var child, grandchild int
	if _, err := fmt.Sscan(line, &child, &grandchild); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	for _, pid := range []int{child, grandchild} {
		if !lives(pid) {
			t.Fatalf("%d did not live to begin with", pid)
		}
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	for _, pid := range []int{child, grandchild} {
		for end := time.Now().Add(10 * time.Second); lives(pid); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				t.Errorf("%d lives on", pid)
				break
			}
		}
	}
}

// lives reports whether a process is there and no mere entry of a table.
func lives(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func TestReleaseKillsNobody(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 100 >/dev/null & echo $!")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	var left int
	if _, err := fmt.Fscan(out, &left); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	l.Release()
	if l.guard.ProcessState == nil {
		t.Error("the guardian was not waited for")
	}
	if !lives(left) {
		t.Error("what the released process had left was killed")
	}
	_ = syscall.Kill(left, syscall.SIGKILL)
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	if _, err := Start(exec.Command("/does/not/exist")); !os.IsNotExist(err) {
		t.Errorf("Start: %v", err)
	}
}
