package cluster

import (
	"slices"
	"time"
)

const (
	// forgetAfter is how long nobody may have answered at an address that this
	// node has only heard of, until it is forgotten.
	forgetAfter = 10 * time.Minute
	// maxPause is between two questions to an address where nobody answers.
	maxPause = 5 * time.Second
)

// addresses are where others may be. Those that were configured stay; what was
// heard of goes when nobody has answered there for long, and is only passed on
// when somebody has, so that an address of old doesn't go round for ever.
type addresses map[string]*address

type address struct {
	stays    bool
	heard    time.Time // when it was heard of, or somebody answered there
	answered time.Time // zero: never
	failed   int       // questions without answer since
	next     time.Time // when to ask again
}

// add notes an address. Where there is no room, what is least likely to answer
// makes room.
func (a addresses) add(addr string, stays bool, now time.Time) {
	if x := a[addr]; x != nil {
		x.stays = x.stays || stays
		return
	}
	if len(a) >= maxKnown && !a.makeRoom() {
		return
	}
	a[addr] = &address{stays: stays, heard: now}
}

// makeRoom forgets the address that has been silent for longest, if any is.
func (a addresses) makeRoom() bool {
	worst := ""
	for addr, x := range a {
		if !x.stays && x.failed > 0 && (worst == "" || x.heard.Before(a[worst].heard)) {
			worst = addr
		}
	}
	delete(a, worst)
	return worst != ""
}

// due returns the addresses to ask now, in order, and forgets what is too old.
func (a addresses) due(now time.Time) (all []string) {
	for addr, x := range a {
		switch {
		case !x.stays && now.Sub(x.heard) > forgetAfter:
			delete(a, addr)
		case !now.Before(x.next):
			all = append(all, addr)
		}
	}
	slices.Sort(all)
	return all
}

// asked notes whether somebody has answered.
func (a addresses) asked(addr string, ok bool, now time.Time) {
	x := a[addr]
	switch {
	case x == nil: // forgotten meanwhile
	case ok:
		x.answered, x.heard, x.failed, x.next = now, now, 0, time.Time{}
	default:
		x.failed++
		x.next = now.Add(min(time.Duration(x.failed)*meetEvery, maxPause))
	}
}

// answering are the addresses at which somebody has answered, lately.
func (a addresses) answering() (all []string) {
	for addr, x := range a {
		if !x.answered.IsZero() && x.failed == 0 {
			all = append(all, addr)
		}
	}
	slices.Sort(all)
	return all
}
