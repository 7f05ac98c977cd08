package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/migrate"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/agent/status"
)

// migrateLock keeps two from changing the node at once.
const migrateLock = status.Dir + "/migrate.lock"

// MigrateOptions say what is compared.
type MigrateOptions struct {
	Output     string // path of the draft; "": beside the main configuration file
	NodeConfig string // path of the file that containers source; "": the default
}

// Migrate looks at a node that Ansible set up, and writes the draft of a
// configuration if there is none.
func (n *Node) Migrate(ctx context.Context, o MigrateOptions) (*migrate.Report, error) {
	r, err := n.lookForAnsible(ctx, o)
	if err != nil {
		return nil, err
	}
	return r, r.WriteDraft()
}

// lookForAnsible looks, and renders what the draft would make.
func (n *Node) lookForAnsible(ctx context.Context, o MigrateOptions) (*migrate.Report, error) {
	if o.Output == "" {
		o.Output = n.opts.Config + ".migrated"
	}
	if o.NodeConfig == "" {
		o.NodeConfig = "/etc/container_config/node.config"
	}
	switch {
	case !path.IsAbs(o.Output) || path.Clean(o.Output) != o.Output || !path.IsAbs(o.NodeConfig) || path.Clean(o.NodeConfig) != o.NodeConfig:
		return nil, fmt.Errorf("%s and %s must be plain absolute paths below the root", o.Output, o.NodeConfig)
	case o.Output == n.opts.Config || under(o.Output, path.Join(path.Dir(n.opts.Config), "conf.d")):
		return nil, fmt.Errorf("cannot write the draft to %s: it would be in effect at once", o.Output)
	}
	n.dryPass(ctx, fsx.NewOverlay(n.disk))
	c, ok := n.config.Get()
	if !ok {
		return nil, fmt.Errorf("cannot look at the node: %w", context.Cause(ctx))
	}
	in := migrate.Inputs{
		Disk: n.disk, Facts: render.Inputs{Instance: n.known()}, Config: n.opts.Config, Output: o.Output, NodeConfig: o.NodeConfig,
		ECSConfig: c.ECSConfig.Path, Owner: fsx.Owner{UID: os.Geteuid(), GID: os.Getegid()},
	}
	in.Facts.Cluster, _ = n.cluster.Get()
	registration, _ := n.registration.Get()
	in.Registered = registration.Cluster
	n.lookAtContainers(ctx, &in, registration)
	r, err := migrate.Look(in)
	if err != nil {
		return nil, err
	}
	t, err := n.try(ctx, r, in)
	if err != nil {
		return nil, err
	}
	r.Compare(t)
	return r, nil
}

