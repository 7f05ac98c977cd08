// Package node wires the agent: it builds the hosts, the cells and the duties
// of one node, and runs them. It is the only package that knows everything.
package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/duties/drain"
	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/host/inotify"
	"github.com/ecsnode/ecsnode/agent/host/systemd"
	"github.com/ecsnode/ecsnode/agent/status"
)

// StateDir is what the agent keeps over a reboot.
const StateDir = "/var/lib/ecsnode"

// Locks. The daemon holds the first for its life; whoever makes passes that
// change the node holds the second.
const (
	daemonLock = status.Dir + "/daemon.lock"
	passLock   = status.Dir + "/pass.lock"
)

// Options say which node this is and how the outside is reached.
type Options struct {
	Root    string // directory that is the node's root; "" is "/"
	Config  string // main configuration file, as the node sees it; "" is config.Path
	Version string
	Log     *slog.Logger
	// Getenv is os.Getenv but for tests. Of the environment only the standard
	// names of the AWS SDKs for endpoints and CA bundles are read.
	Getenv func(string) string
	// Dial reaches the network; nil is a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Docker connects to the Docker Engine of a node in a directory; nil: it has
	// none. A node at / has that of the host.
	Docker func(ctx context.Context, network, addr string) (net.Conn, error)
	// Jobs runs the commands of a node in a directory at set times; nil: it runs
	// none. A node at / has the service manager.
	Jobs schedules.Jobs
	// Watch tells when files in directories of this host change; nil is
	// inotify.Watch.
	Watch func(ctx context.Context, quiet time.Duration, changed func(), dirs ...string) error
}

// Node is one node.
type Node struct {
	opts   Options
	disk   *fsx.Disk
	id     string // stable for this node, before anything is known about it
	bootID string
	start  time.Time

	config       *cell.Cell[*effective]
	instance     *cell.Cell[facts.Instance]
	registration *cell.Cell[facts.ContainerInstance]
	cluster      *cell.Cell[string]
	holds        *cell.Cell[holds]
	passAsked    *cell.Cell[string] // id of the latest request for a pass
	established  *cell.Cell[time.Time]
	packages     *cell.Cell[facts.Packages]
	rpmInputs    *cell.Cell[facts.Inputs]
	daemonJSON   *cell.Cell[facts.Inputs]
	fileInputs   *cell.Cell[facts.Inputs]
	volumes      *cell.Cell[facts.Volumes]
	notices      map[string]*cell.Cell[[]facts.Notice] // by source
	interruption *cell.Cell[facts.Interruption]
	plan         *cell.Cell[*drain.Plan]
	drained      *cell.Cell[string]
	nodeTasks    *cell.Cell[[]facts.NodeTask]
	schedules    *cell.Cell[[]facts.Schedule]
	parameters   *cell.Cell[facts.Parameters]
	asked        map[string]*cell.Cell[facts.References] // by duty
	pin          *cell.Cell[facts.BundlePin]
	pullAsked    *cell.Cell[string] // id of the latest request for a look at the channel
	bundle       *cell.Cell[facts.Bundle]
	turned       *cell.Cell[int] // how often another bundle came into effect
	reloading    sync.Mutex

	hosts  hosts
	notify notifier
}

// notifier is what the service manager is told; systemd.Notifier but for tests.
type notifier interface {
	Ready(status string) error
	Status(status string) error
	Alive() error
	Stopping() error
}

