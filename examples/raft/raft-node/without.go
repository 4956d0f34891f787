//go:build nodragonboat || s390x

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "raft-node: built without Raft: dragonboat was left out (-tags nodragonboat), or does not compile for this processor (s390x); build it for amd64 or arm64 without that tag")
	os.Exit(1)
}
