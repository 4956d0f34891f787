package main

import (
	"encoding/binary"
	"fmt"

	cilium "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/cell-runtime/cell/afxdp/netlab"
)

// generator floods from the kernel: BPF_PROG_RUN with live frames, of which a
// program makes each different and sends it to an interface
// (docs.kernel.org/bpf/bpf_prog_run.html). No socket is in the way.
type generator struct {
	program *cilium.Program
	frame   []byte
}

const (
	liveFrames = 1 << 1 // BPF_F_TEST_XDP_LIVE_FRAMES
	counterAt  = 14 + 20 + 8 + 56
)

// newGenerator sends to host A from host B; with sink it drops instead.
func newGenerator(lab *netlab.Lab, payload []byte, sink bool) (*generator, error) {
	frame, err := frameOf(lab, payload)
	if err != nil {
		return nil, err
	}
	verdict := asm.Instructions{asm.Mov.Imm(asm.R1, int32(lab.B.Index)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return()}
	if sink {
		verdict = asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}
	}
	code := append(asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.FnGetPrandomU32.Call(),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, counterAt+4),
		asm.JGT.Reg(asm.R4, asm.R3, "drop"),
		asm.StoreMem(asm.R2, counterAt, asm.R0, asm.Word),
	}, verdict...)
	code = append(code, asm.Mov.Imm(asm.R0, 1).WithSymbol("drop"), asm.Return())
	p, err := cilium.NewProgram(&cilium.ProgramSpec{Type: cilium.XDP, License: "MIT", Instructions: code})
	if err != nil {
		return nil, fmt.Errorf("the generator: %w", err)
	}
	return &generator{p, frame}, nil
}

// send sends n packets from the calling thread, which belongs to host B.
func (g *generator) send(n int) error {
	_, err := g.program.Run(&cilium.RunOptions{Data: g.frame, Repeat: uint32(n), Flags: liveFrames})
	return err
}

// frameOf is a UDP datagram from B to A.
func frameOf(lab *netlab.Lab, payload []byte) ([]byte, error) {
	to, err := lab.A.Net.LinkByName(lab.A.Interface)
	if err != nil {
		return nil, err
	}
	from, err := lab.B.Net.LinkByName(lab.B.Interface)
	if err != nil {
		return nil, err
	}
	f := append(append(append([]byte{}, to.Attrs().HardwareAddr...), from.Attrs().HardwareAddr...), 8, 0)
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	copy(ip[12:], lab.B.V4.AsSlice())
	copy(ip[16:], lab.A.V4.AsSlice())
	sum := uint32(0)
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	udp := binary.BigEndian.AppendUint16(nil, 9999)
	udp = binary.BigEndian.AppendUint16(udp, port)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	return append(append(append(f, ip...), append(udp, 0, 0)...), payload...), nil
}
