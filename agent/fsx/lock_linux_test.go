package fsx

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// A process that is being forked shares every descriptor until it calls exec.
// Here a duplicate stands for its share.
func TestUnlockWhileAChildIsForked(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	d := openRoot(t, root)
	unlock, err := d.TryLock("/lock", "first")
	if err != nil {
		t.Fatal(err)
	}
	shared := -1
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range fds {
		link := filepath.Join("/proc/self/fd", entry.Name())
		if target, err := os.Readlink(link); err != nil || target != filepath.Join(root, "lock") {
			continue
		}
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		if shared, err = syscall.Dup(fd); err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(shared)
	}
	if shared == -1 {
		t.Fatal("the lock file is not open")
	}
	unlock()
	unlock, err = d.TryLock("/lock", "second")
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	unlock()
}
