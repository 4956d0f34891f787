package netlab

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Generator floods from the kernel: BPF_PROG_RUN with live frames
// (docs.kernel.org/bpf/bpf_prog_run.html), which a program sends out of an
// interface. No socket is in the way. It takes Linux 5.18, and a receiver in
// the driver's mode (or with GRO): elsewhere such frames vanish.
type Generator struct {
	host    *Host
	program *ebpf.Program
	frame   []byte
}

const liveFrames = 1 << 1 // BPF_F_TEST_XDP_LIVE_FRAMES

// Verdicts of XDP.
const (
	xdpDrop = 1
	xdpPass = 2
	xdpTX   = 3
)

// Vary says what a generator does to each frame.
type Vary struct {
	// At is where 4 bytes at random are written; 0: nowhere.
	At int
	// Drop drops each frame instead of sending it: what making them costs.
	Drop bool
}

// NewGenerator sends frame out of h's interface.
func NewGenerator(h *Host, frame []byte, v Vary) (*Generator, error) {
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.FnGetPrandomU32.Call(),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, int32(v.At)+4),
		asm.JGT.Reg(asm.R4, asm.R3, "drop"),
	}
	if v.At != 0 {
		code = append(code, asm.StoreMem(asm.R2, int16(v.At), asm.R0, asm.Word))
	}
	if !v.Drop {
		code = append(code, asm.Mov.Imm(asm.R1, int32(h.Index)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return())
	}
	code = append(code, asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("drop"), asm.Return())
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "MIT", Instructions: code})
	if err != nil {
		return nil, fmt.Errorf("netlab: the generator: %w", err)
	}
	return &Generator{h, p, frame}, nil
}

// Send sends n frames within this call, from the calling thread, which must
// belong to the generator's host (Host.Do).
func (g *Generator) Send(n int) error {
	_, err := g.program.Run(&ebpf.RunOptions{Data: g.frame, Repeat: uint32(n), Flags: liveFrames})
	if err != nil {
		err = fmt.Errorf("netlab: sending live frames (Linux 5.18): %w", err)
	}
	return err
}

// Close lets go of the program.
func (g *Generator) Close() error { return g.program.Close() }
