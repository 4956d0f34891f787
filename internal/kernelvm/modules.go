package kernelvm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// module returns the ELF file of a module, by name with "-" or "_".
func (k Kernel) module(name string) ([]byte, error) {
	for _, n := range []string{name, strings.ReplaceAll(name, "_", "-"), strings.ReplaceAll(name, "-", "_")} {
		path := filepath.Join(k.Modules, n+".ko")
		if b, err := os.ReadFile(path); err == nil {
			return b, nil
		}
		if _, err := os.Stat(path + ".xz"); err != nil {
			continue
		}
		b, err := exec.Command("xz", "-dc", path+".xz").Output()
		if err != nil {
			return nil, fmt.Errorf("kernelvm: module %s: %w", name, err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("kernelvm: kernel %s has no module %s among those that are kept", k.Release, name)
}

// dependencies reads what a module says that it needs (.modinfo).
func dependencies(file []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for _, entry := range strings.Split(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}

// loadable returns modules and all that they need, in the order of loading.
func (k Kernel) loadable(names []string) (order []string, files map[string][]byte, err error) {
	files = map[string][]byte{}
	var add func(name string) error
	add = func(name string) error {
		name = strings.ReplaceAll(name, "-", "_")
		if files[name] != nil {
			return nil
		}
		b, err := k.module(name)
		if err != nil {
			return err
		}
		files[name] = b
		needs, err := dependencies(b)
		if err != nil {
			return fmt.Errorf("kernelvm: module %s: %w", name, err)
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		order = append(order, name)
		return nil
	}
	for _, n := range names {
		if err := add(n); err != nil {
			return nil, nil, err
		}
	}
	return order, files, nil
}
