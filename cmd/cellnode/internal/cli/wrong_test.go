package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Wrong input is answered by what would be right, in a few words, whatever its
// size.
func TestWrongInput(t *testing.T) {
	t.Setenv("CELL_RUNTIME_DIR", t.TempDir())
	huge := strings.Repeat("x", 100_000)
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no name":                       {[]string{"versions"}, ExitUsage, "it takes NAME, and nothing was given"},
		"too many names":                {[]string{"versions", "a", "b"}, ExitUsage, "it takes NAME, and 2 arguments were given"},
		"arguments where none belong":   {[]string{"ps", "a"}, ExitUsage, `it takes no arguments, and "a" was given`},
		"no method":                     {[]string{"call"}, ExitUsage, "it takes NAME.Method [JSON], and nothing was given"},
		"a huge command":                {[]string{huge}, ExitUsage, "there is no command"},
		"a huge format":                 {[]string{"-o", huge}, ExitUsage, "bytes more"},
		"a huge probe":                  {[]string{"doctor", huge}, ExitUsage, "; choose from "},
		"a shell that is not known":     {[]string{"completion", "tcsh"}, ExitUsage, "there is no \"tcsh\"; choose from bash, zsh, fish\n"},
		"a command below one that runs": {[]string{"id", "nope"}, ExitUsage, "there is no command \"nope\"; there are "},
		"a configuration nowhere":       {[]string{"run", "-c", "/nowhere/at/all.toml"}, ExitFailed, "without -c a node runs with its defaults"},
		"a huge name":                   {[]string{"spawn", huge}, ExitUsage, "must have 1 to 64"},
		"a negative time to watch":      {[]string{"deploy", "a", "--watch", "-1s"}, ExitUsage, "--watch must not be below 0"},
		"a token for no time":           {[]string{"token", "create", "--for", "-1h", "--dir", private(t)}, ExitUsage, "--for must not be below 0, and is -1h0m0s"},
		"a time below 0":                {[]string{"raft", "status", "--timeout", "-1s"}, ExitUsage, "--timeout must not be below 0, and is -1s\n"},
		"no address for the cluster":    {[]string{"config", "check", "--raft", "nonsense"}, ExitFailed, "raft.listen: \"nonsense\" is no address such as 192.0.2.7:4747\n"},
		"members for no time":           {[]string{"token", "serve", ":0", "--for", "0s", "--dir", private(t)}, ExitUsage, "--for must be at least 1s"},
		"a word for a time":             {[]string{"stat", "--every", "often"}, ExitUsage, "--every: \"often\" is no length of time up to 2540400h; write it like 90s, 5m or 1h30m\n"},
		"a word for a number":           {[]string{"stat", "--count", "many"}, ExitUsage, "--count: \"many\" is no whole number\n"},
		"a number beyond all bounds":    {[]string{"stat", "--count", "99999999999999999999"}, ExitUsage, "--count: \"99999999999999999999\" is too large\n"},
		"a number below 0":              {[]string{"token", "create", "--uses", "-1"}, ExitUsage, "--uses: \"-1\" is no whole number from 0 on\n"},
		"a word for yes or no":          {[]string{"stat", "--json=perhaps"}, ExitUsage, "--json: \"perhaps\" is neither true nor false\n"},
		"metrics of a missing folder":   {[]string{"stat", "--runtime-dir", "/nowhere/at/all"}, ExitFailed, "/nowhere/at/all: no such file"},
		"a path for a name":             {[]string{"call", "../x.Y"}, ExitUsage, "is not NAME.Method"},
		"metrics of nobody":             {[]string{"stat", "nobody"}, ExitFailed, "nobody shows metrics as nobody"},
		"the operators of no node":      {[]string{"stop", "a"}, ExitFailed, "start one with cellnode run"},
		"a configuration that is noise": {[]string{"config", "check", "-c", garbage(t)}, ExitFailed, "noise.toml:1:1: toml:"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, complaints := run(t, tc.args...)
			if lines := strings.Split(strings.TrimSpace(complaints), "\n"); len(slices.Compact(slices.Clone(lines))) < len(lines) {
				t.Errorf("it says so twice: %.500s", complaints)
			}
			if code != tc.code || !strings.Contains(complaints, tc.says) {
				t.Errorf("code %d, want %d and %q:\n%.500s%.500s", code, tc.code, tc.says, out, complaints)
			}
			if out != "" {
				t.Errorf("beside the complaint it says: %.300s", out)
			}
			if len(complaints) > maxComplaint+500 {
				t.Errorf("the complaint has %d bytes", len(complaints))
			}
		})
	}
}

func garbage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "noise.toml")
	if err := os.WriteFile(path, []byte("\x01\xff\x00[["), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// private returns a folder that nobody else can read, as identities need.
func private(t *testing.T) string {
	t.Helper()
	d := t.TempDir()
	if err := os.Chmod(d, 0o700); err != nil {
		t.Fatal(err)
	}
	return d
}

// What a command prints for programs is one JSON value.
func TestResultsForProgramsAreJSON(t *testing.T) {
	t.Setenv("CELL_RUNTIME_DIR", t.TempDir())
	for _, args := range [][]string{
		{"config", "check"}, {"config", "print"}, {"ls"}, {"health"}, {"stat"}, {"version"}, {"man", t.TempDir()},
		{"leave", "--dir", private(t)}, {"trust", "ls", "--dir", private(t)}, {"token", "ls", "--dir", private(t)},
	} {
		t.Run(strings.Join(args[:min(len(args), 2)], " "), func(t *testing.T) {
			code, out, complaints := run(t, append(args, "-o", "json")...)
			var v any
			if err := json.Unmarshal([]byte(out), &v); err != nil || code != ExitOK || v == nil {
				t.Errorf("code %d, %v: %.300s%s", code, err, out, complaints)
			}
		})
	}
}
