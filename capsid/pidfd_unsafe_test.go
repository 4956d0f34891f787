package capsid

import (
	"os/exec"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// asBefore510 has pidfd_open refuse flags on this thread, as it does on kernels
// before 5.10. The filter can't be taken away, so the thread ends with the test.
func asBefore510(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	flags := uint32(24) // offset of the second argument's lower half in struct seccomp_data
	f := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_PIDFD_OPEN},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: 0},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Skip(err)
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		t.Skip("no filters of system calls here: ", err)
	}
}

func TestTheEndOfAProcessIsSeen(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T){
		"on this kernel": func(*testing.T) {}, "on one that takes no flags for a pidfd": asBefore510,
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("sleep", "100")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			prepare(t)
			ended := make(chan struct{})
			stop, err := whenEnded(cmd.Process.Pid, func() { close(ended) })
			if err != nil {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				t.Fatal(err)
			}
			defer stop()
			select {
			case <-ended:
				t.Error("it was taken for ended while it lived")
			case <-time.After(10 * time.Millisecond):
			}
			_ = cmd.Process.Kill()
			<-ended
			_ = cmd.Wait()
		})
	}
}
