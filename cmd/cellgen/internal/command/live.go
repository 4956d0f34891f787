package command

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/uds"
)

// live is how to reach running cells.
type live struct {
	dir     string
	timeout time.Duration
}

func (l *live) flags(flags *flag.FlagSet) {
	flags.StringVar(&l.dir, "runtime-dir", "", "`folder` with the sockets of running cells; default: $"+uds.EnvDir+", or the user's own")
	flags.DurationVar(&l.timeout, "timeout", 5*time.Second, "how long to wait for a running cell")
}

// served is what a running cell says of itself.
type served struct {
	services []rpc.ServiceInfo
	texts    map[string]string // descriptions by the service's name
}

// ask asks the cell that listens under name.
func (l *live) ask(name string) (*served, error) {
	ctx, cancel := context.WithTimeout(context.Background(), l.timeout)
	defer cancel()
	conn, err := rpc.Connect(ctx, func(ctx context.Context) (link.Link, error) {
		return uds.Dial(ctx, name, &uds.Options{Dir: l.dir})
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer conn.Close()
	s := &served{texts: map[string]string{}}
	if s.services, err = conn.List(ctx); err != nil {
		return nil, fmt.Errorf("%s: its services: %w", name, err)
	}
	if len(s.services) == 0 {
		return nil, fmt.Errorf("%s serves nothing", name)
	}
	for _, info := range s.services {
		if s.texts[info.Name], err = conn.Describe(ctx, info.Name); err != nil {
			return nil, fmt.Errorf("%s: the description of %s: %w", name, info.Name, err)
		}
	}
	return s, nil
}

// names lists the services, each once.
func (s *served) names() []string {
	var names []string
	for _, info := range s.services {
		if !slices.Contains(names, info.Name) {
			names = append(names, info.Name)
		}
	}
	return names
}

// accepts reports whether the cell serves a fingerprint, as a method's own or
// as that of an ancestor. Versions that it serves beside each other count.
func (s *served) accepts(fingerprint string) bool {
	for _, info := range s.services {
		for _, m := range info.Methods {
			if m.Fingerprint == fingerprint || slices.Contains(m.Ancestors, fingerprint) {
				return true
			}
		}
	}
	return false
}

// schema returns the description of the named service, or of all services if
// wanted is "". What the same file describes and the cell does not serve is
// left out.
func (s *served) schema(wanted string) (*schema.Schema, error) {
	names := s.names()
	if wanted != "" {
		if !slices.Contains(names, wanted) {
			return nil, fmt.Errorf("it has no service %s, but %s", wanted, strings.Join(names, ", "))
		}
		names = []string{wanted}
	}
	text := s.texts[names[0]]
	for _, name := range names {
		if s.texts[name] != text {
			return nil, fmt.Errorf("its services %s come from different descriptions: choose one with -service", strings.Join(names, ", "))
		}
	}
	parsed, err := schema.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("its description: %w", err)
	}
	parsed.Services = slices.DeleteFunc(parsed.Services, func(service *schema.Service) bool {
		return !slices.Contains(names, service.Name)
	})
	if len(parsed.Services) == 0 {
		return nil, fmt.Errorf("its description does not have the service %s", strings.Join(names, ", "))
	}
	return parsed, nil
}
