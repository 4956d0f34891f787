package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// write puts results among those that were found of other sizes before, and makes
// the page and the plot of all.
func write(folder string, found []*result) error {
	file := filepath.Join(folder, "discovery.json")
	all, err := read(file)
	if err != nil {
		return err
	}
	all = merge(all, found)
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"discovery.json": string(b) + "\n", "DISCOVERY.md": page(all), "discovery.svg": plot(all)} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// read returns what was found before, if anything was.
func read(file string) (all []*result, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(b, &all)
}

// merge has what was found later replace what was found of the same size.
func merge(before, found []*result) []*result {
	all := slices.DeleteFunc(before, func(old *result) bool {
		return slices.ContainsFunc(found, func(r *result) bool { return r.Nodes == old.Nodes })
	})
	all = append(all, found...)
	slices.SortFunc(all, func(a, b *result) int { return cmp.Compare(a.Nodes, b.Nodes) })
	return all
}
