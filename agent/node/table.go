package node

import (
	"context"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/duties/agentstate"
	"github.com/ecsnode/ecsnode/agent/duties/cloudinit"
	"github.com/ecsnode/ecsnode/agent/duties/daemonjson"
	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/guard"
	"github.com/ecsnode/ecsnode/agent/duties/instance"
	"github.com/ecsnode/ecsnode/agent/duties/instancehealth"
	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/duties/registration"
	"github.com/ecsnode/ecsnode/agent/duties/units"
	"github.com/ecsnode/ecsnode/agent/duties/volumes"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/host/agentdata"
	"github.com/ecsnode/ecsnode/agent/host/blockdev"
	"github.com/ecsnode/ecsnode/agent/host/docker"
	"github.com/ecsnode/ecsnode/agent/status"
	"github.com/ecsnode/ecsnode/agent/when"
	"github.com/ecsnode/ecsnode/templates"
)

// table is every duty of the node: what, when, on which input, how long. The
// order is that of a first pass: a duty comes after those whose news it needs.
//
// files and out are the real ones or those of a dry run. The board may be nil
// where only the names are wanted.
func (n *Node) table(p phase, files fsx.FS, out outside, board *status.Board) []duty.Entry {
	sec, min := time.Second, time.Minute
	etc := path.Dir(n.opts.Config)
	ecsAgent := &agent{n: n}
	sources := []duty.Entry{
		{
			Duty: configDuty{n, files}, When: when.Every(30 * sec), Timeout: 10 * sec,
			On: []cell.Waker{n.instance, n.turned}, Stream: n.watch(edited, etc, etc+"/conf.d"), Gap: 200 * time.Millisecond, Identity: true, Core: true,
		},
		{
			Duty: requestsDuty{n, files, board.Attend}, When: when.Every(10 * sec), Timeout: 5 * sec,
			On: []cell.Waker{n.config, n.instance}, Stream: n.watch(arrived, requestsDir), Core: true,
		},
		{
			Duty: &instance.Duty{
				FS: files, Config: n.instanceConfig(), Metadata: n.hosts.imds, TagAPI: n.hosts.ec2, Instance: n.instance,
			},
			When: n.every(func(c config.Config) when.Duration { return c.Instance.Interval }), On: []cell.Waker{n.config},
			Timeout: 20 * sec, Gap: sec, Retry: duty.Retry{Max: min}, Core: true,
		},
	}
	// What a bundle sets is there before anything is made of it.
	sources = append(sources, n.bundleDuty(p, files, out, board), n.parametersDuty(files, false))
	if p == serving {
		sources = append(sources, n.leaving(files, out)...)
	}
	identity := []duty.Entry{
		{
			Duty: &registration.Duty{
				FS: files, Agent: ecsAgent, Instance: n.instance, Registration: n.registration,
				Saved: agentdata.New(n.disk.Root()), Off: ecsAgent.off,
			},
			When: n.every(func(c config.Config) when.Duration { return c.ECSAgent.Interval }), On: []cell.Waker{n.config, n.instance},
			Timeout: 5 * sec, Retry: duty.Retry{Max: min},
		},
		{
			Duty: &ecsconfig.Duty{
				FS: files, Config: n.ecsConfig(), Instance: n.instance, Registration: n.registration, ECS: out.ecs, Cluster: n.cluster,
				Supply: n.supply(ecsconfig.Name, files),
			},
			When: when.Every(min), On: []cell.Waker{n.config, n.instance, n.registration, n.parameters},
			Timeout: 20 * sec, Retry: duty.Retry{Max: min}, Identity: true, Changes: true, Core: true,
		},
		{
			Duty: &nodeconfig.Duty{
				FS: files, Config: n.nodeConfig(), Instance: n.instance, Cluster: n.cluster, BuiltIn: templates.NodeConfig(),
				Supply: n.supply("nodeconfig", files),
			},
			When: when.Every(min), On: []cell.Waker{n.config, n.instance, n.cluster, n.parameters},
			Timeout: 20 * sec, Retry: duty.Retry{Max: min}, Identity: true, Changes: true, Core: true,
		},
		{
			Duty: identityDuty{n, files, board}, When: when.Every(min), Timeout: 5 * sec,
			On: []cell.Waker{board, n.instance, n.registration},
		},
	}
	working, configured := n.working(p, files, out), n.configured(p, files, out)
	if n.scratch() {
		return slices.Concat(sources, identity, configured, working)
	}
	return slices.Concat(sources, n.beforeIdentity(files, out), identity, n.beforeDocker(files, out), configured, n.machineTable(p, files, out), working)
}

// beforeIdentity is what must be right about the machine before the node may
// take itself for what metadata and tags say.
func (n *Node) beforeIdentity(files fsx.FS, out outside) []duty.Entry {
	return []duty.Entry{
		{
			Duty: &cloudinit.Duty{FS: files, Metadata: n.hosts.imds}, When: when.Every(time.Minute),
			Timeout: 10 * time.Second, Retry: duty.Retry{Max: time.Minute}, Identity: true,
		},
		{
			Duty: &agentstate.Duty{FS: files, Instance: n.instance, Cluster: n.cluster, Data: agentdata.New(n.disk.Root()), Manager: out.manager},
			When: when.Every(time.Minute), On: []cell.Waker{n.instance, n.cluster},
			Timeout: 10 * time.Second, Retry: duty.Retry{Max: time.Minute}, Identity: true, Changes: true,
		},
	}
}

