package metrics

import "os"

// EnvFile names the environment variable by which a process is told where to
// show its metrics: the path of the file. Whoever starts the process sets it; a
// node does so for its cells.
const EnvFile = "CELL_METRICS"

// FromEnv creates the file that the environment names, see [EnvFile]. Without
// one it returns nil and no error: options that take a *File take nil for
// "show nothing". Errors: those of [Create].
func FromEnv(o Options) (*File, error) {
	path := os.Getenv(EnvFile)
	if path == "" {
		return nil, nil
	}
	return Create(path, o)
}
