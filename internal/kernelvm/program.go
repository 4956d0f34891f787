package kernelvm

import (
	"os/exec"
	"regexp"
)

var library = regexp.MustCompile(`(?m)(/\S+) \(0x`)

// AddProgram adds a program of this host and its libraries to a machine's files,
// if it is there.
func AddProgram(files map[string]string, name string) {
	path, err := exec.LookPath(name)
	if err != nil {
		return
	}
	files["/bin/"+name] = path
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return
	}
	for _, m := range library.FindAllStringSubmatch(string(out), -1) {
		files[m[1]] = m[1]
	}
}
