package fsx

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Tests that need another process run this binary again with childEnv set to
// what it shall do and childRoot to the root it shall do it in.
const (
	childEnv  = "FSX_TEST_CHILD"
	childRoot = "FSX_TEST_ROOT"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "write":
		err = childWrites(How{Mode: 0o644})
	case "write volatile":
		err = childWrites(How{Mode: 0o644, Volatile: true})
	case "lock":
		err = childLocks()
	default:
		err = fmt.Errorf("unknown %s", childEnv)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// child is this binary running again.
type child struct {
	*exec.Cmd
	stdin io.Closer
}

// startChild returns when the child has said that it is ready.
func startChild(t *testing.T, what, root string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{Cmd: exec.Command(exe)}
	c.Env = append(os.Environ(), childEnv+"="+what, childRoot+"="+root)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// The child ends when its standard input does, so also when the test dies.
	if c.stdin, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		c.kill()
		t.Fatalf("the child said %q (%v): %s", line, err, stderr.String())
	}
	return c
}

// kill sends SIGKILL and waits for the end.
func (c *child) kill() {
	if c.ProcessState != nil {
		return
	}
	_ = c.Process.Kill()
	_ = c.Wait()
}

// untilOrphaned ends the process when the test that started it is gone.
func untilOrphaned() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// cannotRun skips, or fails where nothing may be skipped.
func cannotRun(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func openRoot(t *testing.T, root string) *Disk {
	t.Helper()
	d, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// tree makes files under a new directory and returns it. A name that ends in /
// is a directory, content that starts with -> makes a symbolic link, and
// content FIFO a named pipe.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		at := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		target, link := strings.CutPrefix(content, "->")
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o755)
		case link:
			err = os.Symlink(target, at)
		case content == "FIFO":
			err = syscall.Mkfifo(at, 0o644)
		default:
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// seen is what can be observed of a name, directory sizes and times apart.
type seen struct {
	mode  fs.FileMode
	owner Owner
	data  string // of a symbolic link its text
}

// snapshot observes everything below root with no help of this package.
func snapshot(t *testing.T, root string) map[string]seen {
	t.Helper()
	all := map[string]seen{}
	err := filepath.WalkDir(root, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || at == root {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		s := seen{mode: info.Mode(), owner: Owner{int(stat.Uid), int(stat.Gid)}}
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(at)
			if err != nil && !errors.Is(err, fs.ErrPermission) { // the mode says it then
				return err
			}
			s.data = string(data)
		case fs.ModeSymlink:
			target, err := os.Readlink(at)
			if err != nil {
				return err
			}
			s.data = strings.ReplaceAll(target, root, "ROOT")
		}
		all[strings.TrimPrefix(at, root)] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameTree(t *testing.T, want, got map[string]seen) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(seen{})); diff != "" {
		t.Errorf("the files are not as they should be (-want +got):\n%s", diff)
	}
}

// wantError compares the text an operator reads; root is taken out of it.
func wantError(t *testing.T, root string, err error, want string) {
	t.Helper()
	got := "no error"
	if err != nil {
		got = strings.ReplaceAll(err.Error(), root, "ROOT")
	}
	if got != want {
		t.Errorf("error\n got: %s\nwant: %s", got, want)
	}
}
