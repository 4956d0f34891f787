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
	Cell string `json:"cell"`
}

// Done is what was done, a sentence each.
type Done struct {
	Did []string `json:"did"`
}

// CellList is what a node runs.
type CellList struct {
	Cells []CellState `json:"cells"`
	PID   int32       `json:"pid"`
	Since int64       `json:"since"` // unit: ns since 1970
}

// CellState is one cell.
type CellState struct {
	Name      string     `json:"name"`
	State     string     `json:"state"` // asleep, starting, ready, draining, waiting, failed
	Why       string     `json:"why"`   // what led to it, where that is worth knowing
	Capsid    string     `json:"capsid"`
	Version   string     `json:"version"`  // that new callers reach
	Versions  int32      `json:"versions"` // that can be called
	Instances []Instance `json:"instances"`
	Restarts  uint32     `json:"restarts"`
	Callers   uint32     `json:"callers"` // connections now
	Services  []string   `json:"services"`
}

// Instance is one process of a cell.
type Instance struct {
	PID      int32    `json:"pid"`
	State    string   `json:"state"`
	Version  string   `json:"version"`
	Since    int64    `json:"since"`   // unit: ns since 1970
	CPU      int64    `json:"cpu"`     // unit: ns
	Memory   int64    `json:"memory"`  // unit: bytes
	Callers  uint32   `json:"callers"` // connections now
	Degraded []string `json:"degraded"`
}

// DeviceList is what a node has on lines and buses.
type DeviceList struct {
	Devices []DeviceState `json:"devices"`
}

// DeviceState is one device.
type DeviceState struct {
	Name       string   `json:"name"`
	Connected  bool     `json:"connected"`
	Why        string   `json:"why"`         // it is not connected
	Link       string   `json:"link"`        // serial or can
	Place      string   `json:"place"`       // the tty, or the bus with the device's number
	Reliable   bool     `json:"reliable"`    // what the link says of itself, when it is connected
	MaxPayload int32    `json:"max_payload"` // unit: bytes
	LinkWhy    []string `json:"link_why"`    // why the link is no better
	Services   []string `json:"services"`
	Reach      []string `json:"reach"`   // cells that it may call
	Callers    uint32   `json:"callers"` // connections now
}

// VersionList is what of a cell can be called.
type VersionList struct {
	Versions []Version `json:"versions"`
}

// Version is one version of a cell.
type Version struct {
	Name    string   `json:"name"`
	State   string   `json:"state"`   // ready, asleep, starting, refused
	Why     string   `json:"why"`     // why it does not run, where it doesn't
	Current bool     `json:"current"` // new callers without a fingerprint of their own reach it
	Command []string `json:"command"`
	Methods []Method `json:"methods"`
	Used    int64    `json:"used"` // unit: ns since 1970; last call or connection
	Callers uint32   `json:"callers"`
}

// Method is a method with the fingerprints by which it is reached.
type Method struct {
	Name        string   `json:"name"`
	Fingerprint string   `json:"fingerprint"`
	Accepts     []string `json:"accepts"`
}

// Deployment is a new version of a cell.
type Deployment struct {
	Cell    string   `json:"cell"`
	Command []string `json:"command"` // empty: what the configuration says
	Version string   `json:"version"` // empty: made of the command
	// Watch is for how long the new version must stay well before the old one
	// goes.
	Watch int64 `json:"watch"` // unit: ns
}

// LogRequest asks for output.
type LogRequest struct {
	Cell   string `json:"cell"`
	Lines  int32  `json:"lines"` // at most so many of the past
	Follow bool   `json:"follow"`
}

// Line is a line of output, or an event of the node about the cell.
type Line struct {
	At     int64  `json:"at"` // unit: ns since 1970
	Source string `json:"source"`
	Text   string `json:"text"`
	Lost   uint64 `json:"lost"` // lines before it that this reader was too slow for
}

// AuditList is who did what.
type AuditList struct {
	Entries []Entry `json:"entries"`
}

// Entry is one thing that was done.
type Entry struct {
	At   int64  `json:"at"` // unit: ns since 1970
	Who  string `json:"who"`
	Did  string `json:"did"`
	Cell string `json:"cell"`
	Why  string `json:"why"`
}
