package netbench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/afxdp/xsk"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/scratch"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/perf"
	"github.com/cell-runtime/cell/sched"
)

// echo sends each frame back that comes, as it came: in the sender's own memory
// and by a system call of its own, which is what a link does at the least.
func (f *frames) echo(stop *atomic.Bool) error {
	s, memory := f.b.Sockets[0], f.b.Umem
	if f.freeB == nil {
		for i := uint64(frameCount / 2); i < frameCount; i++ {
			f.freeB = append(f.freeB, i*frameSize)
		}
	}
	var in [1]xsk.Desc
	for i := 0; ; i++ {
		if s.Rx.Take(in[:]) == 0 {
			sched.Pause()
			if i%looks == 0 && stop.Load() {
				return nil
			}
			continue
		}
		if n := s.Completion.Take(f.backB[:]); n > 0 {
			f.freeB = append(f.freeB, f.backB[:n]...)
		}
		out := xsk.Desc{Address: f.freeB[len(f.freeB)-1], Length: in[0].Length}
		copy(memory.Packet(out), memory.Packet(in[0]))
		f.freeB = f.freeB[:len(f.freeB)-s.Tx.Put([]xsk.Desc{out})]
		if _, err := s.WakeTx(); err != nil {
			return err
		}
		s.Fill.Put([]uint64{in[0].Address &^ (frameSize - 1)})
	}
}

// cSender is a sender in C, and the receiver of frames.
type cSender struct {
	*frames
	lab     *netlab.Lab
	folder  *scratch.Dir
	program string // perf/xdpsock, in folder
}

func openSender(ctx context.Context, l *netlab.Lab, s *Spec) (contestant, error) {
	c, err := openFrames(l, false, s)
	if err != nil {
		return nil, err
	}
	f := c.(*frames)
	// The queue of the near host is the program's.
	err = errors.Join(f.near_.Close(), f.a.Close())
	f.near_, f.a = nil, nil
	r := &cSender{frames: f, lab: l}
	if err == nil {
		err = r.build(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (c *cSender) build(ctx context.Context) error {
	dir, err := scratch.New("", "cellbench-xdpsock-", 0o700)
	if err != nil {
		return err
	}
	c.folder, c.program = dir, filepath.Join(dir.Path, "sender")
	if err := os.WriteFile(c.program+".c", perf.Sender, 0o600); err != nil {
		return err
	}
	gcc := exec.CommandContext(ctx, "gcc", "-O3", "-std=gnu11", "-o", c.program, c.program+".c")
	gcc.Env = append(os.Environ(), "TMPDIR="+dir.Path)
	if out, err := gcc.CombinedOutput(); err != nil {
		return fmt.Errorf("gcc could not build perf/xdpsock: %w\n%s", err, out)
	}
	return nil
}

func (c *cSender) about() (string, []string) {
	return "perf/xdpsock, a sender in C over AF_XDP, into a bare AF_XDP socket", nil
}

func (c *cSender) close() error {
	err := c.frames.close()
	if c.folder != nil {
		err = errors.Join(err, c.folder.Close())
	}
	return err
}

func (c *cSender) near(s *Spec, length time.Duration, stop *atomic.Bool) (report.Sample, error) {
	var said bytes.Buffer
	cmd := exec.Command(c.program, strconv.Itoa(c.lab.A.Index), "0", strconv.Itoa(s.CPUs[0]), strconv.Itoa(len(c.descs)))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(c.template), &said
	// It dies with the thread that starts it, which is the host's.
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := c.lab.A.Do(cmd.Start); err != nil {
		return report.Sample{}, err
	}
	time.Sleep(s.Warmup + length)
	stop.Store(true)
	_ = cmd.Process.Kill() // it may have ended
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && !exit.Exited() {
		return report.Sample{}, nil
	}
	return report.Sample{}, fmt.Errorf("perf/xdpsock: %w\n%s", err, said.Bytes())
}

// generated is what a receiver takes of frames that the kernel makes.
type generated struct {
	*frames
	lab *netlab.Lab
	g   *netlab.Generator
}

// openGenerated has the far end's program in the driver: elsewhere such frames
// vanish.
func openGenerated(l *netlab.Lab, s *Spec) (contestant, error) {
	driver := *s
	driver.Mode = ebpf.ModeDriver
	c, err := openFrames(l, false, &driver)
	if err != nil {
		return nil, err
	}
	r := &generated{frames: c.(*frames), lab: l}
	if r.g, err = netlab.NewGenerator(l.A, r.template, netlab.Vary{}); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return r, nil
}

func (c *generated) about() (string, []string) {
	return "live frames of the kernel (BPF_PROG_RUN) into a bare AF_XDP socket, program in the driver", nil
}

func (c *generated) close() error { return errors.Join(c.g.Close(), c.frames.close()) }

func (c *generated) near(s *Spec, length time.Duration, stop *atomic.Bool) (report.Sample, error) {
	for until := after(s.Warmup + length); !past(until); {
		if err := c.lab.A.Do(func() error { return c.g.Send(1 << 14) }); err != nil {
			return report.Sample{}, err
		}
	}
	return report.Sample{}, nil
}

// polled is a receiver that sleeps, behind a thread of the kernel's.
type polled struct{ *frames }

func openPolled(l *netlab.Lab, s *Spec) (contestant, error) {
	driver := *s
	driver.Mode = ebpf.ModeDriver
	c, err := openFrames(l, false, &driver)
	if err != nil {
		return nil, err
	}
	if err := l.B.ThreadedNAPI(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return polled{c.(*frames)}, nil
}

func (c polled) about() (string, []string) {
	return "bare AF_XDP sockets, program in the driver, threaded NAPI, the receiver sleeps in poll", nil
}

func (c polled) far(s *Spec, stop *atomic.Bool) (report.Sample, error) {
	ds, back := make([]xsk.Desc, 64), make([]uint64, 64)
	fds := []unix.PollFd{{Fd: int32(c.b.Sockets[0].FD()), Events: unix.POLLIN}}
	return counted(s, stop, func() (int, error) {
		if n := take(c.b, ds, back); n > 0 {
			return n, nil
		}
		_, err := unix.Poll(fds, 1)
		if errors.Is(err, unix.EINTR) {
			err = nil
		}
		return 0, err
	})
}
