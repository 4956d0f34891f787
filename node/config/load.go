package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// ErrConfig: the configuration can't be used; the text names the key, what is
// wrong with it, and what would be right.
var ErrConfig = errors.New("configuration")

// Source is where values come from, each above the one before.
type Source struct {
	File string            // path; "" for none
	Env  []string          // "CELL_MAX_CELLS=8"; others are not looked at
	Flag map[string]string // by key: "operations.web"
}

// Origins says where each value came from, by key: "file", "env", "flag".
// What isn't there is "default".
type Origins map[string]string

// Of returns the origin of a key.
func (o Origins) Of(key string) string {
	if origin, ok := o[key]; ok {
		return origin
	}
	return "default"
}

// maxFile bounds a configuration in bytes.
const maxFile = 4 << 20

// Load reads and checks a configuration. Error: ErrConfig, with all that is
// wrong.
func Load(s Source) (Config, Origins, error) {
	c, origins := Default(), Origins{}
	if s.File != "" {
		text, err := os.ReadFile(s.File)
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w; correct the path: without -c a node runs with its defaults, and docs/CELLNODE.md says what a file may have", err)
		}
		if err != nil {
			return c, origins, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if err := c.merge(text, s.File, origins); err != nil {
			return c, origins, err
		}
	}
	var errs []error
	for _, pair := range s.Env {
		name, value, _ := strings.Cut(pair, "=")
		if key := envKeys()[name]; key != "" && value != "" {
			errs = append(errs, c.set(key, value, "env "+name, origins))
		}
	}
	for _, key := range sortedKeys(s.Flag) {
		errs = append(errs, c.set(key, s.Flag[key], "flag", origins))
	}
	if err := errors.Join(errs...); err != nil {
		return c, origins, err
	}
	return c, origins, c.Check()
}

// merge reads TOML over c.
func (c *Config) merge(text []byte, name string, origins Origins) error {
	if len(text) > maxFile {
		return fmt.Errorf("%w: %s has %d bytes, above %d", ErrConfig, name, len(text), maxFile)
	}
	// Defaults of a cell stand below what is said about it, so each cell that
	// is named exists before it is read.
	var names struct {
		Cells map[string]any `toml:"cells"`
	}
	if err := toml.Unmarshal(text, &names); err != nil {
		return explain(name, err)
	}
	all := map[string]any{}
	if err := toml.Unmarshal(text, &all); err != nil {
		return explain(name, err)
	}
	var raw struct {
		Cells map[string]Cell `toml:"cells"`
	}
	_ = raw
	d := toml.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return explain(name, err)
	}
	for cell := range names.Cells {
		merged, err := readCell(all, cell)
		if err != nil {
			return explain(name, err)
		}
		c.Cells[cell] = merged
	}
	note(all, "", "file "+name, origins)
	return nil
}

// readCell reads one cell over its defaults.
func readCell(all map[string]any, name string) (Cell, error) {
	c := DefaultCell()
	cells, _ := all["cells"].(map[string]any)
	text, err := toml.Marshal(cells[name])
	if err == nil {
		err = toml.Unmarshal(text, &c)
	}
	return c, err
}

// note notes the origin of every value below a table.
func note(table map[string]any, prefix, origin string, origins Origins) {
	for key, value := range table {
		if sub, ok := value.(map[string]any); ok {
			note(sub, prefix+key+".", origin, origins)
			continue
		}
		origins[prefix+key] = origin
	}
}

// explain makes an error of the TOML library a sentence with a place and, for
// unknown keys, a suggestion.
func explain(name string, err error) error {
	var missing *toml.StrictMissingError
	var decode *toml.DecodeError
	switch {
	case errors.As(err, &missing):
		var errs []error
		for _, e := range missing.Errors {
			row, _ := e.Position()
			key := strings.Join(e.Key(), ".")
			errs = append(errs, fmt.Errorf("%w: %s:%d: there is no key %q%s", ErrConfig, name, row, key, suggest(e.Key())))
		}
		return errors.Join(errs...)
	case errors.As(err, &decode):
		row, column := decode.Position()
		key := strings.Join(decode.Key(), ".")
		if key != "" {
			key += ": "
		}
		return fmt.Errorf("%w: %s:%d:%d: %s%w", ErrConfig, name, row, column, key, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrConfig, name, err)
}

// set sets one value from its text. Lists and tables can't be set so.
func (c *Config) set(key, text, origin string, origins Origins) error {
	v, ok := field(reflect.ValueOf(c).Elem(), strings.Split(key, "."))
	if !ok {
		return fmt.Errorf("%w: there is no key %q%s", ErrConfig, key, suggest(strings.Split(key, ".")))
	}
	line := "v = " + text
	switch v.Kind() {
	case reflect.String:
		line = fmt.Sprintf("v = %q", text)
	case reflect.Int, reflect.Bool:
	default:
		return fmt.Errorf("%w: %s (%s) can only be set in a file", ErrConfig, key, origin)
	}
	holder := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "V", Type: v.Type(), Tag: `toml:"v"`}}))
	if err := toml.Unmarshal([]byte(line), holder.Interface()); err != nil {
		return fmt.Errorf("%w: %s (%s): %q is no %v", ErrConfig, key, origin, text, v.Kind())
	}
	v.Set(holder.Elem().Field(0))
	origins[key] = origin
	return nil
}

// field finds the field of a struct by its key.
func field(v reflect.Value, path []string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("toml") != path[0] {
			continue
		}
		f := v.Field(i)
		if len(path) == 1 {
			return f, true
		}
		if f.Kind() == reflect.Struct {
			return field(f, path[1:])
		}
	}
	return v, false
}

// envKeys maps names of environment variables to keys: operations.web is
// CELL_OPERATIONS_WEB. Cells can't be set so.
func envKeys() map[string]string {
	all := map[string]string{}
	walk(reflect.TypeFor[Config](), "", func(key string, _ reflect.Type) {
		all["CELL_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = key
	})
	return all
}

// walk calls f for each scalar key of a struct.
func walk(t reflect.Type, prefix string, f func(key string, t reflect.Type)) {
	for i := range t.NumField() {
		key, sub := prefix+t.Field(i).Tag.Get("toml"), t.Field(i).Type
		switch sub.Kind() {
		case reflect.Struct:
			walk(sub, key+".", f)
		case reflect.Map:
		default:
			f(key, sub)
		}
	}
}
