package registration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

const file = "/var/lib/ecsnode/registration.json"

// agentStates are the files in which the agent keeps what it is registered as:
// without one of them it registers anew. The second is of old agents.
// aws/amazon-ecs-agent:agent/data/client.go, agent/statemanager/state_manager.go
func agentStates() []string {
	return []string{"/var/lib/ecs/data/agent.db", "/var/lib/ecs/data/ecs_agent_data.json"}
}

// agentState reports whether the agent has state, or may have some.
func agentState(files fsx.FS) bool {
	for _, name := range agentStates() {
		if _, err := files.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// record is a registration and whose it is.
type record struct {
	InstanceID              string `json:"instance_id"`
	facts.ContainerInstance `json:"container_instance"`
}

func load(files fsx.FS) (record, error) {
	data, err := files.ReadFile(file)
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("cannot use %s: it is damaged: %w", file, err)
	}
	if r.InstanceID == "" || r.ARN == "" || r.Cluster == "" {
		return record{}, fmt.Errorf("cannot use %s: it is damaged: something is missing", file)
	}
	return r, nil
}

func save(files fsx.FS, r record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		_, err = files.MkdirAll(path.Dir(file), 0o700)
	}
	if err == nil {
		_, err = files.WriteFile(file, append(data, '\n'), fsx.How{Mode: 0o600})
	}
	if err != nil {
		return fmt.Errorf("cannot save the registration: %w", err)
	}
	return nil
}
