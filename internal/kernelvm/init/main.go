// Command init is the first process of a kernelvm machine: it mounts what
// programs expect, loads modules, makes interfaces, runs the commands of its
// plan and ends the machine with the result.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/internal/kernelvm/guest"
)

func main() {
	result := guest.Passed
	if err := run(); err != nil {
		fmt.Printf("init: %v\n", err)
		result = guest.Failed
	}
	leave(result)
}

// leave ends the machine: the exit device first, power off where that is
// missing.
func leave(result int) {
	unix.Sync()
	if port, err := os.OpenFile("/dev/port", os.O_RDWR, 0); err == nil {
		_, _ = port.WriteAt([]byte{byte(result)}, 0x501)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	begin := time.Now()
	if err := mounts(); err != nil {
		return err
	}
	text, err := os.ReadFile(guest.PlanPath)
	if err != nil {
		return err
	}
	var plan guest.Plan
	if err := json.Unmarshal(text, &plan); err != nil {
		return err
	}
	for _, path := range plan.Modules {
		if err := load(path); err != nil {
			return err
		}
	}
	links := append([]guest.Link{{Name: "lo", Kind: "loopback"}}, plan.Links...)
	for _, l := range links {
		if err := raise(l); err != nil {
			return fmt.Errorf("interface %s: %w", l.Name, err)
		}
	}
	uptime, _ := os.ReadFile("/proc/uptime")
	fmt.Printf("init: ready after %v; uptime %s", time.Since(begin).Round(time.Millisecond), uptime)
	return commands(plan.Commands)
}

// leaveRAMDisk makes the root a mount of its own: from the kernel's first one nobody
// can change to another (pivot_root(2)), which sandboxes do.
func leaveRAMDisk() error {
	const stage = "/stage"
	if err := os.Mkdir(stage, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/", stage, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding the root: %w", err)
	}
	if err := unix.Chdir(stage); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Chdir("/")
}

func mounts() error {
	if err := leaveRAMDisk(); err != nil {
		return err
	}
	for _, m := range []struct {
		kind, path string
		mode       os.FileMode
	}{
		{"proc", "/proc", 0o555}, {"sysfs", "/sys", 0o555}, {"devtmpfs", "/dev", 0o755},
		{"devpts", "/dev/pts", 0o755}, {"tmpfs", "/dev/shm", 0o1777}, {"tmpfs", "/tmp", 0o1777}, {"tmpfs", "/var/tmp", 0o1777},
		{"tmpfs", "/run", 0o755}, {"cgroup2", "/sys/fs/cgroup", 0o755}, {"bpf", "/sys/fs/bpf", 0o700},
	} {
		if err := os.MkdirAll(m.path, m.mode); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOENT) {
			return err
		}
		if err := unix.Mount(m.kind, m.path, m.kind, 0, ""); err != nil && m.kind != "bpf" {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	return nil
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("loading %s: %w", path, err)
	}
	return nil
}

func commands(all []guest.Command) error {
	var failed error
	for _, c := range all {
		begin := time.Now()
		p := exec.Command(c.Args[0], c.Args[1:]...)
		p.Stdout, p.Stderr = os.Stdout, os.Stdout
		p.Env = append([]string{"PATH=/bin:/usr/bin:/sbin", "HOME=/tmp", "TMPDIR=/tmp"}, c.Env...)
		err := p.Run()
		fmt.Printf("init: %s: %v after %v\n", c.Args[0], err, time.Since(begin).Round(time.Millisecond))
		failed = errors.Join(failed, err)
	}
	return failed
}
