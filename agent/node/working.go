package node

import (
	"fmt"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/drain"
	"github.com/ecsnode/ecsnode/agent/duties/nodetasks"
	"github.com/ecsnode/ecsnode/agent/duties/readiness"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/when"
)

// working is what a node in service runs and tells. Before the ECS agent starts,
// no task can: then only what an earlier boot told is taken back.
func (n *Node) working(p phase, files fsx.FS, out outside) (table []duty.Entry) {
	if !n.hasDocker() {
		return nil
	}
	sec, min := time.Second, time.Minute
	drains := n.drains(p, files)
	if p != booting {
		table = append(table, duty.Entry{
			Duty: &nodetasks.Duty{
				FS: files, ID: n.id, Config: n.nodeTasksConfig(), Instance: n.instance, Cluster: n.cluster, Registration: n.registration,
				Drains: drains, Whole: n.wholeConfig(), ECS: out.ecs, Agent: &agent{n: n}, Docker: n.hosts.docker, Tasks: n.nodeTasks,
				Supply: n.supply("nodetasks", files),
			},
			When:   when.Every(min),
			On:     []cell.Waker{n.config, n.instance, n.registration, n.cluster, n.parameters, drains},
			Stream: n.hosts.docker.Watch, Timeout: min, Gap: 50 * time.Millisecond, Retry: duty.Retry{Min: sec, Max: min}, Changes: true,
		})
	}
	if p == serving && n.runsSchedules() {
		table = append(table, n.scheduled(files, out, drains))
	}
	return append(table, duty.Entry{
		Duty: &readiness.Duty{
			FS: files, Config: n.readinessConfig(), Effective: n.configText(), Version: n.opts.Version, BootID: n.bootID, Closed: p == booting,
			Registration: n.registration, Identity: n.established, Tasks: n.nodeTasks, Drains: drains, ECS: out.ecs,
		},
		When: when.Every(min), On: []cell.Waker{n.config, n.registration, n.established, n.nodeTasks, drains},
		Timeout: 20 * sec, Gap: 200 * time.Millisecond, Retry: duty.Retry{Max: min}, Changes: true,
	})
}

func (n *Node) nodeTasksConfig() cell.Reader[nodetasks.Config] {
	return cell.View(n.config, func(e *effective) nodetasks.Config { return e.NodeTasks })
}

// wholeConfig is whether no file of the configuration is left out.
func (n *Node) wholeConfig() cell.Reader[bool] {
	return cell.View(n.config, func(e *effective) bool { return len(e.loaded.LeftOut) == 0 })
}

func (n *Node) readinessConfig() cell.Reader[readiness.Config] {
	return cell.View(n.config, func(e *effective) readiness.Config { return e.Readiness })
}

// drains is whether the node is to be empty, or is not in service again yet. A
// single pass reads it from disk, where the daemon keeps it.
func (n *Node) drains(p phase, files fsx.FS) cell.Reader[bool] {
	if p == serving {
		return both{n.interruption, n.plan}
	}
	known := cell.Comparable[bool]()
	open, err := drain.Open(files)
	known.Set(open || err != nil)
	return known
}

// both puts the notices and the drain together.
type both struct {
	interruption cell.Reader[facts.Interruption]
	plan         cell.Reader[*drain.Plan]
}

func (b both) Get() (drains, ok bool) {
	i, told := b.interruption.Get()
	p, looked := b.plan.Get()
	return i.Drain || p.Open(), told && looked
}

func (b both) Wake(ch chan<- struct{}) (stop func()) {
	first, second := b.interruption.Wake(ch), b.plan.Wake(ch)
	return func() { first(); second() }
}

// configText is the configuration that is in effect, without where it comes from.
func (n *Node) configText() cell.Reader[string] {
	return cell.View(n.config, func(e *effective) string {
		var b strings.Builder
		for _, s := range e.loaded.Settings() {
			fmt.Fprintf(&b, "%s=%s\n", s.Path, s.Value)
		}
		return b.String()
	})
}
