package command

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/pin"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/uds"
)

// runRemote makes a client for a running cell.
func runRemote(env environment, args []string) (int, error) {
	var (
		l                     live
		dir, pkg, service, at string
	)
	flags := newFlags("cellgen remote")
	l.flags(flags)
	flags.StringVar(&dir, "dir", ".", "`folder` for NAME.cell and NAME_cell.go")
	flags.StringVar(&pkg, "package", "", "`name` of the Go package; default: that of the folder's Go files, or the folder's name")
	flags.StringVar(&service, "service", "", "`name` of the one service to make a client for")
	flags.StringVar(&at, "lock", "", "`file` in which to pin; default: cell.lock beside go.mod")
	operands, err := parse(env, flags, "cellgen remote [flags] NAME: ask the running cell NAME for its description, write a client, and pin both in cell.lock", args)
	if err != nil {
		return 0, err
	}
	if len(operands) != 1 {
		return 0, fmt.Errorf("remote takes the NAME under which a cell listens: %w", errUsage)
	}
	name := operands[0]
	if err := uds.ValidateName(name); err != nil {
		return 0, fmt.Errorf("%w: %w", err, errUsage)
	}
	if at == "" {
		if at, err = pin.Find(dir); err != nil {
			return 0, err
		}
	}
	lock, err := pin.Read(at)
	if err != nil {
		return 0, err
	}
	said, err := l.ask(name)
	if err != nil {
		return 0, err
	}
	s, err := said.schema(service)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return writeClient(env, client{name: name, dir: dir, pkg: pkg, lockPath: at, lock: lock}, s)
}

// client is a client that is about to be written.
type client struct {
	name, dir, pkg, lockPath string
	lock                     *pin.File
}

func writeClient(env environment, c client, s *schema.Schema) (int, error) {
	text, err := schema.Print(s)
	if err != nil {
		return 0, err
	}
	description := filepath.Join(c.dir, c.name+".cell")
	if c.pkg == "" {
		if c.pkg, err = packageOf(description); err != nil {
			return 0, err
		}
	}
	relative, err := relativeTo(c.lockPath, description)
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return 0, err
	}
	if err := os.WriteFile(description, []byte(text), 0o644); err != nil {
		return 0, err
	}
	if code, err := (job{source: description, pkg: c.pkg}).run(env); err != nil || code != exitOK {
		return code, err
	}
	c.lock.Set(pin.Remote{Name: c.name, Description: relative, Package: c.pkg, Services: pin.Services(s)})
	if err := c.lock.Write(c.lockPath); err != nil {
		return 0, err
	}
	for _, service := range s.Services {
		digest := schema.Digest(service)
		fmt.Fprintf(env.stdout, "%s: %s, %d methods, digest %x: client in %s, pinned in %s\n",
			c.name, service.Name, len(service.Methods), digest[:8], strings.TrimSuffix(description, ".cell")+"_cell.go", c.lockPath)
	}
	return exitOK, nil
}

// relativeTo returns the path of file from the folder of lock, with slashes.
func relativeTo(lock, file string) (string, error) {
	full, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	folder, err := filepath.Abs(filepath.Dir(lock))
	if err != nil {
		return "", err
	}
	relative, err := filepath.Rel(folder, full)
	if err != nil || !filepath.IsLocal(relative) {
		return "", fmt.Errorf("%s is not within the folder of %s, which pins it: write the client there, or name another -lock: %w", file, lock, errUsage)
	}
	return filepath.ToSlash(relative), nil
}
