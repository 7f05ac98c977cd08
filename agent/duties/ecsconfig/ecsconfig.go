// Package ecsconfig is the duty that owns a marked block in ecs.config and
// establishes which cluster the node joins.
//
// ecs.config has two readers that disagree: systemd, as an EnvironmentFile of
// ecs.service, and ecs-init, line by line, for the agent's container. The block
// is written in what both take alike, after which the whole file is read as
// each of them would; it is only written if every setting of the block comes
// out of both, and nothing else changes for either. What is outside of the
// block belongs to others and is kept byte for byte.
package ecsconfig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
)

// AttributePutter sets custom attributes of a container instance, those given
// and no others. Errors are of the kinds of package facts.
type AttributePutter interface {
	PutAttributes(ctx context.Context, ci facts.ContainerInstance, attributes map[string]string) error
}

// Name is the duty's name.
const Name = "ecsconfig"

// Duty keeps the block.
type Duty struct {
	FS       fsx.FS
	Config   cell.Reader[Config]
	Instance cell.Reader[facts.Instance]
	// Registration must say whether the node is registered before the first
	// write: the zero value is a node that is not.
	Registration cell.Reader[facts.ContainerInstance]
	ECS          AttributePutter // nil: off
	// Cluster gets the name of the cluster once ecs.config says it, and that of
	// a registered node even where ecs.config cannot be written.
	Cluster *cell.Cell[string]
	Supply  render.Supply

	refused refusal
}

// Name implements [duty.Duty].
func (*Duty) Name() string { return Name }

// Reconcile implements [duty.Duty].
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	cfg, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration")
	}
	instance, ok := d.Instance.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the identity of the instance")
	}
	ci, ok := d.Registration.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the registration of the node, or that it has none")
	}
	n := node{path: cfg.Path, in: d.Supply.Inputs(instance, "")}
	if ci.Registered() {
		n.registered = registeredCluster(ci)
	}
	if n.registered != "" {
		d.Cluster.Set(n.registeredName()) // whatever becomes of the file
	}
	return d.reconcile(ctx, cfg, ci, n)
}

func (d *Duty) reconcile(ctx context.Context, cfg Config, ci facts.ContainerInstance, n node) (out duty.Outcome, _ error) {
	file, err := d.FS.ReadFile(cfg.Path)
	exists := !errors.Is(err, fs.ErrNotExist)
	if err != nil && exists {
		return out, err
	}
	p := decide(cfg, n, file)
	d.Supply.Tell(n.in)
	var h history
	if ci.Registered() {
		// First, because the block is the only trace of what the node
		// registered with.
		var warning string
		if h, warning, err = d.readHistory(); err == nil {
			out.Changed, err = d.remember(ci, &h, file)
		}
		if err != nil {
			return out, errors.Join(append(p.errs, p.fileErr, err)...)
		}
		if warning != "" {
			p.warn("%s", warning)
		}
	}
	written := false
	if p.fileErr != nil {
		p.fail(p.fileErr)
	} else if written, err = d.write(cfg.Path, p, file, exists); err != nil {
		p.fail(err)
	} else if p.cluster != "" {
		d.Cluster.Set(p.cluster)
	}
	put := 0
	if ci.Registered() {
		put = d.attributes(ctx, cfg, ci, h, &p)
	}
	out.Changed = out.Changed || written || put > 0
	out.Summary = p.summary(written && ci.Registered(), put)
	out.Warnings = p.warnings
	return out, errors.Join(p.errs...)
}

// write keeps the mode and owner of an existing file, which may hold what only
// root may read. With a secret of ours in it, root alone may.
func (d *Duty) write(name string, p decision, have []byte, exists bool) (changed bool, err error) {
	if bytes.Equal(p.file, have) {
		if !p.secret || !exists {
			return false, nil
		}
	}
	how := fsx.How{}
	switch {
	case p.secret:
		how.Mode, how.Owner = 0o600, d.root()
	case !exists:
		how.Mode = 0o644
	}
	if !exists {
		if changed, err = d.FS.MkdirAll(path.Dir(name), 0o755); err != nil {
			return changed, err
		}
	}
	written, err := d.FS.WriteFile(name, p.file, how)
	return changed || written, err
}

// root is who the root directory belongs to.
func (d *Duty) root() *fsx.Owner {
	info, err := d.FS.Stat("/")
	if err != nil {
		return nil
	}
	owner, known := fsx.OwnerOf(info)
	if !known {
		return nil
	}
	return &owner
}

func (p *decision) summary(takesRestart bool, put int) string {
	s := "cluster " + p.cluster
	if p.foreign {
		s += " (set outside the block)"
	}
	if p.settings == 1 {
		s += ", 1 setting"
	} else {
		s += fmt.Sprintf(", %d settings", p.settings)
	}
	if put > 0 {
		s += fmt.Sprintf(", attributes put: %d", put)
	}
	if takesRestart {
		s += "; takes effect when ecs.service next starts"
	}
	return s
}
