// Package pin reads and writes cell.lock, the committed file that says for
// which form of which running services the clients of a module were made.
package pin

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// FileName is the name of the file, beside the module's go.mod.
const FileName = "cell.lock"

// version is that of the format.
const version = 1

// ErrFile is wrapped by errors that say the file can't be used as it is.
var ErrFile = errors.New("can't be used")

// File is the content of a cell.lock.
type File struct {
	Version int      `json:"version"`
	Remotes []Remote `json:"remotes"` // by name
}

// Remote is a running cell for which a client was made.
type Remote struct {
	Name        string    `json:"name"`        // under which it listens
	Description string    `json:"description"` // the file, from the folder of cell.lock, with slashes
	Package     string    `json:"package"`     // of the client
	Services    []Service `json:"services"`
}

// Service is one service of it.
type Service struct {
	Name    string   `json:"name"`
	Digest  string   `json:"digest"` // hexadecimal, see schema.Digest
	Methods []Method `json:"methods"`
}

// Method is one method or topic.
type Method struct {
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"` // as schema.FormatFingerprint writes it
}

// Services returns what is pinned of a schema.
func Services(s *schema.Schema) []Service {
	var all []Service
	for _, service := range s.Services {
		digest := schema.Digest(service)
		pinned := Service{Name: service.Name, Digest: hex.EncodeToString(digest[:])}
		for i := range service.Methods {
			m := &service.Methods[i]
			pinned.Methods = append(pinned.Methods, Method{m.Name, schema.FormatFingerprint(schema.Fingerprint(service, m))})
		}
		all = append(all, pinned)
	}
	return all
}

// Find returns the path of the cell.lock that belongs to a folder: in the
// folder of the go.mod that is in it or nearest above it, in the folder itself
// where there is none.
func Find(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := start; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return filepath.Join(at, FileName), nil
		}
		if at == filepath.Dir(at) {
			return filepath.Join(start, FileName), nil
		}
	}
}

// Read reads the file; one that doesn't exist is empty. The error may wrap
// ErrFile.
func Read(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &File{Version: version}, nil
	}
	if err != nil {
		return nil, err
	}
	var f File
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("%s %w: %w; take it from version control, or remove it and run cellgen remote again", path, ErrFile, err)
	}
	if f.Version != version {
		return nil, fmt.Errorf("%s %w: version %d of its format, this cellgen knows %d alone: use the one that wrote it", path, ErrFile, f.Version, version)
	}
	for _, r := range f.Remotes {
		if r.Name == "" || !filepath.IsLocal(filepath.FromSlash(r.Description)) {
			return nil, fmt.Errorf("%s %w: remote %q has the description %q, which is not within its folder", path, ErrFile, r.Name, r.Description)
		}
	}
	return &f, nil
}

// Set adds a remote, or replaces the one of its name.
func (f *File) Set(r Remote) {
	at, found := slices.BinarySearchFunc(f.Remotes, r.Name, func(r Remote, name string) int { return strings.Compare(r.Name, name) })
	if found {
		f.Remotes[at] = r
		return
	}
	f.Remotes = slices.Insert(f.Remotes, at, r)
}

// Remote returns the remote of that name, or nil.
func (f *File) Remote(name string) *Remote {
	for i := range f.Remotes {
		if f.Remotes[i].Name == name {
			return &f.Remotes[i]
		}
	}
	return nil
}

// Write writes the file.
func (f *File) Write(path string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
