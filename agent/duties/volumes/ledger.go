package volumes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

// ledgerFile is gone with the next boot, as all that is in it.
const ledgerFile = "/run/ecsnode/volumes.json"

// ledger is what is to be known of the volumes, by name, later in this boot.
type ledger map[string]entry

type entry struct {
	Number   string `json:"number,omitempty"`     // major:minor of the device that is mounted
	Size     uint64 `json:"size_bytes,omitempty"` // of the device when its file system was made to fill it
	Released bool   `json:"released,omitempty"`   // Docker was let start without the volume
}

// readLedger returns an empty ledger if there is none. A damaged one is an
// error beside an empty ledger.
func readLedger(files fsx.FS) (ledger, error) {
	data, err := files.ReadFile(ledgerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return ledger{}, nil
	}
	if err != nil {
		return ledger{}, err
	}
	l := ledger{}
	if err := json.Unmarshal(data, &l); err != nil {
		return ledger{}, fmt.Errorf("cannot use %s: it is damaged: %w", ledgerFile, err)
	}
	if l == nil {
		l = ledger{}
	}
	return l, nil
}

func (l ledger) write(files fsx.FS) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", ledgerFile, err)
	}
	if _, err := files.MkdirAll(path.Dir(ledgerFile), 0o755); err != nil {
		return err
	}
	_, err = files.WriteFile(ledgerFile, append(data, '\n'), fsx.How{Mode: 0o600, Volatile: true})
	return err
}
