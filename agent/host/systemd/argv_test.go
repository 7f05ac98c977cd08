package systemd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// As the unit of Amazon Linux 2023 has it.
func TestTheCommandOfAUnitHasItsVariablesReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "docker")
	text := "# OPTIONS=\"no\"\nOPTIONS=\"--default-ulimit nofile=32768:65536\"\n\nNAME='a b'\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p := properties{
		"Environment":      []string{"NAME=x", "STORAGE=--storage-driver=overlay2"},
		"EnvironmentFiles": [][]any{{file, true}, {file + ".missing", true}},
		"ExecStart": [][]any{{"/usr/bin/dockerd", []string{
			"/usr/bin/dockerd", "-H", "fd://", "$OPTIONS", "$STORAGE", "$NOTHING", "--label=${NAME}-${STORAGE}", "$",
		}, false}},
	}
	want := []string{
		"/usr/bin/dockerd", "-H", "fd://", "--default-ulimit", "nofile=32768:65536", "--storage-driver=overlay2",
		"--label=a b---storage-driver=overlay2",
	}
	if diff := cmp.Diff(want, p.argv()); diff != "" {
		t.Error(diff)
	}
	if got := (properties{}).argv(); got != nil {
		t.Errorf("a unit without a command has %q", got)
	}
}
