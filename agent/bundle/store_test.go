package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func store(t testing.TB) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return NewStore(root), dir
}

// list is every file and directory below dir, with its mode.
func list(t testing.TB, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := d.Info()
		all = append(all, fmt.Sprintf("%s %v", strings.TrimPrefix(name, dir+"/"), info.Mode()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestABundleIsKeptByItsDigest(t *testing.T) {
	s, dir := store(t)
	packed := built(t, example())
	d := Sum(packed)
	defer syscall.Umask(syscall.Umask(0o077))
	if changed, err := s.Add(d, int64(len(packed)), bytes.NewReader(packed)); err != nil || !changed {
		t.Fatal(changed, err)
	}
	got := strings.ReplaceAll(strings.Join(list(t, dir), "\n"), string(d), "D")
	const want = `D drwxr-xr-x
D/ecsnode.yaml -rw-r--r--
D/files drwxr-xr-x
D/files/a drwxr-xr-x
D/files/a/b.conf -rw-r--r--
D/files/tool -rwxr-xr-x
D/hooks drwxr-xr-x
D/hooks/notice.d drwxr-xr-x
D/hooks/notice.d/10 -rwxr-xr-x
D/templates drwxr-xr-x
D/templates/motd -rw-r--r--`
	if got != want {
		t.Errorf("got\n%s", got)
	}
	if changed, err := s.Add(d, 0, nil); err != nil || changed {
		t.Errorf("again: %t, %v", changed, err)
	}
	if all, err := s.List(); err != nil || !slices.Equal(all, []Digest{d}) || !s.Has(d) {
		t.Error(all, err)
	}
	if err := s.Remove(d); err != nil || s.Has(d) || len(list(t, dir)) > 0 {
		t.Error(err, list(t, dir))
	}
}

func TestAnotherArchiveIsNotUnpacked(t *testing.T) {
	packed := built(t, example())
	d, size := Sum(packed), int64(len(packed))
	tree := example()
	tree["files/tool"].Data = []byte("#!/bin/sh\nrm -rf /\n")
	swapped := built(t, tree)
	for name, tc := range map[string]struct {
		digest Digest
		size   int64
		read   io.Reader
		is     error
	}{
		"swapped":                  {d, int64(len(swapped)), bytes.NewReader(swapped), ErrDigest},
		"swapped, of another size": {d, size, bytes.NewReader(swapped), ErrDigest},
		"truncated":                {d, size, bytes.NewReader(packed[:size-1]), ErrDigest},
		"with more behind it":      {d, size, bytes.NewReader(append(slices.Clone(packed), 'x')), ErrDigest},
		"endless":                  {d, size, endless{}, ErrDigest},
		"of no size":               {d, 0, bytes.NewReader(packed), ErrUnsafe},
		"of too large a size":      {d, MaxSize + 1, endless{}, ErrUnsafe},
		"an error in the middle":   {d, size, io.MultiReader(bytes.NewReader(packed[:99]), broken{}), io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := store(t)
			var steps []string
			s.step = func(what, name string) { steps = append(steps, what+" "+name) }
			changed, err := s.Add(tc.digest, tc.size, tc.read)
			if !errors.Is(err, tc.is) || changed {
				t.Errorf("%t, %v", changed, err)
			}
			if left := list(t, dir); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if i := slices.IndexFunc(steps, func(s string) bool { return strings.HasPrefix(s, "mkdir") }); i >= 0 {
				t.Errorf("it was looked into: %q", steps)
			}
		})
	}
	s, _ := store(t)
	if _, err := s.Add("../../etc", 1, endless{}); err == nil {
		t.Error("a name that is no digest is taken")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// steps of unpacking the example, as they are done.
func steps(t *testing.T) (all []string) {
	s, _ := store(t)
	s.step = func(what, name string) { all = append(all, what+" "+name) }
	packed := built(t, example())
	if _, err := s.Add(Sum(packed), int64(len(packed)), bytes.NewReader(packed)); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestAllIsOnDiskBeforeItHasItsName: a power cut loses what was not synced, and
// so everything is before the rename.
func TestAllIsOnDiskBeforeItHasItsName(t *testing.T) {
	open := map[string]bool{}
	renamed := false
	for _, step := range steps(t) {
		what, name, _ := strings.Cut(step, " ")
		switch name = strings.TrimSuffix(name, "/."); {
		case strings.HasSuffix(name, ".archive"):
		case what == "create":
			open[name], open[filepath.Dir(name)] = true, true
		case what == "mkdir":
			open[name], open[filepath.Dir(name)] = true, true
		case what == "sync":
			delete(open, name)
		case what == "rename":
			renamed = true
			delete(open, ".") // synced next: without it there is no bundle yet
			if len(open) > 0 {
				t.Errorf("not on disk when it gets its name: %v", open)
			}
		}
	}
	if all := steps(t); !renamed || all[len(all)-1] != "sync ." {
		t.Errorf("%q", all)
	}
}

const killAt, killIn = "ECSNODE_TEST_KILL_AT", "ECSNODE_TEST_KILL_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killIn); dir != "" {
		killed(dir)
	}
	os.Exit(m.Run())
}

// killed unpacks the example and is killed after a step.
func killed(dir string) {
	at, _ := strconv.Atoi(os.Getenv(killAt))
	root, err := os.OpenRoot(dir)
	if err != nil {
		os.Exit(3)
	}
	s := NewStore(root)
	s.step = func(string, string) {
		if at--; at < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	var b bytes.Buffer
	if _, err := Build(example(), &b); err != nil {
		os.Exit(4)
	}
	if _, err := s.Add(Sum(b.Bytes()), int64(b.Len()), &b); err != nil {
		os.Exit(5)
	}
	os.Exit(0)
}

func TestKilledAtAnyStepThereIsAWholeBundleOrNone(t *testing.T) {
	packed := built(t, example())
	d := Sum(packed)
	_, whole := addTo(t, packed)
	n := len(steps(t))
	for at := range n {
		s, dir := store(t)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killIn+"="+dir, killAt+"="+strconv.Itoa(at))
		err := cmd.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("step %d: %v", at, err)
		}
		if s.Has(d) && !slices.Equal(list(t, filepath.Join(dir, string(d))), whole) {
			t.Errorf("killed at step %d: half a bundle", at)
		}
		if s.Has(d) != (at >= n-2) {
			t.Errorf("killed at step %d: there is a bundle: %t", at, s.Has(d))
		}
		if _, err := s.Add(d, int64(len(packed)), bytes.NewReader(packed)); err != nil {
			t.Errorf("killed at step %d: %v", at, err)
		}
		if got := list(t, filepath.Join(dir, string(d))); !slices.Equal(got, whole) {
			t.Errorf("killed at step %d, and then again: %q", at, got)
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
			t.Errorf("killed at step %d: left behind: %v", at, all)
		}
	}
}

func addTo(t *testing.T, packed []byte) (string, []string) {
	t.Helper()
	s, dir := store(t)
	if _, err := s.Add(Sum(packed), int64(len(packed)), bytes.NewReader(packed)); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, string(Sum(packed)))
	return dir, list(t, dir)
}

func BenchmarkBundleOf200Files(b *testing.B) {
	tree := example()
	addFiles(tree, 200)
	for name, f := range tree {
		for range 30 {
			f.Data = append(f.Data, Sum(append(f.Data, name...))...)
		}
	}
	packed := built(b, tree)
	d, size := Sum(packed), int64(len(packed))
	key, err := NewKey()
	if err != nil {
		b.Fatal(err)
	}
	c := channel()
	sealed, err := Seal(&c, key)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("build", func(b *testing.B) {
		for b.Loop() {
			built(b, tree)
		}
		b.ReportMetric(float64(size), "bytes")
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if _, err := Open(sealed, c.Name, []Key{key.Public()}); err != nil || Sum(packed) != d {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Read(packed); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unpack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, _ := store(b)
			if _, err := s.Add(d, size, bytes.NewReader(packed)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
