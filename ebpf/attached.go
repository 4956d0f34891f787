package ebpf

import (
	"encoding/binary"
	"fmt"
)

// Attachment is an XDP program that is attached to an interface.
type Attachment struct {
	Mode Mode   // ModeDriver or ModeGeneric; ModeAuto for hardware
	ID   uint32 // of the program: bpftool prog show id …
}

// OccupiedError says which program is in the way.
type OccupiedError struct {
	Interface string
	Program   string // its name, if this process may know it
	Attachment
}

func (e *OccupiedError) Error() string {
	what := fmt.Sprintf("program %d", e.ID)
	if e.Program != "" {
		what += " (" + e.Program + ")"
	}
	how := fmt.Sprintf("bpftool prog show id %d says whose it is; ip link set dev %s xdp off removes it, unless a bpf_link holds it", e.ID, e.Interface)
	if e.Program == dispatcherName {
		how = fmt.Sprintf("it is libxdp's dispatcher: xdp-loader status %s lists its programs, xdp-loader unload %s --all removes them; in mode tcx pheromone runs beside it, and redirect becomes one of its programs", e.Interface, e.Interface)
	}
	return fmt.Sprintf("%v: %s has %s in mode %v, which belongs to somebody else and stays (%s)", ErrOccupied, e.Interface, what, e.Mode, how)
}

// Unwrap makes errors.Is find ErrOccupied.
func (e *OccupiedError) Unwrap() error { return ErrOccupied }

// Attributes of an interface, from linux/if_link.h.
const (
	iflaXDP       = 43
	iflaXDPDrvID  = 5
	iflaXDPSkbID  = 6
	iflaXDPHwID   = 7
	nlaTypeMask   = 0x3fff
	nlaHeaderSize = 4
)

// Attached lists the XDP programs of the interface with an index in the calling
// thread's network namespace.
func Attached(ifindex int) ([]Attachment, error) {
	r, err := openRTNL()
	if err != nil {
		return nil, err
	}
	defer r.close()
	_, all, err := r.attached(ifindex)
	return all, err
}

// parseXDP reads the nested attributes of IFLA_XDP.
func parseXDP(b []byte) (all []Attachment) {
	for len(b) >= nlaHeaderSize {
		size := int(binary.NativeEndian.Uint16(b))
		if size < nlaHeaderSize || size > len(b) {
			return all
		}
		mode := ModeAuto
		known := true
		switch binary.NativeEndian.Uint16(b[2:]) & nlaTypeMask {
		case iflaXDPDrvID:
			mode = ModeDriver
		case iflaXDPSkbID:
			mode = ModeGeneric
		case iflaXDPHwID:
		default:
			known = false
		}
		if known && size == nlaHeaderSize+4 {
			all = append(all, Attachment{mode, binary.NativeEndian.Uint32(b[nlaHeaderSize:])})
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return all
}
