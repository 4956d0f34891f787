package cli

import (
	"strings"
	"testing"
	"time"
)

func TestALogLineCommandsNoTerminal(t *testing.T) {
	var out strings.Builder
	if err := (logLine{At: time.Now(), Source: "one#1", Text: "\x1b[2Jé\tx\r\n\u202e\xff\u009b"}).print(&out); err != nil {
		t.Fatal(err)
	}
	if want := "\ufffd[2Jé\tx\ufffd\ufffd\ufffd\ufffd\ufffd\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("%q; want %q at its end", out.String(), want)
	}
}
