package report

import (
	"runtime/debug"
	"slices"
)

// profileGuided reports whether this program was compiled with a profile.
func profileGuided() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool {
		return s.Key == "-pgo" && s.Value != "" && s.Value != "off"
	})
}
