package inotify_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/host/inotify"
)

const quiet = 150 * time.Millisecond

// await waits until the watch sees what do does; do is repeated,
// because nothing tells when the kernel has begun to watch.
func await(t *testing.T, changed <-chan struct{}, do func()) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		do()
		select {
		case <-changed:
			return
		case <-deadline:
			t.Fatal("no change was seen")
		case <-time.After(2 * quiet): // longer than a change is held back
		}
	}
}

func TestWatchSeesWhatHappensAndEnds(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	changed := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		done <- inotify.Watch(ctx, quiet, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		}, dir, filepath.Join(dir, "absent"))
	}()
	name := filepath.Join(dir, "hold.json")
	await(t, changed, func() {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestADirectoryThatAppearsIsWatched(t *testing.T) {
	dir := t.TempDir()
	confd := filepath.Join(dir, "conf.d")
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		done <- inotify.Watch(ctx, quiet, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		}, dir, confd)
	}()
	await(t, changed, func() { _ = os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) })
	if err := os.Mkdir(confd, 0o700); err != nil {
		t.Fatal(err)
	}
	<-changed // conf.d itself; from now on it is watched
	await(t, changed, func() { _ = os.WriteFile(filepath.Join(confd, "10.yaml"), nil, 0o600) })
	cancel()
	<-done
}

func TestWatchFails(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	if err := inotify.Watch(t.Context(), quiet, func() {}, gone); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		done <- inotify.Watch(t.Context(), quiet, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		}, gone)
	}()
	await(t, changed, func() { _ = os.WriteFile(filepath.Join(gone, "f"), nil, 0o600) })
	if err := os.Rename(gone, gone+".old"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that was moved away: %v", err)
	}
}

// An editor or a slow copy must not be seen half-way.
func TestSeveralStepsAreOneChange(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan struct{}, 100), make(chan error, 1)
	go func() { done <- inotify.Watch(ctx, quiet, func() { changed <- struct{}{} }, dir) }()
	name := filepath.Join(dir, "f")
	await(t, changed, func() { _ = os.WriteFile(name, nil, 0o600) })
	for range 20 {
		_ = os.WriteFile(name, []byte("x"), 0o600)
	}
	<-changed
	select {
	case <-changed:
		t.Error("one change was told twice")
	case <-time.After(time.Second):
	}
	cancel()
	<-done
}
