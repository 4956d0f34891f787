package command

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/pin"
	"github.com/cell-runtime/cell/schema"
)

// runCheck compares clients with the running cells that they were made for.
func runCheck(env environment, args []string) (int, error) {
	var (
		l           live
		at, against string
		offline     bool
	)
	flags := newFlags("cellgen check")
	l.flags(flags)
	flags.StringVar(&at, "lock", "", "`file` that pins; default: cell.lock beside go.mod")
	flags.StringVar(&against, "against", "", "`FILE`.cell or FILE.go to compare with, in place of the running cell NAME")
	flags.BoolVar(&offline, "offline", false, "don't ask running cells: check only that the files are as they were pinned")
	names, err := parse(env, flags, "cellgen check [flags] [NAME…]: compare the pinned clients, or those named, with the running cells; exits with 1 where one would be refused", args)
	if err != nil {
		return 0, err
	}
	if against != "" && (len(names) != 1 || offline) {
		return 0, fmt.Errorf("-against compares one NAME with a file: %w", errUsage)
	}
	if at == "" {
		if at, err = pin.Find("."); err != nil {
			return 0, err
		}
	}
	lock, err := pin.Read(at)
	if err != nil {
		return 0, err
	}
	remotes, err := selected(lock, at, names)
	if err != nil {
		return 0, err
	}
	code := exitOK
	for _, remote := range remotes {
		good, err := checkRemote(env, remote, at, func(pinned *schema.Schema) (bool, error) {
			switch {
			case offline:
				return true, nil
			case against != "":
				return checkAgainst(env, remote.Name, pinned, against)
			}
			return checkLive(env, remote.Name, pinned, &l)
		})
		if err != nil {
			fmt.Fprintf(env.stderr, "%v\n", err)
		}
		if err != nil || !good {
			code = exitFound
		}
	}
	return code, nil
}

// selected returns the remotes of those names, or all.
func selected(lock *pin.File, path string, names []string) ([]pin.Remote, error) {
	if len(lock.Remotes) == 0 {
		return nil, fmt.Errorf("%s pins nothing, so there is nothing to check: run cellgen remote NAME", path)
	}
	if len(names) == 0 {
		return lock.Remotes, nil
	}
	var remotes []pin.Remote
	for _, name := range names {
		r := lock.Remote(name)
		if r == nil {
			return nil, fmt.Errorf("%s does not pin %s: run cellgen remote %s", path, name, name)
		}
		remotes = append(remotes, *r)
	}
	return remotes, nil
}

// checkRemote holds the files of a client to what is pinned, then has compare
// look at the other side.
func checkRemote(env environment, r pin.Remote, lock string, compare func(*schema.Schema) (bool, error)) (bool, error) {
	description := filepath.Join(filepath.Dir(lock), filepath.FromSlash(r.Description))
	text, err := os.ReadFile(description)
	if err != nil {
		return false, fmt.Errorf("%s: %w; run cellgen remote %s", r.Name, err, r.Name)
	}
	pinned, err := schema.Parse(string(text))
	if err != nil {
		return false, fmt.Errorf("%s: %s: %w", r.Name, description, err)
	}
	if !slices.EqualFunc(pin.Services(pinned), r.Services, func(a, b pin.Service) bool {
		return a.Name == b.Name && a.Digest == b.Digest && slices.Equal(a.Methods, b.Methods)
	}) {
		return false, fmt.Errorf("%s: %s is not what %s pins: run cellgen remote %s, which takes the form that is served now", r.Name, description, lock, r.Name)
	}
	code, err := job{source: description, pkg: r.Package, check: true, quiet: true}.run(env)
	if err != nil || code != exitOK {
		return false, err
	}
	return compare(pinned)
}

// checkLive compares with a running cell.
func checkLive(env environment, name string, pinned *schema.Schema, l *live) (bool, error) {
	said, err := l.ask(name)
	if err != nil {
		return false, err
	}
	good := true
	for _, service := range pinned.Services {
		current, err := said.schemaLike(service.Name)
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		for i := range service.Methods {
			m := &service.Methods[i]
			accepted := said.accepts(schema.FormatFingerprint(schema.Fingerprint(service, m)))
			good = tell(env, name, accepted, changeOf(pinned, current, service.Name, m.Name)) && good
		}
	}
	return good, nil
}

// schemaLike is schema for one service; an empty schema if there is none of
// the name.
func (s *served) schemaLike(name string) (*schema.Schema, error) {
	if !slices.Contains(s.names(), name) {
		return &schema.Schema{}, nil
	}
	return s.schema(name)
}

// checkAgainst compares with a file.
func checkAgainst(env environment, name string, pinned *schema.Schema, file string) (bool, error) {
	current, err := read(file)
	if err != nil {
		return false, err
	}
	good := true
	for _, service := range pinned.Services {
		for i := range service.Methods {
			m := &service.Methods[i]
			fingerprint := schema.Fingerprint(service, m)
			accepted := false
			if s := current.Service(service.Name); s != nil {
				if now := s.Method(m.Name); now != nil {
					accepted = schema.Fingerprint(s, now) == fingerprint ||
						slices.ContainsFunc(now.Ancestors, func(a schema.Ancestor) bool { return a.Fingerprint == fingerprint })
				}
			}
			good = tell(env, name, accepted, changeOf(pinned, current, service.Name, m.Name)) && good
		}
	}
	return good, nil
}

// changeOf returns what became of a method.
func changeOf(older, newer *schema.Schema, service, method string) schema.Change {
	for _, c := range schema.Diff(older, newer) {
		if c.Service == service && c.Method == method {
			return c
		}
	}
	return schema.Change{Service: service, Method: method, Verdict: schema.Removed}
}

// tell prints what became of a method, unless it is the same, and returns
// whether calls of it are still accepted.
func tell(env environment, name string, accepted bool, c schema.Change) bool {
	text := strings.ReplaceAll(c.String(), "\n", "\n\t")
	switch {
	case !accepted:
		fmt.Fprintf(env.stderr, "%s: calls would be refused: %s\n", name, text)
	case c.Verdict != schema.Same:
		fmt.Fprintf(env.stdout, "%s: still accepted: %s\n", name, text)
	}
	return accepted
}
