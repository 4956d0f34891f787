package kernelvm

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrMissing: this host has not what it takes to boot a kernel. The error says
// what, and how to install it.
var ErrMissing = errors.New("kernelvm: not on this host")

// Kernels are Debian's names of the packages that stand for the kernels to test
// on, the oldest first. On Debian 12 they are 6.1 and 6.12.
var Kernels = []string{"linux-image-amd64", "linux-image-6.12-amd64"}

// Kernel is a kernel that can be booted.
type Kernel struct {
	// Release is what uname -r says in it, such as "6.1.0-56-amd64".
	Release string
	// Image is the path of its uncompressed ELF image.
	Image string
	// Modules is the folder of its modules (.ko or .ko.xz), in any depth.
	Modules string
}

// wanted are the modules that are kept of a package: what tests of network code
// need, not the drivers of the world's hardware.
var wanted = regexp.MustCompile(`/kernel/(net|lib|crypto|drivers/net/can|drivers/virtio)/|/kernel/drivers/net/[^/]*$|/kernel/drivers/net/virtio`)

// cacheDir is where kernels are kept: $CELL_VM_CACHE, or the user's cache.
func cacheDir() (string, error) {
	if dir := os.Getenv("CELL_VM_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("kernelvm: no place to keep kernels: %w; set CELL_VM_CACHE", err)
	}
	return filepath.Join(dir, "cell", "kernels"), nil
}

// Debian returns the kernel for which a package of Debian stands: a versioned
// one, or one that depends on it. It is downloaded unless it is in the cache.
func Debian(ctx context.Context, pkg string) (Kernel, error) {
	if err := have("apt-cache", "apt-get", "dpkg-deb", "xz"); err != nil {
		return Kernel{}, err
	}
	image, err := versioned(ctx, pkg)
	if err != nil {
		return Kernel{}, err
	}
	cache, err := cacheDir()
	if err != nil {
		return Kernel{}, err
	}
	release := strings.TrimPrefix(image, "linux-image-")
	dir := filepath.Join(cache, release)
	k := Kernel{Release: release, Image: filepath.Join(dir, "vmlinux"), Modules: filepath.Join(dir, "modules")}
	if _, err := os.Stat(k.Image); err == nil {
		return k, nil
	}
	if err := fetch(ctx, image, dir); err != nil {
		return Kernel{}, fmt.Errorf("kernelvm: %s: %w", image, err)
	}
	return k, nil
}

// have says which programs are missing.
func have(programs ...string) error {
	packages := map[string]string{"apt-cache": "apt", "apt-get": "apt", "dpkg-deb": "dpkg", "xz": "xz-utils",
		"qemu-system-x86_64": "qemu-system-x86"}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%w: %s; apt-get install %s", ErrMissing, p, packages[p])
		}
	}
	return nil
}

var dependsOn = regexp.MustCompile(`(?m)^\s*Depends: (linux-image-[0-9][^\s]*)$`)

// versioned resolves a package such as linux-image-amd64.
func versioned(ctx context.Context, pkg string) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", pkg).Output()
	if err != nil {
		return "", fmt.Errorf("%w: apt knows no package %s (%w); apt-get update, on Debian", ErrMissing, pkg, err)
	}
	if m := dependsOn.FindSubmatch(out); m != nil {
		return string(m[1]), nil
	}
	return pkg, nil
}

// fetch downloads a package and unpacks what is wanted of it into dir, all or
// nothing.
func fetch(ctx context.Context, pkg, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	download := exec.CommandContext(ctx, "apt-get", "-q", "download", pkg)
	download.Dir = work
	if out, err := download.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: it can't be downloaded: %w: %s", ErrMissing, err, bytes.TrimSpace(out))
	}
	debs, _ := filepath.Glob(filepath.Join(work, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("apt-get download left %d packages, want one", len(debs))
	}
	unpacked := filepath.Join(work, "kernel")
	if err := unpack(ctx, debs[0], unpacked); err != nil {
		return err
	}
	if err := os.Chmod(unpacked, 0o755); err != nil {
		return err
	}
	if err := os.Rename(unpacked, dir); err != nil {
		if _, exists := os.Stat(dir); exists == nil {
			return nil // somebody else was faster
		}
		return err
	}
	return nil
}

// unpack writes vmlinux and modules/ from a package into dir.
func unpack(ctx context.Context, deb, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "modules"), 0o755); err != nil {
		return err
	}
	list := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var complaints bytes.Buffer
	list.Stderr = &complaints
	pipe, err := list.StdoutPipe()
	if err != nil {
		return err
	}
	if err := list.Start(); err != nil {
		return err
	}
	err = unpackTar(ctx, tar.NewReader(pipe), dir)
	if err != nil {
		_ = list.Process.Kill()
	}
	if waited := list.Wait(); err == nil && waited != nil {
		err = fmt.Errorf("dpkg-deb: %w: %s", waited, complaints.Bytes())
	}
	return err
}

func unpackTar(ctx context.Context, files *tar.Reader, dir string) error {
	found := false
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			if !found {
				return errors.New("no boot/vmlinuz in the package")
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(strings.TrimPrefix(h.Name, "./"), "boot/vmlinuz-"):
			found = true
			image, err := io.ReadAll(files)
			if err == nil {
				image, err = uncompress(ctx, image)
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "vmlinux"), image, 0o644)
			}
			if err != nil {
				return err
			}
		case h.Typeflag == tar.TypeReg && wanted.MatchString(h.Name):
			if err := save(files, filepath.Join(dir, "modules", filepath.Base(h.Name))); err != nil {
				return err
			}
		}
	}
}

func save(from io.Reader, name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}
