package xsk

// Desc is a packet, or a part of one, in a frame: struct xdp_desc.
type Desc struct {
	Address uint64 // of its first byte in the Umem
	Length  uint32 // in bytes
	Options uint32 // OptionContinued, OptionMetadata
}

const (
	descSize = 16

	// OptionContinued: the packet goes on in the next descriptor
	// (XDP_PKT_CONTD); with [Config.MultiBuffer].
	OptionContinued = 1
	// OptionMetadata: [Metadata] stands before the packet that is sent
	// (XDP_TX_METADATA).
	OptionMetadata = 2
)

// Parts cuts a packet that reaches over frames of frameSize bytes into
// descriptors, each within one frame and all but the last with OptionContinued.
// It fills in ds, which must have room for all, and returns how many there are.
// Metadata stands before the first alone.
func (d Desc) Parts(frameSize int, ds []Desc) (n int) {
	size := uint32(frameSize)
	for {
		left := size - uint32(d.Address)&(size-1)
		if d.Length <= left {
			ds[n] = d
			return n + 1
		}
		ds[n] = Desc{d.Address, left, d.Options | OptionContinued}
		d = Desc{d.Address + uint64(left), d.Length - left, d.Options &^ OptionMetadata}
		n++
	}
}

// Rx is the ring through which packets arrive.
type Rx struct {
	ring
	entries []Desc
}

// Take fills in ds with what has arrived and returns how many. Their frames are
// the process's from then on.
func (r *Rx) Take(ds []Desc) int {
	n := r.there(uint32(len(ds)))
	for i := range ds[:n] {
		ds[i] = r.entries[(r.own+uint32(i))&r.mask]
	}
	if n > 0 {
		r.giveBack(n)
	}
	return int(n)
}
