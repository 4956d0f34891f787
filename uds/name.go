package uds

import (
	"errors"
	"fmt"
)

// ErrName: the name of a service can't be one.
var ErrName = errors.New("uds: bad name")

const (
	// MaxName is the longest name of a service, in bytes.
	MaxName = 64

	// maxPath is what sockaddr_un.sun_path holds: 108 bytes with the final
	// zero (unix(7)).
	maxPath = 107

	socketSuffix = ".sock"
	lockSuffix   = ".lock"
)

// ValidateName says whether name can name a service: 1 to MaxName letters,
// digits, '.', '-' and '_' of ASCII, the first no '.'. Error: ErrName.
func ValidateName(name string) error {
	if len(name) == 0 || len(name) > MaxName {
		return fmt.Errorf("%w: it has %d bytes and must have 1 to %d", ErrName, len(name), MaxName)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if letter || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0 {
			continue
		}
		return fmt.Errorf("%w: %q has %q at byte %d; use ASCII letters, digits, '-', '_' and, not first, '.'", ErrName, name, c, i)
	}
	return nil
}

// socketPath returns where the socket of name lies, if the kernel can bind it.
func socketPath(dir, name string) (string, error) {
	if err := ValidateName(name); err != nil {
		return "", err
	}
	path := dir + "/" + name + socketSuffix
	if len(path) > maxPath {
		return "", fmt.Errorf("%w: %s has %d bytes and the kernel's limit for socket paths is %d; use a shorter name or a shorter directory (%s)", ErrName, path, len(path), maxPath, EnvDir)
	}
	return path, nil
}
