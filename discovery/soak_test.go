package discovery

import "os"

// soak reports whether the long tests are wanted.
func soak() bool { return os.Getenv("CELL_SOAK") == "1" }
