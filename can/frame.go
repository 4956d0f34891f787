package can

import (
	"fmt"
	"time"
)

const (
	// ClassicData and FDData are the most data bytes of one frame.
	ClassicData = 8
	FDData      = 64
)

// FrameFlags say what kind of frame a [Frame] is.
type FrameFlags uint8

// The flags of a frame.
const (
	// FlagFD marks a frame in the FD format; without it the frame is classic.
	FlagFD FrameFlags = 1 << 0
	// FlagBRS: the data phase of an FD frame runs at the data bit rate.
	FlagBRS FrameFlags = 1 << 1
	// FlagESI: the sender of an FD frame is error passive.
	FlagESI FrameFlags = 1 << 2
	// FlagStandard: the identifier has 11 bits. Cell sends no such frames and
	// ignores those of others.
	FlagStandard FrameFlags = 1 << 3
	// FlagRemote: a remote transmission request, which Cell ignores.
	FlagRemote FrameFlags = 1 << 4
	// FlagError: no frame of the bus but the controller's word about it; see
	// [ParseError].
	FlagError FrameFlags = 1 << 5
	// FlagHardwareTime: Time was taken by the controller, not by the kernel.
	FlagHardwareTime FrameFlags = 1 << 6
)

// Frame is one frame of a bus. It owns its data, so it may be copied.
type Frame struct {
	// Time is when the frame was received, in nanoseconds of the clock of
	// whoever took it (Unix time for SocketCAN, bus time for a [Model]); 0 if
	// unknown or not received.
	Time int64
	// ID is the identifier: 29 bits, or 11 with FlagStandard, or the classes
	// of an error with FlagError.
	ID ID
	// Len is how many bytes of Data count; see [DataLength].
	Len   uint8
	Flags FrameFlags
	// Lost is how many frames the receiver's kernel had to drop just before
	// this one, for lack of room. It is 0 on a frame to be sent.
	Lost uint32
	Data [FDData]byte
}

// Bytes returns the data of f, in f.
func (f *Frame) Bytes() []byte { return f.Data[:f.Len] }

// Clock returns f.Time as time of day, which it is for SocketCAN.
func (f *Frame) Clock() time.Time { return time.Unix(0, f.Time) }

// String returns the frame as candump -L prints it: 8 (or 3) hexadecimal digits
// of the identifier, "#" or "##" and the FD flags, and the data. cansend takes
// the same text.
func (f *Frame) String() string {
	id := fmt.Sprintf("%08X", uint32(f.ID))
	switch {
	case f.Flags&FlagError != 0:
		id = fmt.Sprintf("%08X", uint32(f.ID)|1<<29)
	case f.Flags&FlagStandard != 0:
		id = fmt.Sprintf("%03X", uint32(f.ID))
	}
	switch {
	case f.Flags&FlagRemote != 0:
		return fmt.Sprintf("%s#R", id)
	case f.Flags&FlagFD != 0:
		return fmt.Sprintf("%s##%X%X", id, uint8(f.Flags&(FlagBRS|FlagESI))>>1, f.Bytes())
	}
	return fmt.Sprintf("%s#%X", id, f.Bytes())
}

// DataLength returns the least length that a frame for n bytes can have: n up
// to 8 bytes; 12, 16, 20, 24, 32, 48 or 64 above, for which the format has
// codes (ISO 11898-1, table of data length codes). It returns 0 for n above 64.
func DataLength(n int) int {
	switch {
	case n <= ClassicData:
		return n
	case n <= 24:
		return (n + 3) &^ 3
	case n <= 32:
		return 32
	case n <= 48:
		return 48
	case n <= FDData:
		return FDData
	}
	return 0
}

// valid reports whether f can travel on a bus, with FD frames or without.
func (f *Frame) valid(fd bool) bool {
	if f.Flags&FlagFD == 0 {
		return f.Len <= ClassicData
	}
	return fd && f.Len <= FDData && DataLength(int(f.Len)) == int(f.Len)
}
