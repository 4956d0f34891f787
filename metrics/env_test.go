package metrics_test

import (
	"path/filepath"
	"testing"

	"github.com/cell-runtime/cell/metrics"
)

func TestFromEnv(t *testing.T) {
	for name, tc := range map[string]struct {
		path       string
		made, fail bool
	}{
		"nothing is named":    {"", false, false},
		"a file":              {filepath.Join(t.TempDir(), "a.metrics"), true, false},
		"a file in no folder": {filepath.Join(t.TempDir(), "b", "a.metrics"), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(metrics.EnvFile, tc.path)
			f, err := metrics.FromEnv(metrics.Options{})
			if (f != nil) != tc.made || (err != nil) != tc.fail {
				t.Fatalf("%v, %v", f, err)
			}
			if f != nil {
				if f.Path() != tc.path {
					t.Errorf("the file is %s", f.Path())
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
