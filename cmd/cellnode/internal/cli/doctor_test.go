package cli

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cell-runtime/cell/sched"
)

// finding is what a test wants doctor to say; texts are parts of the whole.
type finding struct {
	id            string
	severity      sched.Severity
	evidence, fix string
}

// nobody runs the rest of a command line as a user without any right.
const nobody = `exec setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set=-all --no-new-privs "$@"`

// What doctor needs is taken away in turn, each in namespaces of its own: it
// names the thing, what it saw, and what mends it.
func TestDoctorWithThingsTakenAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can take things away")
	}
	for _, tool := range []string{"bwrap", "unshare", "setpriv", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	noGroups := `mount --make-rprivate / && umount -l /sys/fs/cgroup && mount -t tmpfs none /sys/fs/cgroup && exec "$@"`
	for name, tc := range map[string]struct {
		attr   syscall.SysProcAttr
		script string
		config string
		code   int
		want   []finding
		not    string // an ID that must not appear as a problem
	}{
		"bubblewrap is not installed": {
			script: `PATH=/nonexistent exec "$@"`, code: 1,
			want: []finding{{"capsid.bwrap", sched.Problem, "not installed", "apt install bubblewrap"}},
			not:  "capsid.bwrap.start",
		},
		"others may write to bubblewrap": {
			attr:   syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS},
			script: `mount --make-rprivate / && cp /usr/bin/bwrap "$TMP/bwrap" && chmod 0777 "$TMP/bwrap" && PATH="$TMP" exec "$@"`, code: 1,
			want: []finding{{"capsid.bwrap", sched.Problem, "mode 0777", "chmod go-w"}},
		},
		"user namespaces are off": {
			attr: syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{Size: 65535}}, GidMappings: []syscall.SysProcIDMap{{Size: 65535}}, GidMappingsEnableSetgroups: true},
			script: `echo 0 > /proc/sys/user/max_user_namespaces && ` + nobody, code: 1,
			want: []finding{
				{"capsid.userns", sched.Problem, "max_user_namespaces is 0", "sysctl -w user.max_user_namespaces"},
				{"capsid.bwrap.start", sched.Problem, "bwrap", "capsid.userns"},
			},
		},
		"a container without privileges, whose user is mapped to nobody": {
			attr:   syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS},
			script: `exec setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set=-all --no-new-privs unshare -U -m -p -f --mount-proc "$@"`, code: 1,
			want: []finding{
				{"capsid.userns", sched.Problem, "not permitted", "seccomp"},
				{"capsid.user", sched.Info, "uid 65534", "as root"},
				{"capsid.cgroup", sched.Warning, "permission denied", "Delegate="},
				{"capsid.bwrap.start", sched.Problem, "bwrap", "capsid.userns"},
			},
		},
		"a user without control groups": {
			script: nobody, code: 0,
			want: []finding{{"capsid.cgroup", sched.Warning, "memory, pids, cpu, cpuset: can't make a control group", "Delegate="}},
			not:  "capsid.bwrap.start",
		},
		"control groups that the configuration needs": {
			script: nobody, code: 1, config: "[cells.a]\ncommand = [\"/bin/true\"]\n[cells.a.limits]\nmemory = \"64MiB\"\n",
			want: []finding{{"config.cells.a.limits", sched.Problem, "control group", "missing ="}},
		},
		"control groups that the configuration can do without": {
			script: nobody, code: 0, config: "[cells.a]\ncommand = [\"/bin/true\"]\n[cells.a.limits]\nmemory = \"64MiB\"\nmissing = \"rlimits\"\n",
			want: []finding{{"config.cells.a.limits", sched.Warning, "control group", "capsid.cgroup"}},
		},
		"control groups are not mounted": {
			attr: syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}, script: noGroups, code: 0,
			want: []finding{{"capsid.cgroup", sched.Warning, "/sys/fs/cgroup", "mount"}},
		},
		"64 KiB of locked memory": {
			script: "ulimit -l 64; " + nobody, code: 0,
			want: []finding{{"mem.memlock", sched.Warning, "65536 bytes", "LimitMEMLOCK=infinity"}},
		},
		"what a configuration names": {
			script: `exec "$@"`, code: 1,
			config: "[engine]\ncpu = 1000\n[cells.a]\ncommand = [\"/nonexistent/a\"]\nschema = \"/nonexistent/a.cell\"\n[cells.a.files]\nread_only = [\"/nonexistent/data\"]\n[cells.a.limits]\ncpuset = \"900\"\n[cells.b]\ncommand = [\"/etc/passwd\"]\n[devices.d]\nlink = \"serial\"\npath = \"/dev/nonexistent\"\nschema = \"/etc/passwd\"\n",
			want: []finding{
				{"config.engine.cpu", sched.Problem, "1000", "-1"},
				{"config.cells.a.command", sched.Problem, "/nonexistent/a", "build"},
				{"config.cells.a.schema", sched.Problem, "/nonexistent/a.cell", "correct"},
				{"config.cells.a.files", sched.Problem, "/nonexistent/data", "make it"},
				{"config.cells.a.limits.cpuset", sched.Problem, "900", "correct"},
				{"config.cells.b.command", sched.Problem, "is no program", "build"},
				{"config.devices.d.path", sched.Warning, "/dev/nonexistent", "plug it in"},
			},
		},
		"a core that the engine shares": {
			script: `exec "$@"`, code: 0,
			config: "[engine]\ncpu = 0\n[cells.a]\ncommand = [\"/bin/true\"]\n[cells.b]\ncommand = [\"/bin/true\"]\nlimits = { cpuset = \"1\", missing = \"rlimits\" }\n",
			want:   []finding{{"config.cores", sched.Warning, "the limits of a leave open", "limits.cpuset"}},
		},
		"all that a configuration names": {
			script: `exec "$@"`, code: 0, config: "[cells.a]\ncommand = [\"/bin/true\"]\n",
			want: []finding{{"config", sched.OK, "1 cells", ""}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			probes := []string{"config", "capsid", "sched"}
			code, r := doctorIn(t, &tc.attr, tc.script, tc.config, probes)
			if code != tc.code {
				t.Errorf("exit code %d, want %d; the worst is %v", code, tc.code, r.Worst)
			}
			got := map[string][]sched.Finding{}
			for _, f := range r.Findings {
				got[f.ID] = append(got[f.ID], f)
				if f.Severity > sched.Info && (f.Evidence == "" || f.Fix == "") {
					t.Errorf("%v says too little", f)
				}
				if f.ID == tc.not && f.Severity == sched.Problem {
					t.Errorf("%v", f)
				}
			}
			for _, w := range tc.want {
				found := false
				for _, f := range got[w.id] {
					found = found || f.Severity == w.severity && strings.Contains(f.Evidence, w.evidence) && strings.Contains(f.Fix, w.fix)
				}
				if !found {
					t.Errorf("want %s: %v, %q, %q; got %v", w.id, w.severity, w.evidence, w.fix, got[w.id])
				}
			}
		})
	}
}

// doctorIn runs doctor in a process of its own, which a script prepares: that
// executes "$@".
func doctorIn(t *testing.T, attr *syscall.SysProcAttr, script, config string, args []string) (code int, r report) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Others are to be able to execute it and to read the configuration.
	dir, err := os.MkdirTemp("", "doctor")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "cellnode")
	if err := errors.Join(os.Chmod(dir, 0o755), exec.Command("cp", self, program).Run(), os.Chmod(program, 0o755)); err != nil {
		t.Fatal(err)
	}
	args = append([]string{program, "doctor", "-o", "json"}, args...)
	if config != "" {
		file := filepath.Join(dir, "cellnode.toml")
		if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-c", file)
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.Dir, cmd.SysProcAttr = "/", attr
	cmd.Env = []string{envProgram + "=cellnode", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMP=" + dir, "HOME=/nonexistent"}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Skip("the namespaces can't be made here: ", err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, complaints.String())
	}
	return cmd.ProcessState.ExitCode(), r
}
