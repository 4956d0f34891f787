package ring

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Alarm is how a subscriber that sleeps is woken. The ring itself is read-only
// to subscribers, so each that wants to sleep has a page of its own, shared
// with the publisher alone, in which it says that it sleeps; and a doorbell.
// A subscriber can thus disturb nobody but itself.
//
//	subscriber                               publisher
//	bell := NewDoorbell()
//	a := NewAlarm(bell)
//	s := NewSubscriber(m, Newest, a)
//	     ── descriptors of alarm and bell ──▶
//	                                         bell := AttachDoorbell(fd2)
//	                                         p.Subscribe(AttachAlarm(fd1, bell))
//
// The page's layout is the control area of a ring, of which it uses the
// reader's sleep word and the flags. The doorbell stays the caller's own: one
// may serve several alarms and rings.
type Alarm struct {
	page    []byte
	fd      int
	control *Memory // for its words only
	bell    *Doorbell
}

const alarmMagic = 0x314d524c41434c43 // "CLCALRM1" in little endian

// NewAlarm makes an alarm whose subscriber waits on bell. Error: ErrMemory.
func NewAlarm(bell *Doorbell) (*Alarm, error) {
	fd, err := memfd("cell-alarm", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, memoryError(false, "memfd_create", err)
	}
	a, err := newAlarm(fd, bell)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return a, nil
}

func newAlarm(fd int, bell *Doorbell) (*Alarm, error) {
	if err := unix.Ftruncate(fd, controlSize); err != nil {
		return nil, memoryError(false, "ftruncate", err)
	}
	if err := unix.Fallocate(fd, 0, 0, controlSize); err != nil {
		return nil, memoryError(false, "fallocate", err)
	}
	a, err := mapAlarm(fd, bell)
	if err != nil {
		return nil, err
	}
	*a.control.control.u64(offMagic) = alarmMagic
	*a.control.control.word(offReaderSleep) = sleepNeedsFence // until the sleeper says otherwise
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		_ = unix.Munmap(a.page)
		return nil, fmt.Errorf("%w: sealing failed: %w", ErrMemory, err)
	}
	return a, nil
}

// AttachAlarm maps the alarm of a subscriber, which it wakes by bell. It takes
// ownership of fd and closes it on error. Errors: ErrSeals, ErrFormat,
// ErrMemory.
func AttachAlarm(fd int, bell *Doorbell) (*Alarm, error) {
	a, err := attachAlarm(fd, bell)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return a, nil
}

func attachAlarm(fd int, bell *Doorbell) (*Alarm, error) {
	have, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: descriptor %d has no seals (%w); pass one from ring.NewAlarm", ErrSeals, fd, err)
	}
	if have&seals != seals || have&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
		return nil, fmt.Errorf("%w: seals are %#x, need %#x and none against writing", ErrSeals, have, seals)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("%w: fstat: %w", ErrMemory, err)
	}
	var head [8]byte
	n, err := unix.Pread(fd, head[:], offMagic)
	if st.Size != controlSize || err != nil || n != len(head) || binary.NativeEndian.Uint64(head[:]) != alarmMagic {
		return nil, fmt.Errorf("%w: %d bytes that are no alarm", ErrFormat, st.Size)
	}
	return mapAlarm(fd, bell)
}

func mapAlarm(fd int, bell *Doorbell) (*Alarm, error) {
	b, err := unix.Mmap(fd, 0, controlSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, memoryError(false, "mmap of an alarm", err)
	}
	// A child must not inherit it.
	if err := unix.Madvise(b, unix.MADV_DONTFORK); err != nil && !errors.Is(err, unix.EINVAL) {
		_ = unix.Munmap(b)
		return nil, memoryError(false, "madvise of an alarm", err)
	}
	return &Alarm{page: b, fd: fd, control: &Memory{control: newArena(b)}, bell: bell}, nil
}

// FD returns the descriptor to pass to the publisher, or -1 after CloseFD.
func (a *Alarm) FD() int { return a.fd }

// CloseFD closes the descriptor; the page stays.
func (a *Alarm) CloseFD() error {
	if a.fd < 0 {
		return nil
	}
	fd := a.fd
	a.fd = -1
	return unix.Close(fd)
}

// Close unmaps the page and closes the descriptor, but not the doorbell. Its
// subscriber must be out of use, and the publisher must have unsubscribed it.
// A second Close does nothing.
func (a *Alarm) Close() error {
	if a.page == nil {
		return nil
	}
	b := a.page
	a.page = nil
	return errors.Join(unix.Munmap(b), a.CloseFD())
}
