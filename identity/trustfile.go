package identity

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fileRules are what the files of a directory say about others.
type fileRules struct {
	allowed map[ID]bool
	revoked map[ID]bool
	serials map[uint64]bool
	cluster ClusterID
	list    *RevocationList
	roots   *x509.CertPool
	stamps  [trustFileCount]fileStamp
}

// fileStamp tells one state of a file from another.
type fileStamp struct {
	ino, size, seconds, nanoseconds int64
}

func stampOf(st *unix.Stat_t) fileStamp {
	return fileStamp{int64(st.Ino), st.Size, int64(st.Mtim.Sec), int64(st.Mtim.Nsec)}
}

const (
	maxTrustFile = 1 << 20
	// MaxAllowed bounds the lines of an allow list and of a list of the
	// revoked.
	MaxAllowed = 1 << 14
	maxLine    = 512

	trustFileCount = 5
)

// trustFiles are the files, each with how it is read.
var trustFiles = [trustFileCount]struct {
	name, mend string
	read       func(r *fileRules, data []byte) error
}{
	// First, since the list is checked against it.
	{fileCluster, "restore it, or remove it and join again", (*fileRules).readCluster},
	{fileAllow, "mend that line, or remove it", (*fileRules).readAllow},
	{fileRevoked, "mend that line; without it whom it names is let in", (*fileRules).readRevoked},
	{fileList, "restore it, or remove it where the cluster's key does not lie: others bring it again", (*fileRules).readList},
	{fileAuthority, "put the organisation's certificates there again", (*fileRules).readAuthority},
}

// LoadTrust returns a Trust by the files of directory path, of which each may
// be missing:
//
//   - allow: one [ID] a line, then whatever people want to know;
//   - revoked: one ID, or "token" and a serial number, a line;
//   - cluster: the [ClusterID] whose members are let in;
//   - revocations: the cluster's [RevocationList];
//   - authority.pem: the certificates of an organisation.
//
// Empty lines and what follows a # are ignored. Errors name the file and the
// line.
func LoadTrust(path string) (*Trust, error) {
	t := &Trust{}
	_, err := t.Reload(path)
	return t, err
}

// Reload reads the files of directory path again, if one has changed since,
// and reports whether that is so. After an error everything stays as it was.
func (t *Trust) Reload(path string) (changed bool, err error) {
	d, err := openDir(path, false)
	if err != nil {
		return false, err
	}
	defer d.close()
	if old := t.current().files; old != nil && d.stamps() == old.stamps {
		return false, nil
	}
	fresh, err := d.readTrust()
	if err != nil {
		return false, err
	}
	return true, t.change(func(r *rules) error {
		r.files = fresh
		return nil
	})
}

// Follow reloads the files of directory path whenever one has changed, which
// it looks for every interval, until ctx ends. report is told of every error
// once; may be nil.
func (t *Trust) Follow(ctx context.Context, path string, interval time.Duration, report func(error)) {
	tick := time.NewTicker(max(interval, 10*time.Millisecond))
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := t.Reload(path)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != last && err != nil && report != nil {
			report(err)
		}
		last = text
	}
}

// stamps returns the state of all files; of one that is missing, zeros.
func (d *dir) stamps() (s [trustFileCount]fileStamp) {
	for i, f := range trustFiles {
		var st unix.Stat_t
		if unix.Fstatat(d.fd, f.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			s[i] = stampOf(&st)
		}
	}
	return s
}

func (d *dir) readTrust() (*fileRules, error) {
	r := &fileRules{}
	for i, f := range trustFiles {
		data, st, err := d.read(f.name, maxTrustFile, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r.stamps[i] = stampOf(&st)
		if err := f.read(r, data); err != nil {
			return nil, fmt.Errorf("%s: %w; %s", d.name(f.name), err, f.mend)
		}
	}
	return r, nil
}

// eachLine calls f for each line that says something, without its comment.
func eachLine(data []byte, f func(fields []string) error) error {
	number, used := 0, 0
	for line := range bytes.Lines(data) {
		number++
		if len(line) > maxLine {
			return fmt.Errorf("%w: line %d has %d characters; at most %d are read", ErrText, number, len(line), maxLine)
		}
		text, _, _ := strings.Cut(string(line), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		if used++; used > MaxAllowed {
			return fmt.Errorf("%w: line %d: more than %d entries; use a cluster key instead of a list", ErrText, number, MaxAllowed)
		}
		if err := f(words); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return nil
}

func (r *fileRules) readAllow(data []byte) error {
	r.allowed = make(map[ID]bool)
	return eachLine(data, func(words []string) error {
		id, err := ParseID(words[0])
		r.allowed[id] = true
		return err
	})
}

func (r *fileRules) readRevoked(data []byte) error {
	r.revoked, r.serials = make(map[ID]bool), make(map[uint64]bool)
	return eachLine(data, func(words []string) error {
		if words[0] == "token" && len(words) > 1 {
			serial, err := strconv.ParseUint(words[1], 16, 64)
			if err != nil {
				return fmt.Errorf("%w: a token's serial number is 16 hexadecimal digits, not %.20q", ErrText, words[1])
			}
			r.serials[serial] = true
			return nil
		}
		id, err := ParseID(words[0])
		r.revoked[id] = true
		return err
	})
}

func (r *fileRules) readCluster(data []byte) (err error) {
	return eachLine(data, func(words []string) error {
		if !r.cluster.IsZero() {
			return fmt.Errorf("%w: a second cluster; a node belongs to one", ErrText)
		}
		r.cluster, err = ParseClusterID(words[0])
		return err
	})
}

func (r *fileRules) readList(data []byte) error {
	r.list = new(RevocationList)
	if err := r.list.UnmarshalText(data); err != nil {
		return err
	}
	of := r.cluster
	if of.IsZero() {
		of = r.list.Cluster // it counts once that is set by SetCluster
	}
	return r.list.Verify(of)
}

func (r *fileRules) readAuthority(data []byte) error {
	r.roots = x509.NewCertPool()
	if !r.roots.AppendCertsFromPEM(data) {
		return fmt.Errorf("%w: no certificate in it; PEM is expected", ErrText)
	}
	return nil
}
