package agentstate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

const recordFile = "/var/lib/ecsnode/agentstate.json"

// record is the instance whose first boot is over, as far as this duty goes,
// and the container instance that it was then. An image carries that of the
// instance which it was made of.
type record struct {
	InstanceID string `json:"instance_id"`
	ARN        string `json:"container_instance_arn,omitempty"`
}

// readRecord returns the zero record if there is none.
func readRecord(files fsx.FS) (record, error) {
	data, err := files.ReadFile(recordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("cannot use %s: it is damaged: %w", recordFile, err)
	}
	return r, nil
}

func (r record) write(files fsx.FS) (changed bool, err error) {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return false, fmt.Errorf("cannot write %s: %w", recordFile, err)
	}
	if _, err := files.MkdirAll(path.Dir(recordFile), 0o700); err != nil {
		return false, err
	}
	return files.WriteFile(recordFile, append(data, '\n'), fsx.How{Mode: 0o600})
}
