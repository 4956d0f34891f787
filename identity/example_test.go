package identity_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cell-runtime/cell/identity"
)

// Two nodes that have nothing in common but a token.
func ExampleJoin() {
	home, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(home)

	cluster, err := identity.NewCluster()
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := cluster.NewToken(time.Now(), 24*time.Hour, 0)
	if err != nil {
		fmt.Println(err)
		return
	}

	for _, name := range []string{"a", "b"} {
		if _, err := identity.Join(filepath.Join(home, name), token, time.Now()); err != nil {
			fmt.Println(err)
			return
		}
	}
	b, err := identity.LoadCredentials(filepath.Join(home, "b"))
	if err != nil {
		fmt.Println(err)
		return
	}
	trustOfA, err := identity.LoadTrust(filepath.Join(home, "a"))
	if err != nil {
		fmt.Println(err)
		return
	}
	peer, err := trustOfA.Check(b.ID(), identity.Evidence{Membership: b.Membership()})
	fmt.Println(peer.By, peer.ID == b.ID(), err)
	// Output:
	// cluster true <nil>
}

// Signatures are for one purpose each.
func ExampleKey_Sign() {
	key := identity.FromSeed([32]byte{1})
	signature := key.Sign("beacon v1", []byte("here I am"))
	fmt.Println(identity.Verify(key.ID(), "beacon v1", []byte("here I am"), signature))
	fmt.Println(identity.Verify(key.ID(), "will v1", []byte("here I am"), signature))
	// Output:
	// true
	// false
}
