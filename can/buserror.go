package can

import (
	"errors"
	"fmt"
	"strings"
)

// BusErrors is a set of what a controller can say about its bus: the classes
// of Linux's error frames (include/uapi/linux/can/error.h), which are the bits
// of an error frame's identifier.
type BusErrors uint32

// The classes.
const (
	ErrorTxTimeout   BusErrors = 1 << 0
	ErrorArbitration BusErrors = 1 << 1 // lost; no fault
	ErrorController  BusErrors = 1 << 2 // see BusError.State
	ErrorProtocol    BusErrors = 1 << 3
	ErrorTransceiver BusErrors = 1 << 4
	ErrorNoAck       BusErrors = 1 << 5 // nobody acknowledged: alone on the bus?
	ErrorBusOff      BusErrors = 1 << 6
	ErrorBus         BusErrors = 1 << 7
	ErrorRestarted   BusErrors = 1 << 8
	ErrorCounters    BusErrors = 1 << 9 // the counters are given
)

var busErrorNames = [...]string{
	"transmit timeout", "arbitration lost", "controller", "protocol violation", "transceiver",
	"no acknowledgement", "bus-off", "bus error", "restarted", "counters",
}

func (e BusErrors) String() string {
	var names []string
	for i, name := range busErrorNames {
		if e&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return fmt.Sprintf("bus errors %#x", uint32(e))
	}
	return strings.Join(names, ", ")
}

// ControllerState is the second byte of an error frame with ErrorController.
type ControllerState uint8

// The bits of a ControllerState.
const (
	StateRxOverflow ControllerState = 1 << 0 // the controller itself lost frames
	StateTxOverflow ControllerState = 1 << 1
	StateRxWarning  ControllerState = 1 << 2
	StateTxWarning  ControllerState = 1 << 3
	StateRxPassive  ControllerState = 1 << 4
	StateTxPassive  ControllerState = 1 << 5
	StateActive     ControllerState = 1 << 6 // recovered to error active
)

// BusError is a decoded error frame.
type BusError struct {
	Errors BusErrors
	State  ControllerState
	// TxErrors and RxErrors are the controller's counters (ISO 11898-1: error
	// passive above 127, bus-off above 255); they count with ErrorCounters, and
	// most drivers fill them in without it.
	TxErrors, RxErrors uint8
}

// ParseError decodes an error frame; ok is false if f is none.
func ParseError(f *Frame) (e BusError, ok bool) {
	if f.Flags&FlagError == 0 || f.Len != ClassicData {
		return BusError{}, false
	}
	return BusError{
		Errors: BusErrors(f.ID), State: ControllerState(f.Data[1]),
		TxErrors: f.Data[6], RxErrors: f.Data[7],
	}, true
}

// frame is the inverse of ParseError.
func (e BusError) frame() Frame {
	f := Frame{ID: ID(e.Errors), Flags: FlagError, Len: ClassicData}
	f.Data[1], f.Data[6], f.Data[7] = byte(e.State), e.TxErrors, e.RxErrors
	return f
}

func (e BusError) String() string {
	return fmt.Sprintf("%v (state %#02x, counters: transmit %d, receive %d)", e.Errors, uint8(e.State), e.TxErrors, e.RxErrors)
}

// onBusError handles an error frame.
func (n *Node) onBusError(f *Frame) {
	e, ok := ParseError(f)
	if !ok {
		n.stats.Foreign++
		return
	}
	n.stats.Errors++
	if e.Errors&ErrorController != 0 && e.State&StateRxOverflow != 0 {
		n.overran(0)
	}
	switch {
	case e.Errors&ErrorRestarted != 0:
		if n.off {
			n.stats.Restarts++
		}
		n.rejoin()
	case e.Errors&ErrorBusOff != 0 && !n.off:
		n.off, n.offSince = true, n.now
		n.stats.BusOff++
		n.restart = n.now + int64(n.config.RestartAfter)
		if n.config.RestartAfter < 0 { // it is asked whether somebody else has
			n.restart = n.now + int64(n.config.Heartbeat)
		}
	}
	if n.config.BusError != nil {
		n.config.BusError(e)
	}
}

// revive restarts the controller, or asks whether somebody else has, again and again
// until it says that it is back. Its word may be lost with other frames that the kernel
// had no room for, and on a silent bus nothing else tells.
func (n *Node) revive() {
	n.restart = n.now + int64(max(n.config.RestartAfter, n.config.Heartbeat))
	bus, asks := n.bus.(StateBus)
	if asks {
		if off, err := bus.Off(); err == nil && !off {
			n.stats.Restarts++
			n.rejoin()
			return
		}
	}
	if n.config.RestartAfter < 0 {
		return
	}
	switch err := n.bus.Restart(); {
	case err == nil:
	case errors.Is(err, ErrRunning):
		n.stats.Restarts++
		n.rejoin()
	default:
		n.stats.RestartFailed++
		n.restartErr = err
	}
}

// rejoin goes on after bus-off. What the controller held is lost, so every
// link sends again what was not acknowledged; the peer drops what it has.
func (n *Node) rejoin() {
	n.off, n.restart, n.txHeld = false, 0, false
	for _, c := range n.conns {
		switch {
		case c == nil:
		case c.stage == stageHello:
			c.hail()
		default:
			c.out.sendAgain()
			c.in.tell = true
		}
	}
}

// RestartError returns why the controller could not be restarted when it was
// tried last, or nil.
func (n *Node) RestartError() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.restartErr == nil {
		return nil
	}
	return fmt.Errorf("%w, and can't be restarted: %w", ErrBusOff, n.restartErr)
}
