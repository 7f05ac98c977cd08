package fsx_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

func TestWhatWasCapturedIsPlacedWithAllItIs(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	disk, err := fsx.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(root, "file")
	then := time.Date(2018, 7, 1, 12, 0, 0, 123456789, time.UTC)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(name, []byte("was\r\n\x00"), 0o640))
	must(os.Chmod(name, 0o640|fs.ModeSticky))
	hasExtra := unix.Setxattr(name, "user.note", []byte("kept"), 0) == nil
	must(os.Chtimes(name, then, then))
	must(os.Symlink("file", filepath.Join(root, "link")))
	must(unix.Lutimes(filepath.Join(root, "link"), []unix.Timeval{{Sec: 1}, {Sec: 2}}))

	file, err := disk.Capture("/file")
	must(err)
	link, err := disk.Capture("/link")
	must(err)
	if hasExtra && string(file.Extra["user.note"]) != "kept" {
		t.Errorf("extended attributes: %q", file.Extra)
	}

	changed := *file
	changed.Data, changed.ModTime = []byte("is"), time.Now()
	must(disk.Place("/file", changed))
	if now, err := disk.Capture("/file"); err != nil || now.Same(file) || !now.Same(&changed) {
		t.Errorf("after a change: %+v, %v", now, err)
	}
	if _, err := disk.Remove("/link"); err != nil {
		t.Fatal(err)
	}
	must(disk.Place("/file", *file))
	must(disk.Place("/link", *link))
	for name, was := range map[string]*fsx.Exact{"/file": file, "/link": link} {
		now, err := disk.Capture(name)
		if err != nil || !now.Equal(was) {
			t.Errorf("%s is %+v, %v; was %+v", name, now, err, was)
		}
	}
	if entries, _ := os.ReadDir(root); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestCaptureRefusesWhatCannotBeGivenBack(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	disk, err := fsx.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "one"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(root, "one"), filepath.Join(root, "two")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/one", "/"} {
		if e, err := disk.Capture(name); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Capture("/dir"); !errors.Is(err, fsx.ErrNotRegular) {
		t.Errorf("a directory: %v", err)
	}
	if e, err := disk.Capture("/none/at/all"); e != nil || err != nil {
		t.Errorf("nothing: %v, %v", e, err)
	}
	if err := disk.Place("/dir", fsx.Exact{}); !errors.Is(err, fsx.ErrNotRegular) {
		t.Errorf("placed over a directory: %v", err)
	}
}
