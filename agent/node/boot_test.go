package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/status"
)

// oneUnit is a service manager that knows one unit.
type oneUnit struct {
	manager
	unit facts.Unit
	err  error
}

func (m *oneUnit) Unit(_ context.Context, name string) (facts.Unit, error) {
	if name != bootUnit {
		return facts.Unit{Name: name, Load: "not-found", Active: "inactive"}, nil
	}
	return m.unit, m.err
}

func TestTheDaemonChangesNothingBeforeBootHasEnded(t *testing.T) {
	down := fmt.Errorf("no D-Bus: %w", facts.ErrUnavailable)
	for name, c := range map[string]struct {
		unit   facts.Unit
		err    error
		record string // boot.json
		waited time.Duration
		wait   bool
	}{
		"it waits for user data":                             {unit: facts.Unit{Load: "loaded", Active: "inactive", Queued: true}, wait: true},
		"it is under way":                                    {unit: facts.Unit{Load: "loaded", Active: "activating", Queued: true}, wait: true},
		"it ended well":                                      {unit: facts.Unit{Load: "loaded", Active: "active"}},
		"it left something":                                  {unit: facts.Unit{Load: "loaded", Active: "failed"}},
		"nobody has asked for it":                            {unit: facts.Unit{Load: "loaded", Active: "inactive"}},
		"it is not installed":                                {unit: facts.Unit{Load: "not-found", Active: "inactive"}},
		"nobody can tell":                                    {err: down, wait: true},
		"nobody can tell for longer than a boot takes":       {err: down, waited: 4 * time.Minute},
		"nobody can tell, and it wrote that it has ended":    {err: down, record: `"boot_id":"b1","stopped_at":"2026-01-01T00:00:00Z"`},
		"nobody can tell, and the record is of another boot": {err: down, record: `"boot_id":"b0","stopped_at":"2026-01-01T00:00:00Z"`, wait: true},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				n, err := New(Options{Root: root})
				if err != nil {
					t.Fatal(err)
				}
				n.bootID = "b1"
				if c.record != "" {
					file := filepath.Join(root, status.BootPath)
					if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(file, []byte(`{"version":1,`+c.record+`}`), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				n.hosts.manager = &oneUnit{unit: c.unit, err: c.err}
				if err := n.bootUnderWay(t.Context(), c.waited); (err != nil) != c.wait {
					t.Errorf("waits: %v", err)
				}
			})
		})
	}
}
