package node

import (
	"context"
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/files"
	"github.com/ecsnode/ecsnode/agent/duties/packages"
	"github.com/ecsnode/ecsnode/agent/duties/services"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	rpm "github.com/ecsnode/ecsnode/agent/host/packages"
	"github.com/ecsnode/ecsnode/agent/when"
)

// configured is what a team wants on its nodes beside ECS.
func (n *Node) configured(p phase, disk fsx.FS, out outside) []duty.Entry {
	sec, min := time.Second, time.Minute
	list := &files.Duty{
		FS: disk, ID: n.id, Config: n.filesConfig(), Instance: n.instance, Cluster: n.cluster, Whole: n.wholeConfig(),
		Packages: n.packages, Manager: out.manager, Inputs: n.fileInputs, Asked: n.passAsked, Now: p != serving, Dry: out.dry || n.scratch(),
		Supply: n.supply("files", disk),
	}
	items := duty.Entry{
		Duty: list, When: when.Every(min), On: []cell.Waker{n.config, n.instance, n.cluster, n.parameters, n.packages},
		Timeout: 3 * min, Gap: 100 * time.Millisecond, Retry: duty.Retry{Min: 5 * sec, Max: 5 * min}, Changes: true,
	}
	if n.scratch() {
		list.Manager, list.Packages = noUnits{}, nil
		return []duty.Entry{items}
	}
	return []duty.Entry{
		{
			Duty: &packages.Duty{
				FS: disk, Config: n.packagesConfig(), Packages: rpm.DB{}, Jobs: out.manager, Engine: n.hosts.docker,
				States: n.packages, Inputs: n.rpmInputs,
			},
			When: when.Every(5 * min), On: []cell.Waker{n.config}, Timeout: 30 * sec, Retry: duty.Retry{Max: 10 * min}, Changes: true,
		},
		items,
		{
			Duty: &services.Duty{Config: n.servicesConfig(), Manager: out.manager, Packages: n.packages, Asked: n.passAsked},
			When: when.Every(min), On: []cell.Waker{n.config, n.packages}, Timeout: 3 * min, Retry: duty.Retry{Min: 5 * sec, Max: 5 * min}, Changes: true,
		},
	}
}

func (n *Node) servicesConfig() cell.Reader[services.Config] {
	return cell.View(n.config, func(e *effective) services.Config { return e.Services })
}

func (n *Node) filesConfig() cell.Reader[files.Config] {
	return cell.View(n.config, func(e *effective) files.Config {
		c := e.Files
		c.Shared, c.Bundle = e.NodeConfig.Directory, e.loaded.BundleDir()
		return c
	})
}

// noUnits is the service manager of a node in a directory.
type noUnits struct{}

func (noUnits) Unit(_ context.Context, name string) (facts.Unit, error) {
	return facts.Unit{Name: name, Load: "not-found"}, nil
}
func (noUnits) ReloadUnits(context.Context) error            { return nil }
func (noUnits) Restart(_ context.Context, name string) error { return errNoUnits(name) }
func (noUnits) Reload(_ context.Context, name string) error  { return errNoUnits(name) }

func (noUnits) RunJob(_ context.Context, c facts.Command) error { return errNoUnits(c.Name) }

func (noUnits) Job(context.Context, string) (facts.Job, error) { return facts.Job{}, nil }
func (noUnits) ForgetJob(context.Context, string) error        { return nil }

func errNoUnits(name string) error {
	return fmt.Errorf("cannot reach %s: a directory has no units", name)
}
