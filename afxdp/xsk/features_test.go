package xsk

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// What the kernel says of lo is nothing, or that it does not say.
func TestDriverFeatures(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	f, err := DriverFeatures(lo.Index)
	if err != nil && !errors.Is(err, ErrNotSupported) || f.ZeroCopy || f.TxChecksum {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := DriverFeatures(1 << 30); err == nil || !errors.Is(err, ErrNotSupported) && !errors.Is(err, unix.ENODEV) {
		t.Errorf("an interface that there is not: %v", err)
	}
}

// No answer, however cut off or wrong, is read beyond its end.
func TestAnswersByNetlink(t *testing.T) {
	good := make([]byte, nlHeader+genlHeader)
	good = append(good, attribute(netdevXDP, []byte{0x29, 0, 0, 0, 0, 0, 0, 0})...)
	good = append(good, attribute(netdevXSK, []byte{2, 0, 0, 0, 0, 0, 0, 0})...)
	all, err := parseGeneric(good)
	if err != nil || number(all[netdevXDP]) == 0 || number(all[netdevXSK]) == 0 || number(all[netdevRxMetadata]) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	for n := range good {
		all, err := parseGeneric(good[:n])
		if n < nlHeader+genlHeader && err == nil || number(all[netdevXSK]) != 0 && n < len(good) {
			t.Errorf("%d bytes: %v, %v", n, all, err)
		}
	}
	long := append([]byte(nil), good...)
	long[nlHeader+genlHeader] = 0xff
	if _, err := parseGeneric(long); err == nil {
		t.Error("an attribute that goes beyond its message is taken")
	}
}
