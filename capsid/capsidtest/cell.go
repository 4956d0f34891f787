package capsidtest

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/capsid"
)

// roleArg is the first argument of a cell of the suite; its role follows.
const roleArg = "capsidtest-cell"

// lifetime ends a cell that everybody has forgotten.
const lifetime = 2 * time.Minute

// Roles are what the cell can do, by name. A package that tests more adds its
// own before Main. The arguments are those behind the role.
var Roles = map[string]func(args []string){
	"exit":     func(args []string) { os.Exit(number(args[0])) },
	"say":      func(args []string) { fmt.Println(strings.Join(args, " ")) },
	"crash":    func([]string) { debug.SetTraceback("crash"); panic("as asked") },
	"killself": func([]string) { fmt.Println("about to end"); _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) },
	"sleep":    func([]string) { fmt.Println("ready"); select {} },
	"stubborn": func([]string) { signal.Ignore(syscall.SIGTERM); fmt.Println("ready"); select {} },
	"polite":   polite,
	"env":      func([]string) { e := os.Environ(); slices.Sort(e); fmt.Println(strings.Join(e, "\n")) },
	"where":    func([]string) { d, err := os.Getwd(); fmt.Println(d, err) },
	"echo":     echo,
	"memory":   memory,
	"spin":     func([]string) { fmt.Println("ready"); spin() },
	"flood":    flood,
	"grow":     grow,
	"open":     openMany,
	"breed":    breed,
	"parent":   parent,
	"fds":      descriptors,
	"whoami":   func([]string) { fmt.Println(os.Getuid(), os.Getgid(), os.Getpid()) },
}

// Main runs the cell, if this process is one, and does not return then.
func Main() {
	if len(os.Args) < 3 || os.Args[1] != roleArg {
		return
	}
	time.AfterFunc(lifetime, func() { os.Exit(99) })
	role, ok := Roles[os.Args[2]]
	if !ok {
		fmt.Println("there is no role", os.Args[2])
		os.Exit(98)
	}
	role(os.Args[3:])
	os.Exit(0)
}

// Command is the command of a cell that plays role.
func Command(role ...string) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{self, roleArg}, role...)
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		fmt.Println(err)
		os.Exit(97)
	}
	return n
}

func polite([]string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("ready")
	<-c
	fmt.Println("asked to end")
	os.Exit(7)
}

// Node is the cell's end of its socket.
func Node() *net.UnixConn {
	f := os.NewFile(uintptr(number(os.Getenv(capsid.EnvNode))), "node")
	c, err := net.FileConn(f)
	if err != nil {
		fmt.Println(err)
		os.Exit(96)
	}
	return c.(*net.UnixConn)
}

func echo([]string) {
	c := Node()
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil || n == 0 {
			return
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

func memory(args []string) {
	fmt.Println("ready")
	var all [][]byte
	const piece = 1 << 20
	for n := number(args[0]); n > 0; n -= piece {
		b := make([]byte, piece)
		for i := 0; i < len(b); i += 512 {
			b[i] = byte(i>>9) | 1
		}
		all = append(all, b)
	}
	fmt.Println("had", len(all))
}

func spin() {
	for n := uint64(1); ; n++ {
		if n == 0 {
			return
		}
	}
}

func flood(args []string) {
	line := strings.Repeat("x", 99) + "\n"
	for n := number(args[0]); n > 0; n -= len(line) {
		if _, err := io.WriteString(os.Stdout, line); err != nil {
			return
		}
	}
	fmt.Println("flooded")
}

func grow(args []string) {
	f, err := os.Create(args[0])
	if err != nil {
		fmt.Println("refused", err)
		return
	}
	b := make([]byte, 64<<10)
	n := 0
	for want := number(args[1]); n < want; n += len(b) {
		if _, err := f.Write(b); err != nil {
			fmt.Println("full at", n, err)
			return
		}
	}
	fmt.Println("wrote", n)
}

func openMany([]string) {
	n := 0
	for {
		r, w, err := os.Pipe()
		if err != nil {
			fmt.Println("opened", 2*n, err)
			return
		}
		_, _ = r, w
		if n++; n > 1<<16 {
			fmt.Println("opened without limit")
			return
		}
	}
}

// breed starts children until it can't.
func breed(args []string) {
	n := 0
	for want := number(args[0]); n < want; n++ {
		cmd := exec.Command("/proc/self/exe", roleArg, "sleep")
		if self, err := os.Executable(); err == nil {
			cmd.Path = self
		} else {
			cmd.Path = os.Args[0]
		}
		if err := cmd.Start(); err != nil {
			fmt.Println("refused after", n, err)
			return
		}
	}
	fmt.Println("bred", n)
}

// parent leaves a child that holds its output, and waits or ends.
func parent(args []string) {
	breed([]string{"2"})
	if len(args) > 0 && args[0] == "end" {
		return
	}
	fmt.Println("ready")
	select {}
}

// descriptors prints which are open.
func descriptors([]string) {
	for fd := range 1024 {
		if _, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0); e == 0 {
			flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
			if flags&syscall.FD_CLOEXEC == 0 { // the runtime's own are close-on-exec
				fmt.Println("fd", fd)
			}
		}
	}
}
