package capsid

import (
	"os"
	"runtime"
	"sync"
)

// A process that asks to end with its parent ends when the parent's thread
// does that called fork (prctl(2), PR_SET_PDEATHSIG), and Go's runtime ends
// threads. So all cells are started by threads that last as long as this
// process. There are a few of them, since each waits for the new process to
// execute its program.
const spawnThreads = 4

type spawnRequest struct {
	path string
	argv []string
	attr *os.ProcAttr
	done chan<- spawned
}

type spawned struct {
	p   *os.Process
	err error
}

var spawner = sync.OnceValue(func() chan<- spawnRequest {
	requests := make(chan spawnRequest)
	for range min(spawnThreads, runtime.GOMAXPROCS(0)) {
		go func() {
			runtime.LockOSThread() // never unlocked
			for r := range requests {
				p, err := os.StartProcess(r.path, r.argv, r.attr)
				r.done <- spawned{p, err}
			}
		}()
	}
	return requests
})

// spawn starts a process from a thread that outlasts it.
func spawn(path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	done := make(chan spawned, 1)
	spawner() <- spawnRequest{path, argv, attr, done}
	s := <-done
	return s.p, s.err
}
