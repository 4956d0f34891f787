package node

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// auditKept is how many entries a node keeps in memory.
const auditKept = 1000

// auditEntry is one thing that somebody did.
type auditEntry struct {
	At   time.Time `json:"at"`
	Who  string    `json:"who"`
	Did  string    `json:"did"` // started, stopped, restarted, deployed, reloaded, ended, refused
	Cell string    `json:"cell"`
	Why  string    `json:"why,omitempty"`
}

// audit keeps who started and stopped what. Its methods may be called from any
// goroutine.
type audit struct {
	mu       sync.Mutex
	log      *slog.Logger
	file     io.WriteCloser // nil: the log alone
	entries  []auditEntry
	refusals map[string]refusals // by who was refused
}

// refusals are how often somebody was refused since the last entry about it.
type refusals struct {
	noted time.Time
	since int
}

// refusalPace is how often the refusals of one caller are entered: callers can
// have themselves refused as often as they like.
const refusalPace = time.Second

// refusersKept bounds whose refusals are counted.
const refusersKept = 1024

// openAudit opens the file that the configuration names, to which lines of JSON
// are appended.
func openAudit(path string, log *slog.Logger) (*audit, error) {
	a := &audit{log: log}
	if path == "" {
		return a, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the audit file: %w", err)
	}
	a.file = f
	return a, nil
}

func (a *audit) add(who, did, cell, why string) {
	e := auditEntry{At: time.Now(), Who: who, Did: did, Cell: cell, Why: why}
	a.log.Info("audit", "who", who, "did", did, "cell", cell, "why", why)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries = append(a.entries[max(0, len(a.entries)-auditKept+1):], e)
	if a.file == nil {
		return
	}
	text, err := json.Marshal(e)
	if err == nil {
		_, err = a.file.Write(append(text, '\n'))
	}
	if err != nil {
		a.log.Error("the audit file can't be written", "err", err)
	}
}

// refused adds that a caller, who is known as key, was refused; or counts it for
// the next entry, if there was one within the last second.
func (a *audit) refused(key, who, cell, why string) {
	now := time.Now()
	a.mu.Lock()
	r, known := a.refusals[key]
	if known && now.Sub(r.noted) < refusalPace {
		r.since++
		a.refusals[key] = r
		a.mu.Unlock()
		return
	}
	if a.refusals == nil || !known && len(a.refusals) >= refusersKept {
		a.refusals = map[string]refusals{}
	}
	a.refusals[key] = refusals{noted: now}
	a.mu.Unlock()
	if r.since > 0 {
		why = fmt.Sprintf("%s; %d more refusals of this caller were not entered", why, r.since)
	}
	a.add(who, "refused", cell, why)
}

func (a *audit) all() []auditEntry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]auditEntry(nil), a.entries...)
}

func (a *audit) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != nil {
		_ = a.file.Close()
		a.file = nil
	}
}
