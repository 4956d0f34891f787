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
	mu      sync.Mutex
	log     *slog.Logger
	file    io.WriteCloser // nil: the log alone
	entries []auditEntry
}

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
