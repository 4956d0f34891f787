// Package guest is what a kernelvm machine and the init within agree on.
package guest

// PlanPath is where init finds its Plan, in JSON.
const PlanPath = "/plan.json"

// What init writes to isa-debug-exit.
const (
	Passed = 0
	Failed = 1
)

// Plan is what init does, in this order.
type Plan struct {
	Modules  []string // paths
	Links    []Link
	Commands []Command
}

// Link is a network interface to make, or to configure if Kind is "can", and
// to bring up.
type Link struct {
	Name string
	// Kind is that of ip link add: "vcan", "dummy" …; "can" means a controller
	// that is there already.
	Kind string
	// MTU is set if it is not 0.
	MTU uint32
	// Bitrate is that of a "can" link in bit/s.
	Bitrate uint32
}

// Command is a program with its arguments, and more of its environment.
type Command struct {
	Args []string
	Env  []string
}
