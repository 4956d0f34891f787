package report

import (
	"context"
	"os/exec"
	"runtime/debug"
	"strings"
	"time"
)

// Commit returns the revision that the program was built from and whether the
// tree differed. The build stamps it, except under go run: then git is asked
// about the working directory. It is "unknown" where neither knows.
func Commit() (revision string, dirty bool) {
	if info, ok := debug.ReadBuildInfo(); ok {
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
	}
	if revision = git("rev-parse", "HEAD"); revision == "" {
		return unknown, false
	}
	return revision, git("status", "--porcelain", "--untracked-files=no") != ""
}

// git runs git for at most two seconds, without the hooks that a repository's
// configuration may name, and returns its output, "" on failure.
func git(args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-c", "core.fsmonitor=false"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
