package can

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// note reads the control messages of a frame: when it came, and how many
// frames the kernel had dropped until then.
func (s *Socket) note(f *Frame, control []byte) {
	for {
		level, kind, data, rest, ok := nextControl(control)
		if !ok {
			return
		}
		control = rest
		switch {
		case level != unix.SOL_SOCKET:
		case kind == unix.SO_RXQ_OVFL && len(data) >= 4:
			// A counter since the socket was made; only its growth is news.
			total := binary.NativeEndian.Uint32(data)
			f.Lost, s.lost = total-s.lost, total
		case kind == unix.SO_TIMESTAMPING && len(data) >= 48:
			// struct scm_timestamping: software, deprecated, raw hardware.
			if hard := timespec(data[32:]); hard != 0 {
				f.Time = hard
				f.Flags |= FlagHardwareTime
			} else {
				f.Time = timespec(data)
			}
		}
	}
}

// timespec reads a struct timespec of 64 bits each, in nanoseconds.
func timespec(b []byte) int64 {
	return int64(binary.NativeEndian.Uint64(b))*1e9 + int64(binary.NativeEndian.Uint64(b[8:]))
}
