package fsx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func childLocks() error {
	d, err := Open(os.Getenv(childRoot))
	if err != nil {
		return err
	}
	if _, err := d.TryLock("/run/lock", "ecsnode apply"); err != nil {
		return err
	}
	fmt.Println("ready")
	untilOrphaned()
	return nil
}

func TestLockHeldByAnotherProcess(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"run/": ""})
	d := openRoot(t, root)
	c := startChild(t, "lock", root)
	held := fmt.Sprintf("cannot lock /run/lock (under ROOT): held by ecsnode apply (pid %d)", c.Process.Pid)

	unlock, err := d.TryLock("/run/lock", "ecsnode run")
	if unlock != nil || !errors.Is(err, ErrLocked) {
		t.Errorf("TryLock = %v; want ErrLocked", err)
	}
	wantError(t, root, err, held)

	ctx, cancel := context.WithTimeout(t.Context(), lockPoll*3/2)
	defer cancel()
	unlock, err = d.Lock(ctx, "/run/lock", "ecsnode run")
	if unlock != nil || !errors.Is(err, ErrLocked) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock = %v; want ErrLocked and the context's error", err)
	}
	wantError(t, root, err, held+": context deadline exceeded")

	// It ends with the process, for whoever waits.
	got := make(chan error, 1)
	go func() {
		unlock, err := d.Lock(t.Context(), "/run/lock", "ecsnode run")
		if err == nil {
			unlock()
		}
		got <- err
	}()
	c.kill()
	select {
	case err := <-got:
		if err != nil {
			t.Errorf("Lock after the holder was killed: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("Lock still waits though the holder was killed")
	}
}

func TestLockWithinOneProcess(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	d := openRoot(t, root)
	unlock, err := d.TryLock("/lock", "first\nholder")
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.TryLock("/lock", "second")
	wantError(t, root, err, fmt.Sprintf("cannot lock /lock (under ROOT): held by first?holder (pid %d)", os.Getpid()))

	if err := os.Truncate(filepath.Join(root, "lock"), 0); err != nil {
		t.Fatal(err)
	}
	_, err = d.TryLock("/lock", "second")
	wantError(t, root, err, "cannot lock /lock (under ROOT): held by another process")

	unlock()
	unlock()
	again, err := d.TryLock("/lock", "second")
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	unlock() // must not give up what is no longer its own
	if _, err := d.TryLock("/lock", "third"); !errors.Is(err, ErrLocked) {
		t.Errorf("TryLock = %v; want ErrLocked", err)
	}
	again()
	sameTree(t, map[string]seen{"/lock": {mode: 0o600, owner: self()}}, snapshot(t, root))
}

func TestLockRefuses(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"dir/": "", "link": "->file", "pipe": "FIFO"})
	d := openRoot(t, root)
	tests := []struct {
		name, file, want string
		is               error
	}{
		{"directory in the way", "/dir", "cannot lock /dir (under ROOT): it is a directory, not a regular file: move it away or use another path", ErrNotRegular},
		{"symbolic link in the way", "/link", "cannot lock /link (under ROOT): it is a symbolic link to file: remove the link or use the path it points to", ErrNotRegular},
		{"FIFO in the way", "/pipe", "cannot lock /pipe (under ROOT): it is a named pipe (FIFO), not a regular file: move it away or use another path", ErrNotRegular},
		{"no directory", "/absent/lock", "cannot lock /absent/lock (under ROOT): /absent: directory does not exist", fs.ErrNotExist},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// Waiting would not help, so Lock must not wait either.
			_, err := d.Lock(t.Context(), tt.file, "test")
			if !errors.Is(err, tt.is) {
				t.Errorf("Lock = %v; want errors.Is %v", err, tt.is)
			}
			wantError(t, root, err, tt.want)
		})
	}
}
