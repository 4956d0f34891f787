package raftnode

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/node/config"
)

// Names of sockets in the runtime directory.
const (
	AdminName   = config.RaftName
	StorePrefix = config.RaftPrefix
)

// Settings are what a member is told, by its node, in the environment.
type Settings struct {
	RuntimeDir string   `json:"runtime_dir"`
	Dir        string   `json:"dir"`      // data
	Identity   string   `json:"identity"` // the node's identity
	Listen     string   `json:"listen"`
	Advertise  string   `json:"advertise"`
	Peers      []string `json:"peers"`
	Nodes      int      `json:"nodes"`
}

// settingsEnv names the environment variable that has them, as JSON.
const settingsEnv = "CELL_RAFT_SETTINGS"

// Env is the environment variable for a child.
func (s *Settings) Env() (string, error) {
	b, err := json.Marshal(s)
	return settingsEnv + "=" + string(b), err
}

// ErrSettings: this process was not started by a node.
var ErrSettings = errors.New("raftnode: the settings are missing: a node starts this")

// FromEnv are the settings of this process.
func FromEnv() (s Settings, err error) {
	text := os.Getenv(settingsEnv)
	if text == "" {
		return s, ErrSettings
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("%w: %w", ErrSettings, err)
	}
	return s, nil
}

// Refused reports whether starting again won't help: what supervise has an exit
// status for.
func Refused(err error) bool {
	return errors.Is(err, consensus.ErrDirectory) || errors.Is(err, consensus.ErrDamaged) || errors.Is(err, consensus.ErrConfig)
}

// Loaded is what was written of a backup into a store.
type Loaded struct {
	From   string `json:"from"`  // the group that the backup is of
	Index  uint64 `json:"index"` // its state was that at this index
	Keys   int    `json:"keys"`
	Leased int    `json:"leased"` // keys that were left out, since they had a lease
}