func (n *Node) lookAtContainers(ctx context.Context, in *migrate.Inputs, registration facts.ContainerInstance) {
	if !n.hasDocker() {
		in.NoDocker = "--root is " + n.disk.Root()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	all, err := n.hosts.docker.Containers(ctx)
	if err != nil {
		in.NoDocker = err.Error()
		return
	}
	in.Containers = all
	if registration.Registered() {
		in.Tasks, err = n.hosts.ecs.Tasks(ctx, registration)
		in.TasksKnown = err == nil
	}
}

// tried are the duties that tell what the node is and write what it is told.
var tried = []string{configName, "instance", "parameters", "registration", "ecsconfig", "nodeconfig"}

// dryPass makes a pass of these on an overlay, and returns how they stand.
func (n *Node) dryPass(ctx context.Context, files *fsx.Overlay) []duty.Record {
	out, _ := n.dry()
	s := n.newShift(applying, files, out, "", "migrate")
	s.engine.Hold = nil
	_ = s.engine.Pass(ctx, slices.DeleteFunc(s.table, func(e duty.Entry) bool { return !slices.Contains(tried, e.Duty.Name()) })) // the records say it
	return s.board.Records()
}

// try renders on an overlay what the node would get with the draft.
func (n *Node) try(ctx context.Context, r *migrate.Report, in migrate.Inputs) (t migrate.Trial, err error) {
	files := fsx.NewOverlay(n.disk)
	if err := r.Install(files); err != nil {
		return t, err
	}
	loaded := config.Load(files, n.opts.Config)
	for _, p := range loaded.Problems {
		t.Problems = append(t.Problems, p.Error())
	}
	t.Bundle = loaded.Bundle.Short()
	if len(t.Problems) > 0 {
		return t, nil
	}
	other, err := New(n.opts) // which knows nothing of the configuration before
	if err != nil {
		return t, err
	}
	for _, record := range other.dryPass(ctx, files) {
		if slices.Contains(tried, record.Name) && record.State != duty.OK && record.Name != "registration" {
			t.Undone = strings.TrimSpace(t.Undone + " " + record.Name + " " + string(record.State) + ": " + record.Err)
		}
	}
	if t.NodeConfig, err = files.ReadFile(in.NodeConfig); err != nil && t.Undone == "" {
		t.Undone = err.Error()
	}
	if info, err := files.Stat(in.NodeConfig); err == nil {
		t.NotForAll = secretive(info.Mode())
	}
	t.ECSConfig, _ = files.ReadFile(in.ECSConfig)
	return t, nil
}

// CutOver is what became of one.
type CutOver struct {
	Report  *migrate.Report
	Changed []string // names
	Runs    bool     // a daemon takes the configuration by itself
}

// ErrDiffers is why a cut-over is refused that --accept-difference allows.
var ErrDiffers = errors.New("containers would notice the difference")

// CutOver puts ecsnode in the place of what runs ansible. It refuses where
// anything is in doubt, and then changes nothing.
func (n *Node) CutOver(ctx context.Context, o MigrateOptions, acceptDifference bool) (c CutOver, err error) {
	unlock, err := n.lockMigration("ecsnode migrate --cut-over")
	if err != nil {
		return c, err
	}
	defer unlock()
	if c.Runs, err = n.daemonRuns(); err != nil {
		return c, err
	}
	standing, err := migrate.Standing(n.disk)
	if err != nil {
		return c, err
	}
	if standing != nil && !standing.Done() {
		if c.Changed, err = migrate.Resume(ctx, n.disk, n.migrationUnits()); err != nil {
			return c, err
		}
	}
	if c.Report, err = n.lookForAnsible(ctx, o); err != nil {
		return c, err
	}
	if len(c.Report.Refusals) > 0 {
		return c, fmt.Errorf("cannot cut over: %s", strings.Join(c.Report.Refusals, "; "))
	}
	if c.Report.Node.Differs() && !acceptDifference && standing == nil {
		return c, fmt.Errorf("cannot cut over: %w", ErrDiffers)
	}
	names, err := c.Report.CutOver(ctx, n.migrationUnits())
	c.Changed = append(c.Changed, names...)
	return c, err
}

// UndoCutOver gives back what a cut-over changed. ecsnode must not run: it would
// write its files again.
func (n *Node) UndoCutOver(ctx context.Context, force bool) (migrate.Undone, error) {
	unlock, err := n.lockMigration("ecsnode migrate --undo")
	if err != nil {
		return migrate.Undone{}, err
	}
	defer unlock()
	running, err := n.daemonRuns()
	if err != nil {
		return migrate.Undone{}, err
	}
	if running {
		return migrate.Undone{}, ErrDaemonRuns
	}
	unlockPasses, err := n.disk.TryLock(passLock, "ecsnode migrate --undo")
	if err != nil {
		return migrate.Undone{}, err
	}
	defer unlockPasses()
	return migrate.Undo(ctx, n.disk, n.migrationUnits(), force)
}

// ErrDaemonRuns is why an undo is refused.
var ErrDaemonRuns = errors.New("cannot undo the cut-over: ecsnode runs and would write its files again")

func (n *Node) lockMigration(purpose string) (unlock func(), err error) {
	if _, err := n.disk.MkdirAll(status.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := n.makeStateDir(); err != nil {
		return nil, err
	}
	return n.disk.TryLock(migrateLock, purpose)
}

// migrationUnits is nil where there is no service manager.
func (n *Node) migrationUnits() migrate.Units {
	if n.scratch() {
		return nil
	}
	return n.hosts.manager
}

// ErrChanged is why an undo is refused: others have changed what it would give
// back.
var ErrChanged = migrate.ErrChanged
