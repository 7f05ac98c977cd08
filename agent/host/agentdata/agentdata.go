// Package agentdata reads what the ECS agent has saved for its next start.
package agentdata

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Largest files that are looked at. Each is far beyond what an agent writes.
const (
	maxDB   = 4 << 30
	maxJSON = 64 << 20
)

// Data is the saved state of one node's agent.
type Data struct{ root string }

// New returns the state below a directory, "/" for this machine.
func New(root string) *Data { return &Data{root} }

// State returns what a file, [facts.AgentDB] or [facts.AgentJSON], says. Errors
// are facts.ErrAbsent if it is not there and facts.ErrUnavailable if nothing
// can be said about it now, as while the agent runs and has it locked. Any
// other error means that the file is damaged.
func (d *Data) State(file string) (facts.AgentState, error) {
	read := readJSON
	if file == facts.AgentDB {
		read = readDB
	}
	state, err := read(filepath.Join(d.root, file))
	if err != nil {
		return facts.AgentState{}, fmt.Errorf("cannot read %s: %w", file, err)
	}
	state.File = file
	return state, nil
}

// errDamaged is why a file is of no use to an agent either.
var errDamaged = errors.New("it is damaged")

// open opens a regular file for reading, and nothing else: a FIFO would be
// waited for.
func open(name string, most int64) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, classify(err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = classify(err)
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%w: it is no regular file (%v)", errDamaged, info.Mode())
	case info.Size() > most:
		err = fmt.Errorf("%w: it has %d bytes", errDamaged, info.Size())
	default:
		return f, info, nil
	}
	return nil, nil, errors.Join(err, f.Close())
}

// classify leaves the path out, which the caller names as the node sees it.
func classify(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return facts.ErrAbsent
	}
	return fmt.Errorf("%w: %w", facts.ErrUnavailable, err)
}

// readJSON reads the file of agents before 1.44:
// aws/amazon-ecs-agent:agent/statemanager/state_manager.go and newStateManager
// in agent/app/agent.go
func readJSON(name string) (facts.AgentState, error) {
	f, _, err := open(name, maxJSON)
	if err != nil {
		return facts.AgentState{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err != nil {
		return facts.AgentState{}, classify(err)
	}
	var saved struct {
		Data struct {
			Cluster, ContainerInstanceArn, EC2InstanceID string
		}
	}
	if err := json.Unmarshal(text, &saved); err != nil {
		return facts.AgentState{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return facts.AgentState{
		Cluster: saved.Data.Cluster, ARN: saved.Data.ContainerInstanceArn, InstanceID: saved.Data.EC2InstanceID,
	}, nil
}
