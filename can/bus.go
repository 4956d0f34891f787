package can

import (
	"errors"
	"time"
)

// Errors of a bus, besides link.ErrFull and link.ErrClosed. Compare with
// errors.Is.
var (
	// ErrBusOff: the controller has left the bus after too many errors and
	// takes part again only when it has been restarted.
	ErrBusOff = errors.New("can: the controller is bus-off")
	// ErrRunning: the controller that was to be restarted is not bus-off.
	ErrRunning = errors.New("can: the controller is not bus-off")
	// ErrFrame: a frame that the bus can't carry.
	ErrFrame = errors.New("can: no such frame on this bus")
)

// Bus is one node's way to a CAN bus. A [Node] is its only user. Send is called
// by one goroutine at a time, Receive and Wait by one, perhaps another; Wake
// and Close by any.
type Bus interface {
	// Send gives a frame to the controller, behind those given before, and
	// keeps no reference to it. link.ErrFull: no room now, and Wait returns
	// when there may be. ErrFrame: the bus can't carry it. Any other error is
	// the end.
	Send(f *Frame) error

	// Receive fills fs with what has arrived, error frames included, and
	// returns how many; 0 with a nil error means none now. It never waits.
	Receive(fs []Frame) (int, error)

	// Wait sleeps until something has arrived, Send may have room again after
	// ErrFull, Wake was called, or d has passed, and may return for no reason.
	Wait(d time.Duration)

	// Wake ends a Wait, or the next one if none is under way.
	Wake()

	// Restart brings a controller back that is bus-off. It takes a while;
	// error frames tell when it is done. ErrRunning: it is back already.
	Restart() error

	// Info says what the bus is. It does not change.
	Info() BusInfo

	// Close ends all of it. Calling it again does nothing.
	Close() error
}

// StateBus is a Bus that can be asked for its controller's state, and not only tells
// of it when it changes.
type StateBus interface {
	Bus
	// Off reports whether the controller is bus-off. The error is for one whose
	// state can't be had.
	Off() (bool, error)
}

// BusInfo describes a bus.
type BusInfo struct {
	Name string // for people, such as "can0"
	FD   bool   // the bus carries FD frames
	// Rates are 0 where they are not known, as on a virtual interface.
	Rates Rates
	// Hardware: received frames carry the controller's own time.
	HardwareTime bool
	// Why says, one sentence each, what could not be had.
	Why []string
}
