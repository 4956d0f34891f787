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
