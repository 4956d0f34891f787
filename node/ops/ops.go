// Package ops is the service by which a node is asked and told what to do, over
// a unix socket of its own. Who may do so is decided by the kernel's word about
// the caller.
package ops

import (
	"context"

	"github.com/cell-runtime/cell/rpc"
)

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen

// Node is a node's own service.
//
//cell:service
type Node interface {
	// Cells lists the cells that the node knows, running or not.
	//cell:idempotent
	Cells(ctx context.Context) (CellList, error)
	// Versions lists the versions of one cell, oldest first.
	//cell:idempotent
	Versions(ctx context.Context, req Name) (VersionList, error)
	// Spawn starts a cell that does not run, and returns when it is ready.
	Spawn(ctx context.Context, req Name) (Done, error)
	// Stop stops all processes of a cell, which a call starts again if the
	// cell starts by being called.
	Stop(ctx context.Context, req Name) (Done, error)
	// Restart starts new processes of a cell and drains the old ones.
	Restart(ctx context.Context, req Name) (Done, error)
	// Deploy starts a version of a cell, routes callers to it when it is well,
	// and stays with the old one when it isn't.
	Deploy(ctx context.Context, req Deployment) (Done, error)
	// Logs sends the last lines of a cell's output and, when following, what
	// comes until the caller goes.
	Logs(ctx context.Context, req LogRequest, out rpc.Sender[Line]) (Done, error)
	// Audit lists who started and stopped what, oldest first.
	//cell:idempotent
	Audit(ctx context.Context) (AuditList, error)
	// Reload reads the configuration again, and says what it did and what
	// can't be changed without a restart.
	Reload(ctx context.Context) (Done, error)
	// Devices lists what the node has on lines and buses.
	//cell:idempotent
	Devices(ctx context.Context) (DeviceList, error)
}

// Name names a cell.
type Name struct {
	Cell string
}

// Done is what was done, a sentence each.
type Done struct {
	Did []string
}

// CellList is what a node runs.
type CellList struct {
	Cells []CellState
	PID   int32
	Since int64 // unit: ns since 1970
}

// CellState is one cell.
type CellState struct {
	Name      string
	State     string // asleep, starting, ready, draining, waiting, failed
	Why       string // what led to it, where that is worth knowing
	Capsid    string
	Version   string // that new callers reach
	Versions  int32  // that can be called
	Instances []Instance
	Restarts  uint32
	Callers   uint32 // connections now
	Services  []string
}

// Instance is one process of a cell.
type Instance struct {
	PID      int32
	State    string
	Version  string
	Since    int64  // unit: ns since 1970
	CPU      int64  // unit: ns
	Memory   int64  // unit: bytes
	Callers  uint32 // connections now
	Degraded []string
}

// DeviceList is what a node has on lines and buses.
type DeviceList struct {
	Devices []DeviceState
}

// DeviceState is one device.
type DeviceState struct {
	Name       string
	Connected  bool
	Why        string   // it is not connected
	Link       string   // serial or can
	Place      string   // the tty, or the bus with the device's number
	Reliable   bool     // what the link says of itself, when it is connected
	MaxPayload int32    // unit: bytes
	LinkWhy    []string // why the link is no better
	Services   []string
	Reach      []string // cells that it may call
	Callers    uint32   // connections now
}

// VersionList is what of a cell can be called.
type VersionList struct {
	Versions []Version
}

// Version is one version of a cell.
type Version struct {
	Name    string
	State   string // ready, asleep, starting, refused
	Why     string // why it does not run, where it doesn't
	Current bool   // new callers without a fingerprint of their own reach it
	Command []string
	Methods []Method
	Used    int64 // unit: ns since 1970; last call or connection
	Callers uint32
}

// Method is a method with the fingerprints by which it is reached.
type Method struct {
	Name        string
	Fingerprint string
	Accepts     []string
}

// Deployment is a new version of a cell.
type Deployment struct {
	Cell    string
	Command []string // empty: what the configuration says
	Version string   // empty: made of the command
	// Watch is for how long the new version must stay well before the old one
	// goes.
	Watch int64 // unit: ns
}

// LogRequest asks for output.
type LogRequest struct {
	Cell   string
	Lines  int32 // at most so many of the past
	Follow bool
}

// Line is a line of output, or an event of the node about the cell.
type Line struct {
	At     int64 // unit: ns since 1970
	Source string
	Text   string
	Lost   uint64 // lines before it that this reader was too slow for
}

// AuditList is who did what.
type AuditList struct {
	Entries []Entry
}

// Entry is one thing that was done.
type Entry struct {
	At   int64 // unit: ns since 1970
	Who  string
	Did  string
	Cell string
	Why  string
}
