package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file is what administrators do to the files of a node: it changes lists
// under the directory's lock, keeps other lines and comments as they are, and
// leaves whole files behind whatever happens.

// clusterLifetime is for how long the node that holds a cluster's key makes
// itself a member.
const clusterLifetime = 10 * 365 * 24 * time.Hour

// ErrOwn: what was asked for another node can't be done to the node itself.
var ErrOwn = errors.New("identity: this node itself")

// ErrName: a text that a list of nodes or tokens can't hold beside what it is of.
var ErrName = errors.New("identity: unfit as a name")

// maxNameLen bounds such a text, in bytes.
const maxNameLen = 128

// AllowIn puts a node on the allow list in directory path, under a name for
// people, and reports whether it is new there. Error: [ErrName].
func AllowIn(path string, id ID, name string) (added bool, err error) {
	if err := id.Check(); err != nil {
		return false, err
	}
	return addLine(path, fileAllow, id.String(), name)
}

// DisallowIn takes a node off the allow list in directory path and reports
// whether it was there.
func DisallowIn(path string, id ID) (removed bool, err error) {
	return removeLine(path, fileAllow, id.String())
}

// RevokeIn has the node of directory path refuse another, whatever speaks for
// it. If the cluster's key lies there, the cluster's list says so, too. [ErrOwn] if
// it is the node itself.
func RevokeIn(path string, id ID, now time.Time) (added bool, err error) {
	if err := id.Check(); err != nil {
		return false, err
	}
	if own, err := Load(path); err == nil && own.ID() == id {
		return false, fmt.Errorf("%w: %v would shut itself out; revoke it where others' lists are kept, or give it another key first (cellnode id rotate)", ErrOwn, id)
	}
	if added, err = addLine(path, fileRevoked, id.String(), ""); err != nil {
		return added, err
	}
	return added, extendList(path, now, func(nodes []ID, serials []uint64) ([]ID, []uint64) {
		if !slices.Contains(nodes, id) {
			nodes = append(nodes, id)
		}
		return nodes, serials
	})
}

// AllowedIn returns the lines of the allow list in directory path, without
// comments: an ID, and perhaps a name.
func AllowedIn(path string) ([]string, error) { return linesIn(path, fileAllow) }

// RevokedIn returns the lines of what the node of directory path refuses.
func RevokedIn(path string) ([]string, error) { return linesIn(path, fileRevoked) }

func linesIn(path, file string) (lines []string, err error) {
	d, err := openDir(path, false)
	if err != nil {
		return nil, err
	}
	defer d.close()
	data, err := d.readIfThere(file)
	if err != nil {
		return nil, err
	}
	return lines, eachLine(data, func(words []string) error {
		lines = append(lines, strings.Join(words, " "))
		return nil
	})
}

