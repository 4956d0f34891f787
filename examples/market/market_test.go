package market_test

import (
	"net"
	"os/exec"
	"strconv"
	"testing"

	"github.com/cell-runtime/cell/examples/internal/readme"
)

func TestReadme(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl, as the README does")
	}
	readme.Run(t, "README.md", "../..", "PORT="+strconv.Itoa(freePort(t)))
}

// freePort returns a port on which nobody listens at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
