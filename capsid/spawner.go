package capsid

import (
	"runtime"
	"sync"
)

// A process that asks to end with its parent ends when the parent's thread
// does that called fork (prctl(2), PR_SET_PDEATHSIG), and Go's runtime ends
// threads. So all cells are started by threads that last as long as this
// process. There are a few of them, since each waits for the new process to
// execute its program.
const spawnThreads = 4

// spawner is given what those threads do, each with a starter of its own.
var spawner = sync.OnceValue(newSpawner)

// patientSpawner is for what executes its program with little CPU time, or with what
// others leave: nobody else has to wait for that.
var patientSpawner = sync.OnceValue(newSpawner)

func newSpawner() chan<- func(*starter) {
	requests := make(chan func(*starter))
	var begun sync.WaitGroup
	for range min(spawnThreads, runtime.GOMAXPROCS(0)) {
		begun.Add(1)
		go func() {
			runtime.LockOSThread() // never unlocked
			var s starter
			_ = s.begin() // what failed is tried again by whoever needs it
			begun.Done()
			for do := range requests {
				do(&s)
			}
		}()
	}
	begun.Wait()
	return requests
}