// beforeDocker is what must be there when Docker starts.
func (n *Node) beforeDocker(files fsx.FS, out outside) []duty.Entry {
	sec, min := time.Second, time.Minute
	devices := blockdev.New(out.manager)
	return []duty.Entry{
		{
			Duty: &volumes.Duty{FS: files, Config: n.volumesConfig(), Devices: devices, Maker: devices, Volumes: n.volumes},
			When: when.Every(min), On: []cell.Waker{n.config}, Timeout: 30 * sec, Retry: duty.Retry{Max: min}, Changes: true,
		},
		{
			Duty: dockerHoldDuty{n, files}, When: when.Every(min), On: []cell.Waker{n.volumes}, Timeout: 5 * sec, Changes: true,
		},
		{
			Duty: &daemonjson.Duty{
				FS: files, Config: n.daemonJSONConfig(), Instance: n.instance, Cluster: n.cluster,
				Manager: out.manager, Validator: docker.Dockerd{}, Inputs: n.daemonJSON, Supply: n.supply("daemonjson", files),
			},
			When: when.Every(min), On: []cell.Waker{n.config, n.instance, n.cluster, n.parameters},
			Timeout: 20 * sec, Retry: duty.Retry{Max: min}, Changes: true,
		},
	}
}

// machineTable is what is done to the machine beside files.
func (n *Node) machineTable(p phase, files fsx.FS, out outside) []duty.Entry {
	sec, min := time.Second, time.Minute
	return []duty.Entry{
		{
			Duty: &units.Duty{
				FS: files, Config: n.unitsConfig(), Manager: out.manager, Engine: n.hosts.docker, Agent: &agent{n: n},
				Wanted: []cell.Reader[facts.Inputs]{n.rpmInputs, n.daemonJSON, n.fileInputs}, Identity: n.established,
				Held: n.dockerHeld, Boot: p == booting, BootID: n.bootID,
			},
			When: when.Every(min), On: []cell.Waker{n.config, n.established, n.rpmInputs, n.daemonJSON, n.fileInputs, n.volumes},
			Stream: func(ctx context.Context, wake func()) error {
				return n.hosts.units.Watch(ctx, wake, units.Docker, units.Containerd, units.ECS)
			},
			Timeout: 3 * min, Gap: sec, Retry: duty.Retry{Max: min}, Changes: true,
		},
		{
			Duty: &guard.Duty{Config: n.guardConfig(), Filter: out.filter, Engine: n.hosts.docker, AwsvpcBlocked: n.awsvpcBlocked(), Metadata: n.hosts.imds},
			When: when.Every(min), On: []cell.Waker{n.config}, Stream: n.hosts.docker.Watch,
			Timeout: 30 * sec, Gap: sec, Retry: duty.Retry{Max: min}, Changes: true,
		},
		{
			Duty: &instancehealth.Duty{
				FS: files, After: n.unhealthyAfter(), Instance: n.instance, Identity: n.established, AutoScaling: out.autoscaling,
			},
			When: when.Every(min), On: []cell.Waker{n.config, n.established}, Timeout: 20 * sec, Retry: duty.Retry{Max: min},
			// Somebody who holds a node looks into it, and needs it.
			Changes: true,
		},
	}
}

// phase is where in the life of the node passes are made.
type phase int

const (
	serving  phase = iota // the daemon
	applying              // one pass by hand, or a dry one
	booting               // before the ECS agent starts
)

// How long nothing happens in a directory after a change of it that is whole.
const (
	edited  = 150 * time.Millisecond // by editors and slow copies
	arrived = 5 * time.Millisecond   // requests, which are renamed into place; somebody waits
)

// watch wakes a duty when files in these directories have changed, once nothing has
// happened there for quiet.
func (n *Node) watch(quiet time.Duration, dirs ...string) func(context.Context, func()) error {
	host := make([]string, len(dirs))
	for i, d := range dirs {
		host[i] = filepath.Join(n.disk.Root(), d)
	}
	return func(ctx context.Context, wake func()) error { return n.opts.Watch(ctx, quiet, wake, host...) }
}

// every is a schedule whose interval is a setting: a new one counts from the
// next pass on, and nothing is restarted.
func (n *Node) every(interval func(config.Config) when.Duration) when.Schedule {
	return schedule(func(t time.Time) time.Time {
		return when.Every(time.Duration(interval(n.inEffect()))).Next(t)
	})
}

// inEffect are the settings; before they have been read, their defaults.
func (n *Node) inEffect() config.Config {
	if e, ok := n.config.Get(); ok {
		return e.Config
	}
	return config.Default()
}

type schedule func(time.Time) time.Time

func (s schedule) Next(t time.Time) time.Time { return s(t) }
