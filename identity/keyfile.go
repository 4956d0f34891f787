package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The files in a node's directory.
const (
	fileKey        = "node.key"      // PKCS #8, secret
	fileSuccession = "succession"    // of this node's former key, while it lasts
	fileMembership = "membership"    // this node's, in its cluster
	fileCluster    = "cluster"       // the cluster's id
	fileClusterKey = "cluster.key"   // PKCS #8, secret, where tokens are made
	fileTokens     = "tokens"        // what is remembered of tokens that were made here
	fileEnrolled   = "enrolled"      // who came by counted tokens
	fileAllow      = "allow"         // the allow list
	fileRevoked    = "revoked"       // IDs and tokens that this node refuses
	fileList       = "revocations"   // the cluster's signed list
	fileAuthority  = "authority.pem" // the organisation's certificates
	fileChain      = "node.pem"      // this node's certificate by the organisation

	maxKeyFile = 4 << 10
)

// EnvDir names the environment variable that overrides [DefaultDir].
const EnvDir = "CELL_IDENTITY_DIR"

// DefaultDir is where a node keeps its identity if nobody says otherwise:
// $CELL_IDENTITY_DIR; for root /var/lib/cell/identity; else
// cell/identity in the user's configuration directory.
func DefaultDir() (string, error) {
	if d := os.Getenv(EnvDir); d != "" {
		return d, nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/cell/identity", nil
	}
	d, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("identity: no directory for the node's key: %w; set %s", err, EnvDir)
	}
	return filepath.Join(d, "cell", "identity"), nil
}

// LoadOrCreate returns the key in directory path and makes both if they are
// not there: the directory with mode 0700, the file with 0600. Processes that
// start at once get the same key. A crash leaves a whole key or none.
//
// Errors: [ErrDir] if the directory or the file belongs to somebody else or is
// open to others, which is not mended silently, since the key may have been
// read; [ErrKey] if the file holds something else.
func LoadOrCreate(path string) (*Key, error) { return loadOrCreate(path, fileKey) }

// Load returns the key in directory path. The error wraps [fs.ErrNotExist] if
// there is none; otherwise see [LoadOrCreate].
func Load(path string) (*Key, error) { return loadKey(path, fileKey) }

func loadKey(path, file string) (*Key, error) {
	d, err := openDir(path, false)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return d.readKey(file)
}

func (d *dir) readKey(file string) (*Key, error) {
	data, _, err := d.read(file, maxKeyFile, true)
	if err != nil {
		return nil, err
	}
	k, err := parseKey(data)
	if err != nil {
		mend := "restore it, or remove it to become a new node"
		if file == fileClusterKey {
			mend = "restore it from a copy: without it nobody can be admitted to this cluster any more"
		}
		return nil, fmt.Errorf("%s: %w; %s", d.name(file), err, mend)
	}
	return k, nil
}

func loadOrCreate(path, file string) (k *Key, err error) {
	d, err := openDir(path, true)
	if err != nil {
		return nil, err
	}
	defer d.close()
	// Most starts find a key, and need no lock for that.
	if k, err = d.readKey(file); !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	unlock, err := d.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if k, err = d.readKey(file); !errors.Is(err, fs.ErrNotExist) {
		return k, err // somebody else was first
	}
	return d.createKey(file)
}

// createKey makes a key. The caller holds the lock.
func (d *dir) createKey(file string) (*Key, error) {
	k, err := Generate()
	if err != nil {
		return nil, err
	}
	data, err := k.marshal()
	if err != nil {
		return nil, err
	}
	return k, d.write(file, data)
}
