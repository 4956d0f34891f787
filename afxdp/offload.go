package afxdp

import (
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/afxdp/xsk"
)

// open opens the sockets; with metadata before what is sent, if that was asked
// for and can be had. Who copies, the kernel, passes on what metadata asks for as
// it does for its own sockets, and makes the checksum itself where the device
// does not. Where the device reads frames itself, its driver must be able to.
func (s *station) open(open Backend, u xsk.UmemOptions, c xsk.Config, queues []uint32) (err error) {
	if u.Metadata == 0 {
		s.sockets, err = open(u, c, queues)
		return err
	}
	switch {
	case len(c.FDs) > 0:
		s.summed("a socket that a broker hands over can't be tried out")
	case s.span > 1:
		// The kernel wants room for metadata before each descriptor, within its
		// frame (xp_aligned_validate_desc in net/xdp/xsk_queue.h).
		s.summed("datagrams of several frames leave no room for asking")
	default:
		s.sockets, err = open(u, c, queues)
		if err == nil || !errors.Is(err, xsk.ErrNotSupported) {
			return s.offload(err)
		}
		s.summed(err.Error())
	}
	u.Metadata = 0
	s.sockets, err = open(u, c, queues)
	return err
}

// offload has devices asked for checksums, unless err is an error.
func (s *station) offload(err error) error {
	if err != nil {
		return err
	}
	zero, _ := s.sockets.ZeroCopy()
	if zero {
		f, err := xsk.DriverFeatures(s.key.index)
		if err != nil || !f.TxChecksum {
			s.summed(fmt.Sprintf("the driver of %s does not offer them with zero-copy (netlink's family netdev, xsk-features)", s.name))
			return nil
		}
	}
	s.metadata = true
	s.why = append(s.why, "UDP's checksums are left to the device, as Options.XDP.OffloadChecksum says.")
	return nil
}

// summed notes why checksums are made here.
func (s *station) summed(why string) {
	s.why = append(s.why, fmt.Sprintf("UDP's checksums are made here, although Options.XDP.OffloadChecksum: %s.", why))
}
