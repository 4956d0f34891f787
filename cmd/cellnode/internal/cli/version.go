package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionInfo is what cellnode version tells.
type versionInfo struct {
	Version  string `json:"version"`            // of the module: a tag, or (devel)
	Revision string `json:"revision,omitempty"` // the commit
	Modified bool   `json:"modified"`           // built from changed files
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readVersion() versionInfo {
	v := versionInfo{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// newVersion says what was built, from what.
func newVersion(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which build this is",
		Example: "  cellnode version -o json",
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			return env.Show(v, func(w io.Writer) error {
				source := ""
				if v.Revision != "" {
					source = " (" + v.Revision + ")"
				}
				if v.Modified {
					source = " (" + v.Revision + ", changed)"
				}
				_, err := fmt.Fprintf(w, "cellnode %s%s %s %s\n", v.Version, source, v.Go, v.Platform)
				return err
			})
		},
	}
}
