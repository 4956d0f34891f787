package node

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
)

// version is one version of a cell: a command, and the processes that run it.
type version struct {
	name   string
	config config.Cell
	used   atomic.Int64 // Unix nanoseconds of the last call or connection

	mu        sync.Mutex // guards what follows
	services  []rpc.ServiceInfo
	descs     []*rpc.ServiceDesc
	instances []*instance // that are ready
	turn      int         // whose turn it is to be called
	starting  *start      // nil: it is not being started
	retry     backoff
	waiting   bool          // until it is started again
	pause     chan struct{} // closed when that is over; nil before the first time
	why       string        // why it does not run
	failed    bool          // it is left alone until somebody says otherwise
	asleep    bool          // stopped on purpose
	stopped   bool          // by an operator
	replaced  bool          // it is no version any more and never started again
}

// start is a start under way, for which several may wait.
type start struct {
	done chan struct{}
	err  error
}

func newVersion(c config.Cell) *version {
	v := &version{name: c.Version, config: c}
	if v.name == "" {
		v.name = versionName(c.Command)
	}
	v.used.Store(time.Now().UnixNano())
	return v
}

// versionName makes a name of a command: the program's, and four bytes of a
// hash over all of it.
func versionName(command []string) string {
	sum := sha256.Sum256([]byte(strings.Join(command, "\x00")))
	return fmt.Sprintf("%s-%x", filepath.Base(command[0]), sum[:4])
}

// ready reports whether a process is one that callers are sent to.
func (v *version) ready(i *instance) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Contains(v.instances, i)
}

// pick returns the process whose turn it is, or nil; ending: there is none, but
// one whose end is known in a moment, upon which the restart policy decides.
func (v *version) pick() (i *instance, ending bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for range v.instances {
		v.turn = (v.turn + 1) % len(v.instances)
		i := v.instances[v.turn]
		switch {
		case i.draining.Load():
		case v.config.Serves && i.lost.Load():
			ending = true
		default:
			return i, false
		}
	}
	return nil, ending
}

// running returns the processes that are ready.
func (v *version) running() []*instance {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.instances)
}

// serving counts the processes that are ready and do not drain.
func (v *version) serving() (n int) {
	for _, i := range v.running() {
		if !i.draining.Load() {
			n++
		}
	}
	return n
}

// fingerprints returns what can be called: each with the method's name.
func (v *version) fingerprints() map[uint64]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := map[uint64]string{}
	for _, d := range v.descs {
		for i := range d.Methods {
			m := &d.Methods[i]
			all[m.Fingerprint] = m.String()
			for _, a := range m.Ancestors {
				all[a.Fingerprint] = m.String()
			}
		}
	}
	return all
}

// replaces reports whether every method of an older version is served by this
// one, in the older form, and if not, which aren't.
func (v *version) replaces(older *version) (missing []string) {
	mine := v.fingerprints()
	older.mu.Lock()
	defer older.mu.Unlock()
	for _, d := range older.descs {
		for i := range d.Methods {
			m := &d.Methods[i]
			if _, ok := mine[m.Fingerprint]; !ok {
				missing = append(missing, m.String()+" "+schema.FormatFingerprint(m.Fingerprint))
			}
		}
	}
	return missing
}

// lacks reports whether processes are missing for which nobody sees yet.
func (v *version) lacks() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.config.Start == "boot" && !v.asleep && !v.failed && !v.waiting && v.starting == nil && len(v.instances) < v.config.Instances
}

// endPause ends the waiting until it is started again. v.mu is held.
func (v *version) endPause() {
	if v.waiting {
		v.waiting = false
		close(v.pause)
	}
}

// callers counts the connections to its processes.
func (v *version) callers() (n int32) {
	for _, i := range v.running() {
		n += i.callers.Load()
	}
	return n
}

// state says what the version does, and why.
func (v *version) state() (state, why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case slices.ContainsFunc(v.instances, func(i *instance) bool { return !i.draining.Load() }):
		return stateReady, ""
	case len(v.instances) > 0:
		return stateDraining, v.why
	case v.starting != nil:
		return stateStarting, ""
	case v.failed:
		return stateFailed, v.why
	case v.waiting:
		return stateWaiting, v.why
	}
	return stateAsleep, v.why
}

// The states of a cell, a version and a process.
const (
	stateAsleep   = "asleep"
	stateStarting = "starting"
	stateReady    = "ready"
	stateDraining = "draining"
	stateWaiting  = "waiting" // to be started again
	stateFailed   = "failed"
)

// stateNumbers are the values of the gauge cell_node_state.
var stateNumbers = []string{stateAsleep, stateStarting, stateReady, stateDraining, stateWaiting, stateFailed}
