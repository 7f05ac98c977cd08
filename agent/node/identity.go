package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
)

// identityFile says that this node knew what it is, since it booted.
const identityFile = status.Dir + "/identity.json"

type identity struct {
	BootID   string    `json:"boot_id,omitempty"`
	Instance string    `json:"instance_id"`
	At       time.Time `json:"established_at"`
}

// readIdentity returns the identity established in this boot of this machine;
// the zero value if there is none.
func (n *Node) readIdentity(files fsx.FS) (identity, error) {
	data, err := files.ReadFile(identityFile)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, nil
	}
	if err != nil {
		return identity{}, err
	}
	var id identity
	if err := json.Unmarshal(data, &id); err != nil {
		return identity{}, nil // established again
	}
	otherBoot := id.BootID != n.bootID || n.bootID == "" && !n.scratch()
	otherMachine := strings.HasPrefix(n.id, instancePrefix) && id.Instance != n.id
	if otherBoot || otherMachine {
		return identity{}, nil
	}
	return id, nil
}

// identityDuty notes when every duty that establishes identity has succeeded
// once since the node booted. It stays so when one fails later: the last good
// files are those of this node. A node that is registered in another cluster
// than is configured has an identity as well: the cluster that it is in.
type identityDuty struct {
	n     *Node
	files fsx.FS
	board *status.Board
}

func (identityDuty) Name() string { return "identity" }

func (d identityDuty) Reconcile(context.Context) (duty.Outcome, error) {
	var open []string
	for _, r := range d.board.Records() {
		if r.Identity && r.LastOK.IsZero() && !d.dispensable(r.Name) {
			open = append(open, fmt.Sprintf("%s (%s)", r.Name, r.State))
		}
	}
	id, err := d.n.readIdentity(d.files)
	if err != nil {
		return duty.Outcome{}, err
	}
	instance := d.n.known().ID
	known := !id.At.IsZero() && (instance == "" || id.Instance == instance)
	if known {
		d.n.established.Set(id.At)
		return duty.Outcome{Summary: "established"}, nil
	}
	if len(open) > 0 {
		return duty.Outcome{}, duty.WaitingFor("%s", strings.Join(open, ", "))
	}
	id = identity{BootID: d.n.bootID, Instance: instance, At: time.Now()}
	data, err := json.Marshal(id)
	if err != nil {
		return duty.Outcome{}, fmt.Errorf("cannot write %s: %w", identityFile, err)
	}
	if _, err := d.files.MkdirAll(status.Dir, 0o755); err != nil {
		return duty.Outcome{}, err
	}
	if _, err := d.files.WriteFile(identityFile, append(data, '\n'), fsx.How{Mode: 0o644, Volatile: true}); err != nil {
		return duty.Outcome{}, err
	}
	d.n.established.Set(id.At)
	return duty.Outcome{Changed: true, Summary: "established"}, nil
}

// dispensable reports whether a node can do without the success of a duty.
func (d identityDuty) dispensable(name string) bool {
	registered, _ := d.n.registration.Get()
	cluster, _ := d.n.cluster.Get()
	switch name {
	case configName:
		// A file that is left out may be the one that names the cluster, and a
		// container instance cannot change its cluster. One that is in a
		// cluster already cannot join the wrong one.
		return registered.Registered()
	case ecsconfig.Name:
		return cluster != "" // known, also where a change of it is refused
	}
	return false
}

// Ready returns nil once the identity of the node is established in this boot,
// and else what is missing.
func (n *Node) Ready() error {
	id, err := n.readIdentity(n.disk)
	if err != nil {
		return err
	}
	if !id.At.IsZero() {
		return nil
	}
	var why []string
	d, err := status.Latest(n.disk)
	if err != nil || d.BootID != n.bootID {
		return errors.New("the identity of this node is not established: no pass has been made since the node booted")
	}
	for _, r := range d.Duties {
		if r.Identity && r.LastOK.IsZero() {
			why = append(why, strings.TrimSuffix(fmt.Sprintf("%s %s: %s", r.Name, r.State, r.Err), ": "))
		}
	}
	if len(why) == 0 {
		why = []string{identityFile + " is not written yet"}
	}
	return fmt.Errorf("the identity of this node is not established: %s", strings.Join(why, "; "))
}
