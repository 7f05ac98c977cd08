package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	bundles "github.com/ecsnode/ecsnode/agent/duties/bundle"
)

// TestEndsThatAreNotInOrder: a daemon that cannot start under a bundle leaves it,
// however it ends.
func TestEndsThatAreNotInOrder(t *testing.T) {
	for name, tc := range map[string]struct {
		as   string
		ends func(ctx context.Context) error
		left bool
	}{
		"a daemon that panics":                  {"run", func(context.Context) error { panic("a bundle's doing") }, true},
		"a daemon that gives up":                {"run", func(context.Context) error { return errors.New("cannot") }, true},
		"a daemon that is told to":              {"run", func(context.Context) error { return nil }, false},
		"a boot that leaves something undone":   {"boot", func(context.Context) error { return errors.New("files failing") }, false},
		"a boot that panics, once in each boot": {"boot", func(context.Context) error { panic("a bundle's doing") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			root, digest := t.TempDir(), strings.Repeat("a", 64)
			for _, dir := range []string{bundle.Dir, "/run/ecsnode"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			ledger := `{"watch": {"digest": "` + digest + `", "since": "` + time.Now().Format(time.RFC3339) + `", "left_ns": 1, "well": []}}`
			if err := errors.Join(os.WriteFile(filepath.Join(root, bundles.Ledger), []byte(ledger), 0o600),
				os.Symlink(digest, filepath.Join(root, bundle.Active))); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				n, err := New(Options{Root: root})
				if err != nil {
					t.Fatal(err)
				}
				func() {
					defer func() { _ = recover() }()
					_ = n.counted(t.Context(), tc.as, tc.ends)
				}()
			}
			if _, err := os.Lstat(filepath.Join(root, bundle.Active)); os.IsNotExist(err) != tc.left {
				t.Errorf("the bundle is left: %v, want %v", os.IsNotExist(err), tc.left)
			}
		})
	}
}