// readIfThere returns nothing for a file that is missing.
func (d *dir) readIfThere(file string) ([]byte, error) {
	data, _, err := d.read(file, maxTrustFile, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func addLine(path, file, word, rest string) (added bool, err error) {
	if strings.ContainsAny(rest, "\r\n#") {
		return false, fmt.Errorf("%w: %.40q has a # or the end of a line, where what follows would be lost; choose one without", ErrName, rest)
	}
	if len(rest) > maxNameLen {
		return false, fmt.Errorf("%w: %.40q… has %d bytes; choose one of at most %d", ErrName, rest, len(rest), maxNameLen)
	}
	err = changeDir(path, true, func(d *dir) error {
		data, err := d.readIfThere(file)
		if err != nil {
			return err
		}
		there := false
		err = eachLine(data, func(words []string) error {
			there = there || words[0] == word
			return nil
		})
		if err != nil || there {
			return err
		}
		if len(data) > 0 && data[len(data)-1] != '\n' {
			data = append(data, '\n')
		}
		added = true
		return d.write(file, append(data, strings.TrimSpace(word+" "+rest)+"\n"...))
	})
	return added, err
}

func removeLine(path, file, word string) (removed bool, err error) {
	err = changeDir(path, false, func(d *dir) error {
		data, err := d.readIfThere(file)
		if err != nil {
			return err
		}
		var kept []byte
		for line := range bytes.Lines(data) {
			if words := strings.Fields(string(line)); len(words) > 0 && words[0] == word {
				removed = true
				continue
			}
			kept = append(kept, line...)
		}
		if !removed {
			return nil
		}
		return d.write(file, kept)
	})
	return removed, err
}

// IssuedToken is what is remembered of a token that was made; not the token.
type IssuedToken struct {
	Serial  uint64
	Made    time.Time
	Expires time.Time
	Uses    uint32
	Revoked bool
	Label   string
}

// IssueToken makes a token of the cluster whose key lies in directory path,
// and the cluster, with this node as its first member, if there is none.
func IssueToken(path string, now time.Time, lifetime time.Duration, uses uint32, label string) (*Token, error) {
	k, err := LoadOrCreate(path)
	if err != nil {
		return nil, err
	}
	if err := mayFound(path); err != nil {
		return nil, err
	}
	c, err := CreateCluster(path)
	if err != nil {
		return nil, err
	}
	if err := c.keepMember(path, k.ID(), now); err != nil {
		return nil, err
	}
	t, err := c.NewToken(now, lifetime, uses)
	if err != nil {
		return nil, err
	}
	_, err = addLine(path, fileTokens, fmt.Sprintf("%016x", t.Grant.Serial),
		fmt.Sprintf("%s %s %d %s", stamp(t.Grant.NotBefore), stamp(t.Grant.NotAfter), uses, strings.Join(strings.Fields(label), "-")))
	return t, err
}

// mayFound refuses a node without a cluster's key that belongs to a cluster: a
// key that was made nevertheless would be in its way ever after, where lists of
// revocations are signed.
func mayFound(path string) error {
	_, err := LoadCluster(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	t, err := LoadTrust(path)
	if err == nil && !t.Cluster().IsZero() {
		err = fmt.Errorf("%w: this node belongs to %v, whose key lies elsewhere; make tokens there, or leave that cluster first", ErrStatement, t.Cluster())
	}
	return err
}

// keepMember makes the node that holds the cluster's key a member.
func (c *Cluster) keepMember(path string, node ID, now time.Time) error {
	m, err := c.Admit(node, now, clusterLifetime)
	if err != nil {
		return err
	}
	return SaveMembership(path, m)
}

// IssuedTokens returns the tokens that were made in directory path.
func IssuedTokens(path string) ([]IssuedToken, error) {
	lines, err := linesIn(path, fileTokens)
	if err != nil {
		return nil, err
	}
	t, err := LoadTrust(path)
	if err != nil {
		return nil, err
	}
	var all []IssuedToken
	for i, line := range lines {
		issued, err := parseIssued(strings.Fields(line))
		if err != nil {
			return nil, fmt.Errorf("%s/%s: entry %d: %w", path, fileTokens, i+1, err)
		}
		issued.Revoked = t.current().isSerialRevoked(issued.Serial)
		all = append(all, issued)
	}
	return all, nil
}

func parseIssued(words []string) (t IssuedToken, err error) {
	if len(words) < 4 {
		return t, fmt.Errorf("%w: serial, times and uses are expected", ErrText)
	}
	var uses uint64
	errs := make([]error, 4)
	t.Serial, errs[0] = strconv.ParseUint(words[0], 16, 64)
	t.Made, errs[1] = time.Parse(time.RFC3339, words[1])
	t.Expires, errs[2] = time.Parse(time.RFC3339, words[2])
	uses, errs[3] = strconv.ParseUint(words[3], 10, 32)
	t.Uses, t.Label = uint32(uses), strings.Join(words[4:], " ")
	if err := errors.Join(errs...); err != nil {
		return t, fmt.Errorf("%w: %w", ErrText, err)
	}
	return t, nil
}

// RevokeToken has the cluster whose key lies in directory path refuse a token
// and all who came by it. The list is for this node at once, and for others as
// soon as it has reached them.
func RevokeToken(path string, serial uint64, now time.Time) error {
	if _, err := LoadCluster(path); err != nil {
		return fmt.Errorf("%w; a token is revoked where the cluster's key lies", err)
	}
	return extendList(path, now, func(nodes []ID, serials []uint64) ([]ID, []uint64) {
		if !slices.Contains(serials, serial) {
			serials = append(serials, serial)
		}
		return nodes, serials
	})
}

// extendList signs a new list of revocations, where the cluster's key lies.
func extendList(path string, now time.Time, extend func([]ID, []uint64) ([]ID, []uint64)) error {
	c, err := LoadCluster(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return changeDir(path, false, func(d *dir) error {
		old := &RevocationList{}
		data, err := d.readIfThere(fileList)
		if err == nil && data != nil {
			if err = old.UnmarshalText(data); err == nil {
				err = old.Verify(c.ID())
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.name(fileList), err)
		}
		nodes, serials := extend(slices.Clone(old.Nodes), slices.Clone(old.Serials))
		next, err := c.Revoke(old.Counter+1, now, nodes, serials)
		if err != nil {
			return err
		}
		text, err := next.MarshalText()
		if err != nil {
			return err
		}
		return d.write(fileList, append(text, '\n'))
	})
}

// RotateKey replaces the key in directory path by a new one, for which the old
// one vouches for overlap; see [Succession]. A process that uses the directory
// shows the new key after its next start, or by [Credentials.Rotate]. Where the
// cluster's key lies, the new key becomes a member at once.
func RotateKey(path string, now time.Time, overlap time.Duration) (*Succession, error) {
	var s *Succession
	err := changeDir(path, false, func(d *dir) error {
		old, err := d.readKey(fileKey)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w; there is no key to replace, and cellnode id makes the first one", err)
		}
		if err != nil {
			return err
		}
		next, err := Generate()
		if err != nil {
			return err
		}
		if s, err = NewSuccession(old, next, now, overlap); err != nil {
			return err
		}
		text, err := s.MarshalText()
		if err != nil {
			return err
		}
		before, err := d.readIfThere(fileSuccession)
		if err != nil {
			return err
		}
		key, err := next.marshal()
		if err != nil {
			return err
		}
		// In this order: a succession to a key that never came to be is
		// overlooked, a key without its succession would be a stranger.
		if err := d.write(fileSuccession, append(append(text, '\n'), before...)); err != nil {
			return err
		}
		return d.write(fileKey, key)
	})
	if err != nil {
		return nil, err
	}
	c, err := LoadCluster(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = c.keepMember(path, s.New, now)
	}
	return s, err
}
