package wan

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Cable makes two hosts side by side: a veth pair of that MTU between them.
func Cable(mtu int) (h *Hosts, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("wan: it takes root to make network namespaces")
	}
	h = &Hosts{spaces: [2]netns.NsHandle{-1, -1}, tuns: [2]int{-1, -1}}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	for i := range h.spaces {
		if err := h.makeSpace(i); err != nil {
			return h, fmt.Errorf("wan: host %d: %w", i, err)
		}
	}
	err = h.within(0, func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: device, MTU: mtu}, PeerName: device, PeerMTU: uint32(mtu),
			PeerNamespace: netlink.NsFd(h.spaces[1]),
		})
	})
	for i, addr := range []string{AddrA + "/24", AddrB + "/24"} {
		if err == nil {
			err = h.within(i, func() error {
				l, err := netlink.LinkByName(device)
				if err != nil {
					return err
				}
				return errors.Join(change(addr, netlink.AddrAdd), netlink.LinkSetUp(l))
			})
		}
	}
	if err != nil {
		return h, fmt.Errorf("wan: veth with an MTU of %d: %w", mtu, err)
	}
	return h, nil
}