// New opens the node's root. It reads what identifies the machine, and nothing
// else.
func New(opts Options) (*Node, error) {
	opts.Root = cmp.Or(opts.Root, "/")
	opts.Config = cmp.Or(opts.Config, config.Path)
	if !path.IsAbs(opts.Config) {
		return nil, fmt.Errorf("the configuration file must be an absolute path below the root, not %q", opts.Config)
	}
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	if opts.Watch == nil {
		opts.Watch = inotify.Watch
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	disk, err := fsx.Open(opts.Root)
	if err != nil {
		return nil, err
	}
	n := &Node{
		opts: opts, disk: disk, start: time.Now(), notify: systemd.Notifier{},

		config:       cell.New((*effective).equal),
		instance:     cell.New(facts.Instance.Equal),
		registration: cell.Comparable[facts.ContainerInstance](),
		cluster:      cell.Comparable[string](),
		holds:        cell.New(holds.equal),
		passAsked:    cell.Comparable[string](),
		established:  cell.New(time.Time.Equal),
		packages:     cell.New(facts.Packages.Equal),
		rpmInputs:    cell.New(facts.Inputs.Equal),
		daemonJSON:   cell.New(facts.Inputs.Equal),
		fileInputs:   cell.New(facts.Inputs.Equal),
		volumes:      cell.Comparable[facts.Volumes](),
		notices:      newNotices(),
		interruption: cell.New(facts.Interruption.Equal),
		plan:         cell.Comparable[*drain.Plan](),
		drained:      cell.Comparable[string](),
		nodeTasks:    cell.New(slices.Equal[[]facts.NodeTask]),
		schedules:    cell.New(sameSchedules),
		parameters:   cell.New(facts.Parameters.Equal),
		asked:        newAsked(),
		pin:          cell.New(facts.BundlePin.Equal),
		pullAsked:    cell.Comparable[string](),
		bundle:       cell.New(facts.Bundle.Equal),
		turned:       cell.Comparable[int](),
	}
	n.id, n.bootID = n.machine()
	if n.hosts, err = newHosts(opts, nil); err != nil {
		return nil, err
	}
	return n, nil
}

// scratch reports whether a directory plays the node: what is outside of it,
// such as the ECS agent and Docker of the host, is then not the node's.
func (n *Node) scratch() bool { return n.disk.Root() != "/" }

// hasDocker reports whether the node has containers.
func (n *Node) hasDocker() bool { return !n.scratch() || n.opts.Docker != nil }

const instancePrefix = "i-"

// machine returns an id that is stable for this node and differs between
// nodes, and the id of this boot. Neither needs the network. Under a scratch
// root both may be absent: the id is then the root's path.
func (n *Node) machine() (id, bootID string) {
	bootID, _ = fsx.ReadTrimmed(n.disk, "/proc/sys/kernel/random/boot_id")
	// On other firmware than Nitro's the asset tag is some constant text.
	if tag, err := fsx.ReadTrimmed(n.disk, "/sys/class/dmi/id/board_asset_tag"); err == nil && strings.HasPrefix(tag, instancePrefix) {
		return tag, bootID
	}
	if id, err := fsx.ReadTrimmed(n.disk, "/etc/machine-id"); err == nil && len(id) == 32 {
		return id, bootID
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + n.disk.Root(), bootID
}

// Off says what this node does without, and why.
func (n *Node) Off() []string {
	if !n.scratch() {
		return nil
	}
	off := "Docker, D-Bus, dnf, iptables and hooks are off: --root is " + n.disk.Root()
	if c, ok := n.config.Get(); ok && c.ECSAgent.Introspection == "" {
		off += ", and ecs_agent.introspection is not set, so the ECS agent is not asked either"
	}
	return []string{off}
}

// head returns the status document without its duties.
func (n *Node) head(writer string) status.Document {
	d := status.Document{
		Writer: writer, StartedAt: n.start, PID: os.Getpid(), Agent: n.opts.Version, BootID: n.bootID, Off: n.Off(),
	}
	d.Node.Instance, _ = n.instance.Get()
	d.Node.Cluster, _ = n.cluster.Get()
	d.Node.ContainerInstance, _ = n.registration.Get()
	d.Node.IdentityAt, _ = n.established.Get()
	d.Hold = n.hold()
	d.Drain = n.drainStatus()
	d.Bundle = n.bundleStatus()
	d.NodeTasks, _ = n.nodeTasks.Get()
	d.Schedules, _ = n.schedules.Get()
	return d
}

// statusLine is the status in one line, for the service manager.
func statusLine(d status.Document) string {
	var bad, waiting []string
	for _, r := range d.Duties {
		switch r.State {
		case duty.Failing, duty.Stuck:
			bad = append(bad, r.Name)
		case duty.Waiting:
			waiting = append(waiting, r.Name)
		}
	}
	line := cmp.Or(d.Node.Instance.ID, "instance not known yet")
	if d.Node.Cluster != "" {
		line += " in cluster " + d.Node.Cluster
	}
	if d.Drain != nil {
		line += ": " + d.Drain.State + " for " + strings.Join(d.Drain.For, ", ")
	}
	switch {
	case len(bad) > 0:
		return fmt.Sprintf("%s: failing: %s", line, strings.Join(bad, ", "))
	case d.Hold != nil:
		return line + ": held by " + d.Hold.By
	case len(waiting) > 0:
		return fmt.Sprintf("%s: waiting: %s", line, strings.Join(waiting, ", "))
	}
	return line + ": all well"
}
