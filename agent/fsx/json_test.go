package fsx_test

import (
	"errors"
	"testing"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

func TestWhatIsKeptAsJSON(t *testing.T) {
	t.Parallel()
	disk, err := fsx.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const name = "/var/lib/x/state.json"
	got := map[string]int{"as": 1}
	if err := fsx.ReadJSON(disk, name, &got); err != nil || got["as"] != 1 {
		t.Errorf("one that is not there: %v, %v", got, err)
	}
	kept, err := fsx.WriteJSON(disk, name, map[string]int{"a": 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := fsx.ReadJSON(disk, name, &got); err != nil || got["a"] != 1 {
		t.Errorf("%v, %v", got, err)
	}
	info, err := disk.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}

	// What is kept is not written again, also where somebody removed it.
	if _, err := disk.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := fsx.WriteJSON(disk, name, map[string]int{"a": 1}, kept); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Stat(name); err == nil {
		t.Error("it is written though nothing changed")
	}

	if _, err := disk.WriteFile(name, []byte("{"), fsx.How{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if err := fsx.ReadJSON(disk, name, &got); !errors.Is(err, fsx.ErrDamaged) {
		t.Errorf("%v", err)
	}
}
