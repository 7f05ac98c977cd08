package fsx

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const namespaceEnv = "FSX_TEST_NAMESPACE"

// inMountNamespace runs the test again in a process with mounts of its own,
// where it returns true. They end with that process, so there is nothing to
// undo. A user namespace stands in for root where there is one to be had.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceEnv) == t.Name() {
		return true
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), namespaceEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case strings.Contains(string(out), "--- SKIP: "+t.Name()):
		cannotRun(t, "needs root: no right to mount in a namespace")
	case errors.As(err, &exit):
		t.Fatalf("in its mount namespace:\n%s", out)
	case err != nil:
		cannotRun(t, "needs root: no mount namespace: "+err.Error())
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Fatalf("did not run in its mount namespace:\n%s", out)
	}
	return false
}

func mount(t *testing.T, source, target, fstype string, flags uintptr, data string) {
	t.Helper()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Skip(err)
	}
	if err := syscall.Mount(source, target, fstype, flags, data); errors.Is(err, syscall.EPERM) {
		t.Skip(err)
	} else if err != nil {
		t.Fatalf("cannot mount %s: %v", target, err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(target, syscall.MNT_DETACH) })
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	if !inMountNamespace(t) {
		return
	}
	root := t.TempDir()
	mount(t, "tmpfs", root, "tmpfs", 0, "size=64k")
	d := openRoot(t, root)
	old := strings.Repeat("old\n", 5_000)
	if _, err := d.WriteFile("/file", []byte(old), How{Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, root)

	big := []byte(strings.Repeat("new\n", 20_000))
	changed, err := d.WriteFile("/file", big, How{Mode: 0o600})
	if changed || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("WriteFile = %v, %v; want ENOSPC", changed, err)
	}
	wantError(t, root, err, "cannot write /file (under ROOT): no space left on device")
	sameTree(t, before, snapshot(t, root)) // the old file whole, and no temporary one

	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	if changed, err := d.WriteFile("/file", big, How{Mode: 0o600}); !changed || err != nil {
		t.Errorf("with room again: WriteFile = %v, %v; want a change", changed, err)
	}
	sameTree(t, map[string]seen{"/file": {mode: 0o600, owner: self(), data: string(big)}}, snapshot(t, root))
}

func TestNoInodeLeft(t *testing.T) {
	t.Parallel()
	if !inMountNamespace(t) {
		return
	}
	root := t.TempDir()
	mount(t, "tmpfs", root, "tmpfs", 0, "nr_inodes=2") // the root and one file
	d := openRoot(t, root)
	if _, err := d.WriteFile("/file", []byte("old"), How{Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, root)
	_, err := d.WriteFile("/file", []byte("new"), How{Mode: 0o644})
	wantError(t, root, err, "cannot write /file (under ROOT): no space left on device")
	_, err = d.MkdirAll("/dir", 0o755)
	wantError(t, root, err, "cannot make directory /dir (under ROOT): no space left on device")
	sameTree(t, before, snapshot(t, root))
}

func TestReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	if !inMountNamespace(t) {
		return
	}
	root := t.TempDir()
	mount(t, "tmpfs", root, "tmpfs", 0, "")
	for _, name := range []string{"file", ".file.ecsnode-1"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := snapshot(t, root)
	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	d := openRoot(t, root)
	if changed, err := d.WriteFile("/file", []byte("old"), How{Mode: 0o644}); changed || err != nil {
		t.Errorf("nothing to write: WriteFile = %v, %v; want no change", changed, err)
	}
	calls := map[string]func() (bool, error){
		"write /file":           func() (bool, error) { return d.WriteFile("/file", []byte("new"), How{Mode: 0o644}) },
		"write /other":          func() (bool, error) { return d.WriteFile("/other", nil, How{}) },
		"make directory /dir":   func() (bool, error) { return d.MkdirAll("/dir", 0o755) },
		"set the mode of /file": func() (bool, error) { return d.Chmod("/file", 0o600) },
		"remove /file":          func() (bool, error) { return d.Remove("/file") },
		"lock /file": func() (bool, error) {
			_, err := d.TryLock("/file", "test")
			return false, err
		},
	}
	for what, call := range calls {
		changed, err := call()
		if changed || !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s = %v, %v; want EROFS", what, changed, err)
		}
		wantError(t, root, err, "cannot "+what+" (under ROOT): read-only file system")
	}
	sameTree(t, before, snapshot(t, root))

	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	if changed, err := d.WriteFile("/file", []byte("new"), How{Mode: 0o644}); !changed || err != nil {
		t.Errorf("writable again: WriteFile = %v, %v; want a change", changed, err)
	}
	sameTree(t, map[string]seen{"/file": {mode: 0o644, owner: self(), data: "new"}}, snapshot(t, root))
}

func TestFileThatIsAMount(t *testing.T) {
	t.Parallel()
	if !inMountNamespace(t) {
		return
	}
	root := tree(t, map[string]string{"etc/mounted": "", "source": "old"})
	mount(t, filepath.Join(root, "source"), filepath.Join(root, "etc/mounted"), "", syscall.MS_BIND, "")
	before := snapshot(t, root)
	changed, err := openRoot(t, root).WriteFile("/etc/mounted", []byte("new"), How{})
	if changed || !errors.Is(err, syscall.EBUSY) {
		t.Errorf("WriteFile = %v, %v; want EBUSY", changed, err)
	}
	wantError(t, root, err, "cannot write /etc/mounted (under ROOT): it is a mount of its own and cannot be replaced: mount its directory instead")
	sameTree(t, before, snapshot(t, root))
}
