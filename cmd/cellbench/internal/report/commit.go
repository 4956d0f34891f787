package report

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"time"
)

// modulePath tells Cell's own working tree from any other repository that the
// program happens to be started in.
const modulePath = "github.com/cell-runtime/cell"

// pseudo finds the revision in a pseudo-version ("v0.0.0-20260102150405-0123456789ab",
// see go.dev/ref/mod#pseudo-versions).
var pseudo = regexp.MustCompile(`[-.]\d{14}-([0-9a-f]{12})(\+|$)`)

// commit returns the revision of this program and whether the tree differed.
// The build stamps it, except under "go run" and -buildvcs=false: then a
// module's version has it, or the repository in the working directory.
func commit() (revision string, dirty bool) {
	if info, ok := debug.ReadBuildInfo(); ok {
		if revision, dirty = stamped(info); revision != "" {
			return revision, dirty
		}
	}
	if dir, err := os.Getwd(); err == nil {
		if revision, dirty = checkedOut(dir); revision != "" {
			return revision, dirty
		}
	}
	return unknown, false
}

// stamped returns what the build info says, "" if nothing.
func stamped(info *debug.BuildInfo) (revision string, dirty bool) {
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if revision != "" {
		return revision, dirty
	}
	if m := pseudo.FindStringSubmatch(info.Main.Version); m != nil {
		return m[1], strings.HasSuffix(info.Main.Version, "+dirty")
	}
	if strings.HasPrefix(info.Main.Version, "v") {
		return info.Main.Version, false // a tag names a commit well enough
	}
	return "", false
}

// checkedOut asks git about the repository around dir, "" unless it is Cell's.
func checkedOut(dir string) (revision string, dirty bool) {
	top := git(dir, "rev-parse", "--show-toplevel")
	if top == "" {
		return "", false
	}
	mod, err := os.ReadFile(filepath.Join(top, "go.mod"))
	if err != nil || !strings.HasPrefix(string(mod), "module "+modulePath+"\n") {
		return "", false
	}
	if revision = git(dir, "rev-parse", "HEAD"); revision == "" {
		return "", false
	}
	return revision, git(dir, "status", "--porcelain", "--untracked-files=no") != ""
}

// git runs git in dir for at most two seconds, without the hooks that a
// repository's configuration may name, and returns its output, "" on failure.
func git(dir string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "--no-optional-locks", "-c", "core.fsmonitor=false"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(out))
}
