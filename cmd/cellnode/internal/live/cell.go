// Package live reaches running cells of this host without knowing their types:
// it finds their sockets, asks them for their descriptions, and makes calls of
// what those say.
package live

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/uds"
)

// Names returns the names under which somebody listens, or has listened, in the
// runtime directory dir ("" for the default), in order. Where the default does not
// exist nobody has listened yet; another that does not is an error.
func Names(dir string) ([]string, error) { return files(dir, ".sock", uds.ValidateName) }

// RemoteNames returns the names that other nodes serve, as the node of this host
// has sockets for them.
func RemoteNames(dir string) ([]string, error) {
	dir, err := Dir(dir)
	if err != nil {
		return nil, err
	}
	names, err := Names(filepath.Join(dir, "remote"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// MetricsFiles returns the names, less their ending, of the metrics files in
// the runtime directory, in order.
func MetricsFiles(dir string) ([]string, error) {
	return files(dir, ".metrics", func(string) error { return nil })
}

func files(dir, ending string, valid func(string) error) ([]string, error) {
	asked := dir != ""
	dir, err := Dir(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && (asked || !errors.Is(err, fs.ErrNotExist)) {
		return nil, fmt.Errorf("the runtime directory: %w", err)
	}
	names := []string{}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ending); ok && valid(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Dir returns dir, or the default runtime directory where it is empty.
func Dir(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	return uds.RuntimeDir()
}

// Cell is a running cell that was connected to.
type Cell struct {
	Name string
	Conn *rpc.Conn
	// Link is the path that the connection takes.
	Link link.Info
}

// Dial connects to the cell that listens under name. Close it.
func Dial(ctx context.Context, dir, name string) (*Cell, error) {
	l, err := uds.Dial(ctx, name, &uds.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	c := &Cell{Name: name, Link: l.Info()}
	// Requests of people are rare: parking costs them nothing, and the host a
	// core less.
	if c.Conn, err = rpc.NewConn(l, &rpc.ConnOptions{Wait: rpc.WaitPark, Name: "cellnode"}); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return c, nil
}

// Close ends the connection.
func (c *Cell) Close() error { return c.Conn.Close() }

// Service is one service of a cell with its description.
type Service struct {
	rpc.ServiceInfo
	Text   string          `json:"-"` // canonical description
	Parsed *schema.Service `json:"-"`
}

// Services asks the cell for its services. Where it serves two forms of one
// service beside each other, only the newest has a description.
func (c *Cell) Services(ctx context.Context) ([]Service, error) {
	infos, err := c.Conn.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: its services: %w", c.Name, err)
	}
	all := []Service{}
	for i, info := range infos {
		s := Service{ServiceInfo: info}
		newer := slices.ContainsFunc(infos[i+1:], func(o rpc.ServiceInfo) bool { return o.Name == info.Name })
		if !newer {
			if err := s.describe(ctx, c); err != nil {
				return nil, err
			}
		}
		all = append(all, s)
	}
	return all, nil
}

func (s *Service) describe(ctx context.Context, c *Cell) error {
	text, err := c.Conn.Describe(ctx, s.Name)
	if err != nil {
		return fmt.Errorf("%s: the description of %s: %w", c.Name, s.Name, err)
	}
	parsed, err := schema.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: the description of %s can't be read: %w", c.Name, s.Name, err)
	}
	if s.Text, s.Parsed = text, parsed.Service(s.Name); s.Parsed == nil {
		return fmt.Errorf("%s: the description of %s does not contain it", c.Name, s.Name)
	}
	return nil
}

// ErrNoMethod: a cell has no such method, or it isn't clear which is meant.
var ErrNoMethod = errors.New("no such method")

// Find connects to the cell and finds the method that path names: NAME.Method,
// or NAME.Service.Method where several services have one of that name. NAME may
// contain dots itself: the longest name that somebody listens under counts.
func Find(ctx context.Context, dir, path string) (*Cell, *Method, error) {
	parts := strings.Split(path, ".")
	if len(parts) < 2 || slices.Contains(parts, "") {
		return nil, nil, fmt.Errorf("%w: %q is not NAME.Method", ErrNoMethod, path)
	}
	var first error
	for _, n := range []int{1, 2} {
		if len(parts) <= n {
			break
		}
		name := strings.Join(parts[:len(parts)-n], ".")
		c, err := Dial(ctx, dir, name)
		if err != nil {
			if first == nil {
				first = err
			}
			if errors.Is(err, uds.ErrNoListener) || errors.Is(err, uds.ErrName) {
				continue
			}
			return nil, nil, err
		}
		m, err := c.method(ctx, parts[len(parts)-n:])
		if err != nil {
			return nil, nil, errors.Join(err, c.Close())
		}
		return c, m, nil
	}
	return nil, nil, first
}

// method finds [service,] method.
func (c *Cell) method(ctx context.Context, path []string) (*Method, error) {
	services, err := c.Services(ctx)
	if err != nil {
		return nil, err
	}
	var found []*Method
	var known []string
	for _, s := range services {
		if s.Parsed == nil {
			continue
		}
		for i := range s.Parsed.Methods {
			m := &s.Parsed.Methods[i]
			known = append(known, s.Name+"."+m.Name)
			if m.Name != path[len(path)-1] || len(path) == 2 && s.Name != path[0] {
				continue
			}
			made, err := newMethod(s.Parsed, s.Text, m.Name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			found = append(found, made)
		}
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("%w: %s has no %s, but %s", ErrNoMethod, c.Name, strings.Join(path, "."), strings.Join(known, ", "))
	case len(found) > 1:
		return nil, fmt.Errorf("%w: %s has several: write %s.SERVICE.%s, as in %s", ErrNoMethod, c.Name, c.Name, path[0], strings.Join(known, ", "))
	}
	return found[0], nil
}

// Timeout is how long a cell has to answer questions about itself.
const Timeout = 5 * time.Second
