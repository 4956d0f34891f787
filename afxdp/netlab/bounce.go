package netlab

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// Bouncer is an XDP program that sends every frame back where it came from,
// with its MAC addresses exchanged: what the kernel itself can do.
type Bouncer struct {
	program *ebpf.Program
	link    link.Link
}

// Bounce attaches one to the interface with an index, behind the driver if
// generic, in it if not. In the driver, a veth pair wants a program in the
// driver at its other end, too, or frames vanish there.
func Bounce(ifindex int, generic bool) (*Bouncer, error) {
	swap := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
	}
	for i := int16(0); i < 6; i += 2 {
		swap = append(swap,
			asm.LoadMem(asm.R5, asm.R2, i, asm.Half), asm.LoadMem(asm.R6, asm.R2, 6+i, asm.Half),
			asm.StoreMem(asm.R2, i, asm.R6, asm.Half), asm.StoreMem(asm.R2, 6+i, asm.R5, asm.Half))
	}
	swap = append(swap, asm.Mov.Imm(asm.R0, xdpTX), asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"), asm.Return())
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, AttachType: ebpf.AttachXDP, Instructions: swap, License: "GPL"})
	if err != nil {
		return nil, fmt.Errorf("netlab: loading the bouncer: %w", err)
	}
	flags := link.XDPDriverMode
	if generic {
		flags = link.XDPGenericMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: ifindex, Flags: flags})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlab: attaching the bouncer: %w", err), p.Close())
	}
	return &Bouncer{p, l}, nil
}

// Close detaches it.
func (b *Bouncer) Close() error { return errors.Join(b.link.Close(), b.program.Close()) }
