package fsx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// lockPoll is how often a waiting Lock tries again. flock(2) can wait by
// itself, but not until a context is done.
const lockPoll = 100 * time.Millisecond

// TryLock takes the exclusive lock that is the file name, or fails at once
// with an error that is [ErrLocked] and says who holds it. The directory must
// exist; the file is made if it is missing and stays when the lock is given
// up. purpose says what the holder does ("ecsnode apply"), for those it keeps
// out. The lock ends with unlock, which may be called again, or with the
// process. Two of one process exclude each other too.
func (d *Disk) TryLock(name, purpose string) (unlock func(), err error) {
	name, err = cleanTarget(name)
	if err == nil {
		unlock, err = d.lock(name, purpose)
	}
	return unlock, fail(d.root, "lock", name, err)
}

// Lock is TryLock that waits for the holder to give up until ctx is done; then
// the error is [ErrLocked] and the context's as well.
func (d *Disk) Lock(ctx context.Context, name, purpose string) (unlock func(), err error) {
	for {
		unlock, err := d.TryLock(name, purpose)
		if !errors.Is(err, ErrLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-time.After(lockPoll):
		}
	}
}

func (d *Disk) lock(name, purpose string) (unlock func(), err error) {
	dir, base, err := d.openParent(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if _, err := lookAt(dir, base, os.FileMode.IsRegular); err != nil {
		return nil, err
	}
	// 0600: whoever can open the file could hold the lock.
	f, err := dir.OpenFile(base, os.O_RDWR|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryFlock(f); err != nil {
		defer f.Close()
		if errors.Is(err, ErrLocked) {
			return nil, &cause{text: "held by " + holder(f), is: ErrLocked}
		}
		return nil, err
	}
	// The record only serves those who are kept out; without it (disk full)
	// the lock is as good.
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+" "+purpose+"\n"), 0)
	return func() { // called again, it finds f closed and does nothing
		_ = f.Truncate(0)
		// Closing alone would leave the lock with a child process that was
		// forked just now, until that calls exec.
		_ = flock(f, syscall.LOCK_UN)
		_ = f.Close()
	}, nil
}

// holder reads who holds the lock from its file.
func holder(f *os.File) string {
	data, err := io.ReadAll(io.LimitReader(f, 256))
	pid, purpose, ok := strings.Cut(strings.TrimSuffix(string(data), "\n"), " ")
	if _, notPID := strconv.Atoi(pid); err != nil || !ok || notPID != nil {
		return "another process"
	}
	purpose = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, purpose)
	return purpose + " (pid " + pid + ")"
}

// tryFlock takes an exclusive lock on f without waiting.
func tryFlock(f *os.File) error {
	err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

func flock(f *os.File, how int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var lockErr error
	err = conn.Control(func(fd uintptr) {
		for {
			lockErr = syscall.Flock(int(fd), how)
			if !errors.Is(lockErr, syscall.EINTR) {
				return
			}
		}
	})
	return errors.Join(err, lockErr)
}
