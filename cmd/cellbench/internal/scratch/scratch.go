// Package scratch makes directories that vanish with the run that uses them,
// also when that is killed: a process of their own makes each, and removes it when
// the pipe to whoever asked for it ends.
package scratch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// Arg is the hidden first argument that makes the program a keeper of one
// directory; the program must then call Main with what follows.
const Arg = "_scratch"

// Dir is a directory that a keeper made.
type Dir struct {
	Path   string
	keeper *exec.Cmd
	life   io.Closer // the keeper's standard input
}

// New makes a directory of the given permissions within base ("" is where
// temporary files belong), whose name begins with prefix. The program must be one
// that calls Main.
func New(base, prefix string, mode fs.FileMode) (*Dir, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("this program can't be started again to keep a directory: %w; mount /proc", err)
	}
	cmd := exec.Command(exe, Arg, base, prefix, strconv.FormatUint(uint64(mode), 8))
	cmd.Stderr = os.Stderr
	// A group of its own: ctrl-C is not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s to keep a directory: %w", exe, err)
	}
	d := &Dir{keeper: cmd, life: in}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("no directory within %q; set TMPDIR to one that exists and that you may write to", base), d.Close())
	}
	d.Path = strings.TrimSuffix(line, "\n")
	return d, nil
}

// Close removes the directory and all that is in it.
func (d *Dir) Close() error {
	return errors.Join(d.life.Close(), d.keeper.Wait())
}

// Main keeps one directory until the standard input ends, and returns the exit
// status. args is what follows Arg.
func Main(args []string) int {
	// Who asked may be gone before it is told where: no reason to leave it.
	signal.Ignore(syscall.SIGPIPE)
	if err := keep(args); err != nil {
		fmt.Fprintln(os.Stderr, "cellbench:", err)
		return 1
	}
	return 0
}

func keep(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("%s is for cellbench itself", Arg)
	}
	mode, err := strconv.ParseUint(args[2], 8, 9)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(args[0], args[1])
	if err != nil {
		return err
	}
	if err = os.Chmod(dir, fs.FileMode(mode)); err == nil {
		_, err = fmt.Println(dir)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, os.Stdin)
	}
	return errors.Join(err, os.RemoveAll(dir))
}
