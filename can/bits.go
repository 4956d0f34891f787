package can

import "time"

// Rates are the bit rates of a bus in bit/s.
type Rates struct {
	// Nominal is that of classic frames and of an FD frame's arbitration.
	Nominal int
	// Data is that of an FD frame's data phase with FlagBRS; 0 means Nominal.
	Data int
}

// Bits is the length of one frame in bits of each rate, with the pause of 3
// bits behind it.
type Bits struct {
	Nominal, Data int
	// StuffNominal and StuffData are the most stuff bits that may be added,
	// by what the data happens to be.
	StuffNominal, StuffData int
}

// The parts of frames in bits, after ISO 11898-1:2015. All of Cell's frames
// have extended identifiers; FlagStandard is counted for frames of others.
const (
	// SOF, 11 bits of identifier, SRR, IDE, 18 bits, RTR, r1, r0, DLC.
	classicHead = 1 + 11 + 1 + 1 + 18 + 1 + 2 + 4
	// SOF, 11 bits, RTR, IDE, r0, DLC.
	standardHead = 1 + 11 + 1 + 1 + 1 + 4
	classicCRC   = 15
	// CRC delimiter, ACK, its delimiter, end of frame, intermission.
	classicTail = 1 + 1 + 1 + 7 + 3

	// SOF, 11 bits, SRR, IDE, 18 bits, RRS, FDF, res, BRS.
	fdHead         = 1 + 11 + 1 + 1 + 18 + 1 + 1 + 1 + 1
	fdStandardHead = 1 + 11 + 1 + 1 + 1 + 1 + 1
	fdControl      = 1 + 4 // ESI, DLC
	// Stuff count, CRC, and their fixed stuff bits: one before the count and
	// one after every four bits.
	fdCRC17 = 4 + 17 + 1 + (4+17)/4
	fdCRC21 = 4 + 21 + 1 + (4+21)/4
)

// FrameBits returns the length of f. Where the rate changes (within BRS and
// within the CRC delimiter) the bit counts as nominal, which is the longer.
func FrameBits(f *Frame) Bits {
	n := int(f.Len)
	if f.Flags&FlagFD == 0 {
		head := classicHead
		if f.Flags&FlagStandard != 0 {
			head = standardHead
		}
		if f.Flags&FlagRemote != 0 {
			n = 0
		}
		stuffed := head + 8*n + classicCRC
		return Bits{Nominal: stuffed + classicTail, StuffNominal: (stuffed - 1) / 4}
	}
	head, crc := fdHead, fdCRC17
	if f.Flags&FlagStandard != 0 {
		head = fdStandardHead
	}
	if n > 16 {
		crc = fdCRC21
	}
	b := Bits{
		Nominal: head + classicTail, StuffNominal: (head - 1) / 4,
		Data: fdControl + 8*n + crc, StuffData: (fdControl + 8*n) / 4,
	}
	if f.Flags&FlagBRS == 0 {
		b.Nominal, b.Data = b.Nominal+b.Data, 0
		b.StuffNominal, b.StuffData = b.StuffNominal+b.StuffData, 0
	}
	return b
}

// Least returns how long b takes at rates r without any stuff bit, and Most
// with as many as there can be. Both round up to nanoseconds.
func (b Bits) Least(r Rates) time.Duration { return r.time(b.Nominal, b.Data) }

// Most is the worst case; see [Bits.Least].
func (b Bits) Most(r Rates) time.Duration {
	return r.time(b.Nominal+b.StuffNominal, b.Data+b.StuffData)
}

func (r Rates) time(nominal, data int) time.Duration {
	if r.Nominal <= 0 {
		return 0
	}
	if r.Data <= 0 {
		nominal, data = nominal+data, 0
	}
	t := ceilDiv(nominal*int(time.Second), r.Nominal)
	if data > 0 {
		t += ceilDiv(data*int(time.Second), r.Data)
	}
	return time.Duration(t)
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// Load sums up the frames that one side of a bus saw.
type Load struct {
	Frames uint64
	Bytes  uint64 // of data
	// Least and Most bound the time that the frames took on the wire, which
	// lies between them by the stuff bits.
	Least, Most time.Duration
}

// Add counts f at rates r. Error frames of the controller don't count.
func (l *Load) Add(f *Frame, r Rates) {
	if f.Flags&FlagError != 0 {
		return
	}
	b := FrameBits(f)
	l.Frames++
	l.Bytes += uint64(f.Len)
	l.Least += b.Least(r)
	l.Most += b.Most(r)
}

// Sub returns l without what had been counted before.
func (l Load) Sub(before Load) Load {
	return Load{l.Frames - before.Frames, l.Bytes - before.Bytes, l.Least - before.Least, l.Most - before.Most}
}

// Share returns l as least and most share of an interval in which the frames
// were counted, 1 being a bus that is never idle.
func (l Load) Share(interval time.Duration) (least, most float64) {
	if interval <= 0 {
		return 0, 0
	}
	return float64(l.Least) / float64(interval), float64(l.Most) / float64(interval)
}
