package agentdata

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Bucket and keys; the values are JSON strings.
// aws/amazon-ecs-agent:agent/data/client.go and agent/data/metadata_client.go
const (
	bucket     = "metadata"
	clusterKey = "cluster-name"
	arnKey     = "container-instance-arn"
	idKey      = "ec2-instance-id"
	versionKey = "agent-version"
)

// once makes the lock a single try: its holder keeps it for as long as it runs.
const once = time.Millisecond

// readDB reads the agent's database. Its format is trusted by bbolt: a damaged
// file makes it panic, or read beyond the end of the file, which is a fault of
// memory and here a panic too.
func readDB(name string) (state facts.AgentState, err error) {
	f, info, err := open(name, maxDB)
	if err != nil {
		return state, err
	}
	defer f.Close() // also after a panic, so that the lock never outlives us
	if info.Size() == 0 {
		return state, nil // the agent begins a new one
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			state, err = facts.AgentState{}, fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	db, err := bbolt.Open(name, 0, &bbolt.Options{
		ReadOnly: true, Timeout: once, NoStatistics: true,
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return state, fmt.Errorf("%w: the ECS agent has it locked", facts.ErrUnavailable)
	case err != nil:
		return state, fmt.Errorf("%w: %w", errDamaged, err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			return nil // an agent that was stopped before it had begun
		}
		return errors.Join(
			value(b, clusterKey, &state.Cluster), value(b, arnKey, &state.ARN),
			value(b, idKey, &state.InstanceID), value(b, versionKey, &state.AgentVersion),
		)
	})
	if err != nil {
		return facts.AgentState{}, err
	}
	return state, nil
}

func value(b *bbolt.Bucket, key string, into *string) error {
	text := b.Get([]byte(key))
	if text == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%w: %s: %w", errDamaged, key, err)
	}
	return nil
}
