package systemd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/host/systemd"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/bin/systemd-analyze"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs systemd-analyze (Debian: apt-get install systemd)")
		}
		t.Skip("needs systemd-analyze (Debian: apt-get install systemd)")
	}
	for name, tc := range map[string]struct{ unit, want string }{
		"a unit that is well":           {"[Service]\nType=oneshot\nExecStart=/bin/true\n", ""},
		"a key that there is none of":   {"[Service]\nExecStart=/bin/true\nWatchdog=30\n", "Unknown key"},
		"a program that is not there":   {"[Service]\nExecStart=/usr/bin/ecsnode-is-not-here\n", "not executable"},
		"a service that starts nothing": {"[Service]\nType=simple\n", "ExecStart="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "looked-at.service")
			if err := os.WriteFile(file, []byte(tc.unit), 0o600); err != nil {
				t.Fatal(err)
			}
			err := systemd.Verify(t.Context(), file)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
