package fsx_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

func TestLinksAreMadeReplacedAndRead(t *testing.T) {
	for _, kind := range []string{"disk", "overlay"} {
		t.Run(kind, func(t *testing.T) {
			root := t.TempDir()
			disk, err := fsx.Open(root)
			if err != nil {
				t.Fatal(err)
			}
			var files fsx.FS = disk
			if kind == "overlay" {
				files = fsx.NewOverlay(disk)
			}
			if err := os.WriteFile(filepath.Join(root, "file"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			link := func(target string, want bool) {
				t.Helper()
				if changed, err := files.Symlink("/link", target); err != nil || changed != want {
					t.Errorf("to %s: changed %v, %v", target, changed, err)
				}
				if got, err := files.ReadLink("/link"); err != nil || got != target {
					t.Errorf("it leads to %q, %v", got, err)
				}
			}
			link("file", true)
			link("file", false)
			if data, err := files.ReadFile("/link"); err != nil || string(data) != "x" {
				t.Errorf("%q, %v", data, err)
			}
			link("nowhere", true)
			if _, err := files.Symlink("/file", "x"); !errors.Is(err, fsx.ErrNotRegular) {
				t.Errorf("a file in the way: %v", err)
			}
			if _, err := files.ReadLink("/file"); !errors.Is(err, fsx.ErrNotRegular) {
				t.Errorf("of a file: %v", err)
			}
			if _, err := files.ReadLink("/gone"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("of nothing: %v", err)
			}
			if changed, err := files.Remove("/link"); err != nil || !changed {
				t.Errorf("removed %v, %v", changed, err)
			}
			left, err := os.ReadDir(root)
			if err != nil || len(left) != 1 {
				t.Errorf("left over: %v, %v", left, err)
			}
		})
	}
}
