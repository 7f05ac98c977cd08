package fsx

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// asNobody calls do with the file permissions of an ordinary user.
func asNobody(do func()) {
	if os.Geteuid() != 0 {
		do()
		return
	}
	const nobody = 65534
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked, so that the thread ends with its rights
		_ = syscall.Setfsgid(nobody)
		_ = syscall.Setfsuid(nobody)
		do()
	}()
	<-done
}

func TestWithoutPermission(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"shut/file": "old", "open/file": "old", "open/secret": "old"})
	d := openRoot(t, root)
	for name, mode := range map[string]fs.FileMode{"shut": 0o555, "open": 0o777, "open/secret": 0} {
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(root, "shut"), 0o755) })
	toRoot := How{Owner: &Owner{0, 0}}
	tests := []struct {
		name string
		do   func() (bool, error)
		is   error
		want string
	}{
		{
			name: "replacing a file in a directory that is not ours",
			do:   func() (bool, error) { return d.WriteFile("/shut/file", []byte("new"), How{}) },
			is:   fs.ErrPermission, want: "cannot write /shut/file (under ROOT): permission denied",
		},
		{
			name: "removing a file from a directory that is not ours",
			do:   func() (bool, error) { return d.Remove("/shut/file") },
			is:   fs.ErrPermission, want: "cannot remove /shut/file (under ROOT): permission denied",
		},
		{
			name: "making a directory in one that is not ours",
			do:   func() (bool, error) { return d.MkdirAll("/shut/a/b", 0o755) },
			is:   fs.ErrPermission, want: "cannot make directory /shut/a/b (under ROOT): /shut/a: permission denied",
		},
		{
			name: "giving a file away",
			do:   func() (bool, error) { return d.WriteFile("/open/file", []byte("new"), toRoot) },
			is:   fs.ErrPermission, want: "cannot write /open/file (under ROOT): owner 0:0 cannot be set: operation not permitted",
		},
		{
			name: "reading a secret",
			do: func() (bool, error) {
				_, err := d.ReadFile("/open/secret")
				return false, err
			},
			is: fs.ErrPermission, want: "cannot read /open/secret (under ROOT): permission denied",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := snapshot(t, root)
			asNobody(func() {
				changed, err := tt.do()
				if changed || !errors.Is(err, tt.is) {
					t.Errorf("changed %v, error %v; want errors.Is %v", changed, err, tt.is)
				}
				wantError(t, root, err, tt.want)
			})
			sameTree(t, before, snapshot(t, root))
		})
	}
}
