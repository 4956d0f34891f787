package node

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/rpc"
)

// keepFile is what a node that is killed leaves for the next one to take up: of
// cells that are not as their configuration has them, because something was
// deployed or stopped, the versions. A node that ends by itself removes it.
const keepFile = "node.state"

// maxKept bounds the file in bytes.
const maxKept = 16 << 20

// keptCell is one cell in the file.
type keptCell struct {
	Configured string // a hash of its configuration: another one prevails
	Versions   []keptVersion
}

// keptVersion is one version, with what is known of what it serves.
type keptVersion struct {
	Name     string
	Settings config.Cell
	Services []rpc.ServiceInfo
	Texts    []string // canonical descriptions
	Stopped  string   `json:",omitempty"` // why, if an operator did
}

func hashOf(c config.Cell) string {
	text, err := json.Marshal(c)
	if err != nil {
		return "" // no such type is in it
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

// keep writes the file, or removes it where all cells are as configured. That
// it can't be written costs nothing until the node is killed, so it is logged.
func (n *Node) keep() {
	n.keeping.Lock()
	defer n.keeping.Unlock()
	if n.halt.Err() != nil {
		return // a node that stops leaves nothing
	}
	all := map[string]keptCell{}
	for _, c := range n.list() {
		if k, differs := c.kept(); differs {
			all[c.name] = k
		}
	}
	if err := writeKept(filepath.Join(n.dir, keepFile), all); err != nil {
		n.log.Warn("what was deployed can't be kept for a node that follows this one if it is killed", "err", err)
	}
}

// kept is what the next node must know of the cell; differs: that isn't what the
// configuration says.
func (c *cell) kept() (k keptCell, differs bool) {
	c.mu.Lock()
	k.Configured = hashOf(c.config)
	versions := slices.Clone(c.versions)
	c.mu.Unlock()
	differs = len(versions) != 1
	for _, v := range versions {
		v.mu.Lock()
		one := keptVersion{Name: v.name, Settings: v.config, Services: v.services}
		for _, d := range v.descs {
			if !slices.Contains(one.Texts, d.Text) {
				one.Texts = append(one.Texts, d.Text)
			}
		}
		if v.asleep && v.stopped {
			one.Stopped = v.why
		}
		v.mu.Unlock()
		differs = differs || one.Stopped != "" || hashOf(v.config) != k.Configured
		k.Versions = append(k.Versions, one)
	}
	return k, differs
}

func writeKept(path string, all map[string]keptCell) error {
	if len(all) == 0 {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// takeUp reads what a node that was killed has left. What can't be read is
// forgotten, with a word: the configuration prevails.
func (n *Node) takeUp() map[string]keptCell {
	path := filepath.Join(n.dir, keepFile)
	_ = os.Remove(path + ".new")
	all, err := readKept(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.log.Warn("what the node before has deployed is forgotten", "err", err)
	}
	return all
}

func readKept(path string) (all map[string]keptCell, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	// It names programs to be executed.
	if st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 || st.Size > maxKept {
		return nil, fmt.Errorf("%s has mode %o, belongs to uid %d and has %d bytes: not as a node leaves it", path, st.Mode, st.Uid, st.Size)
	}
	if err := json.NewDecoder(f).Decode(&all); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

// takeUp has the cell go on with the versions that a node before had: those that
// callers are led to. It reports whether there were any.
func (c *cell) takeUp(k keptCell) (bool, error) {
	if len(k.Versions) == 0 || len(k.Versions) > c.config.VersionsKept {
		return false, nil
	}
	if k.Configured != hashOf(c.config) {
		c.say("its configuration has changed since the node before was killed, so what was deployed is forgotten")
		return false, nil
	}
	var versions []*version
	for i, one := range k.Versions {
		v, err := one.version(c.name)
		if err != nil {
			return false, fmt.Errorf("version %s: %w", one.Name, err)
		}
		if i < len(k.Versions)-1 && !v.asleep {
			v.asleep, v.why = true, "the node was killed; a call wakes it"
		}
		versions = append(versions, v)
	}
	if err := c.lead(versions, len(versions) > 1); err != nil {
		return false, err
	}
	c.say("the node before was killed; this one goes on with %s", versions[len(versions)-1].name)
	return true, nil
}

// version makes a version of what was kept. Nothing is believed that a
// configuration would not be.
func (k keptVersion) version(name string) (*version, error) {
	whole := config.Default()
	whole.Cells[name] = k.Settings
	if err := whole.Check(); err != nil {
		return nil, err
	}
	v := newVersion(k.Settings)
	v.name = k.Name
	v.services = k.Services
	for _, text := range k.Texts {
		parsed, err := rpc.ParseServices(text)
		if err != nil {
			return nil, err
		}
		for _, d := range parsed {
			if serves(k.Services, d) {
				v.descs = append(v.descs, d)
			}
		}
	}
	if k.Stopped != "" {
		v.asleep, v.stopped, v.why = true, true, k.Stopped
	}
	return v, nil
}

func serves(services []rpc.ServiceInfo, d *rpc.ServiceDesc) bool {
	for _, s := range services {
		if s.Digest == fmt.Sprintf("%x", d.Digest) {
			return true
		}
	}
	return false
}
