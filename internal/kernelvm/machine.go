package kernelvm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/cell-runtime/cell/internal/kernelvm/guest"
	"github.com/cell-runtime/cell/internal/leash"
)

// ErrFailed: the machine ran, and a command in it failed.
var ErrFailed = errors.New("kernelvm: a command in the machine failed")

// Link is a network interface that init makes and brings up.
type Link = guest.Link

// Command is a program that init runs, one after the other, as root.
type Command = guest.Command

// Machine is one boot of a kernel. Zero fields get the default.
type Machine struct {
	Kernel Kernel
	// Modules are loaded in this order, with what they depend on.
	Modules []string
	// Links are made then.
	Links []Link
	// Files are copied into the machine: the path there, and the one here.
	Files map[string]string
	// Commands run then; after the last one the machine ends.
	Commands []Command
	// Memory is in MiB; default 512.
	Memory int
	// CPUs default to 1. They are emulated, each by a thread: where a test waits by
	// spinning, a second one takes from the first what that needs to get on, and
	// on a host of two cores the same tests take twice as long.
	CPUs int
	// Append goes to the kernel's command line.
	Append string
	// QEMU is more arguments of QEMU, such as devices.
	QEMU []string
}

const (
	defaultMemory = 512
	defaultCPUs   = 1

	// Mitigations and address randomization cost time under emulation and
	// protect nothing in a machine that lives for seconds.
	commandLine = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off tsc=reliable no_timer_check " +
		"random.trust_cpu=on cgroup_no_v1=all"

	// QEMU exits with twice what was written to isa-debug-exit, plus one.
	exitPassed = guest.Passed<<1 | 1
	exitFailed = guest.Failed<<1 | 1
)

// Run boots the machine and copies what it prints to output until it ends, or
// ctx does. ErrFailed: a command failed; ErrMissing: QEMU is missing.
func (m Machine) Run(ctx context.Context, output io.Writer) error {
	if err := have("qemu-system-x86_64"); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "cell-vm-")
	if err != nil {
		return fmt.Errorf("kernelvm: %w", err)
	}
	defer os.RemoveAll(work)
	disk := filepath.Join(work, "initrd")
	if err := m.ramDisk(ctx, work, disk); err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "qemu-system-x86_64", m.arguments(disk)...)
	var complaints bytes.Buffer
	c.Stdout, c.Stderr = output, &complaints
	held, err := leash.Start(c) // a machine must not outlive who wanted it
	if err == nil {
		err = c.Wait()
		held.Release()
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("kernelvm: %s did not end in time: %w", m.Kernel.Release, ctx.Err())
	case errors.As(err, &exit) && exit.ExitCode() == exitPassed:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == exitFailed:
		return ErrFailed
	}
	return fmt.Errorf("kernelvm: %s ended by itself (QEMU: %v): %s", m.Kernel.Release, err, complaints.Bytes())
}

func (m Machine) arguments(disk string) []string {
	memory, cpus := m.Memory, m.CPUs
	if memory == 0 {
		memory = defaultMemory
	}
	if cpus == 0 {
		cpus = defaultCPUs
	}
	return append([]string{
		"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
		"-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-device", "isa-debug-exit,iobase=0x501,iosize=1",
		"-kernel", m.Kernel.Image, "-initrd", disk, "-append", commandLine + " " + m.Append,
	}, m.QEMU...)
}

// ramDisk writes the machine's root.
func (m Machine) ramDisk(ctx context.Context, work, disk string) error {
	order, files, err := m.Kernel.loadable(m.Modules)
	if err != nil {
		return err
	}
	start := filepath.Join(work, "init")
	if err := build(ctx, "build", "-o", start, "github.com/cell-runtime/cell/internal/kernelvm/init"); err != nil {
		return err
	}
	a := newArchive()
	plan := guest.Plan{Links: m.Links, Commands: m.Commands}
	for _, name := range order {
		path := "/modules/" + name + ".ko"
		a.file(path, files[name])
		plan.Modules = append(plan.Modules, path)
	}
	text, err := json.Marshal(plan)
	if err != nil {
		return fmt.Errorf("kernelvm: %w", err)
	}
	a.file(guest.PlanPath, text)
	sources := map[string]string{"/init": start}
	for to, from := range m.Files {
		sources[to] = from
	}
	for to, from := range sources {
		content, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("kernelvm: %w", err)
		}
		a.file(to, content)
	}
	if err := os.WriteFile(disk, a.bytes(), 0o600); err != nil {
		return fmt.Errorf("kernelvm: %w", err)
	}
	return nil
}

// build runs the go command for the machine's processor.
func build(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, "go", args...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("kernelvm: go %s: %w: %s", args[0], err, out)
	}
	return nil
}
