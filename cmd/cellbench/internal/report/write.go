package report

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
)

// WriteResult writes one result as indented JSON that ends in a newline.
func WriteResult(w io.Writer, r Result) error {
	r.Schema = Schema
	return encode(w, r)
}

// WriteReport writes all results as one report in indented JSON. A result's
// host is left out where it is the report's.
func WriteReport(w io.Writer, rep Report) error {
	rep.Schema = Schema
	rep.Results = slices.Clone(rep.Results)
	if rep.Results == nil {
		rep.Results = []Result{} // null would read as a single result
	}
	for i := range rep.Results {
		r := &rep.Results[i]
		r.Schema = ""
		if r.Host != nil && rep.Host != nil && reflect.DeepEqual(*r.Host, *rep.Host) {
			r.Host = nil
		}
	}
	return encode(w, rep)
}

func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// WriteFile makes the file path hold what write writes, wholly or not at all:
// it fills a new file beside it and renames that over path, so that nobody
// sees half a report and a full disk leaves the old one. A new file gets mode
// 0666 less the umask, an old one's mode is kept. What exists and is no regular
// file (a pipe, /dev/stdout) is written to directly. Errors name the path.
func WriteFile(path string, write func(io.Writer) error) error {
	mode := fs.FileMode(0o666)
	replaced := false
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir():
		return fmt.Errorf("writing %s: it is a directory; name a file in it", path)
	case err == nil && !info.Mode().IsRegular():
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		return fill(f, path, write)
	case err == nil:
		mode, replaced = info.Mode().Perm(), true
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("writing %s: %w", path, err)
	}
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:8]+".tmp")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if replaced {
		err = f.Chmod(mode) // undo the umask
	}
	if err == nil {
		err = fill(f, path, write)
	} else {
		f.Close()
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}

// CanWrite reports, before anything is measured, why WriteFile could not write
// to path. A disk may be full afterwards all the same.
func CanWrite(path string) error {
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir():
		return fmt.Errorf("%s is a directory; name a file in it", path)
	case err == nil && !info.Mode().IsRegular():
		return nil // a pipe must not be opened twice
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; name a file in a directory that you may write to", err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("%w; name a file in a directory that exists and that you may write to", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// fill writes to f through a buffer and closes it.
func fill(f *os.File, path string, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(f, 1<<16)
	err := write(b)
	if e := b.Flush(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
