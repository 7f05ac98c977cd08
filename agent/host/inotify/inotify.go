// Package inotify tells when files change.
package inotify

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// atMost is how long a directory in which something goes on happening is kept from
// being told of.
const atMost = 2 * time.Second

// Watch calls changed after something was created, written, renamed or removed
// in one of the directories, until ctx is done. dirs are paths on this host.
// A file is often written in several steps, emptied, filled, renamed: a change is
// told once nothing has happened for quiet, or after 2 s.
// One that does not exist is watched from when it appears, if that is in
// another of them. Watch fails if none can be watched, and with
// os.ErrNotExist if a watched one goes away.
func Watch(ctx context.Context, quiet time.Duration, changed func(), dirs ...string) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot watch files: %w", err)
	}
	defer w.Close()
	if err := add(w, dirs); err != nil {
		return err
	}
	if len(w.WatchList()) == 0 {
		return fmt.Errorf("cannot watch %v: %w", dirs, os.ErrNotExist)
	}
	var due <-chan time.Time // nil: nothing has happened that was not told
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-w.Errors:
			return fmt.Errorf("cannot watch files: %w", err)
		case <-due:
			due = nil
			changed()
		case e := <-w.Events:
			if e.Op == fsnotify.Chmod {
				continue
			}
			if e.Op.Has(fsnotify.Remove) || e.Op.Has(fsnotify.Rename) {
				if slices.Contains(dirs, e.Name) {
					return fmt.Errorf("cannot watch %s any more: %w", e.Name, os.ErrNotExist)
				}
			}
			if e.Op.Has(fsnotify.Create) {
				if err := add(w, dirs); err != nil {
					return err
				}
			}
			if due == nil {
				since = time.Now()
			}
			due = time.After(min(quiet, time.Until(since.Add(atMost))))
		}
	}
}

// add watches those of dirs that exist; adding one again changes nothing.
func add(w *fsnotify.Watcher, dirs []string) error {
	for _, dir := range dirs {
		if err := w.Add(dir); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("cannot watch %s: %w", dir, err)
		}
	}
	return nil
}
