package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/guard"
	"github.com/ecsnode/ecsnode/agent/duties/instancehealth"
	"github.com/ecsnode/ecsnode/agent/duties/nodetasks"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/iptables"
)

// manager is the service manager of the node; systemd.Client but for dry runs
// and tests.
type manager interface {
	Unit(ctx context.Context, name string) (facts.Unit, error)
	Enqueue(ctx context.Context, name string) error
	Start(ctx context.Context, name string) error
	Restart(ctx context.Context, name string) error
	Reload(ctx context.Context, name string) error
	ReloadUnits(ctx context.Context) error
	Stop(ctx context.Context, name string) error
	Enable(ctx context.Context, name string, on bool) error
	Mask(ctx context.Context, name string, on bool) error
	ResetFailed(ctx context.Context, name string) error
	RunJob(ctx context.Context, c facts.Command) error
	Job(ctx context.Context, name string) (facts.Job, error)
	EndJob(ctx context.Context, name string) error
	ForgetJob(ctx context.Context, name string) error
}

// ecsAPI is what passes use of ECS.
type ecsAPI interface {
	ecsconfig.AttributePutter
	nodetasks.ECS
}

// outside is what passes change beside files.
type outside struct {
	ecs         ecsAPI
	autoscaling instancehealth.AutoScaling
	manager     manager
	filter      guard.Filter
	dry         bool
}

// outside returns the real things.
func (n *Node) outside() outside {
	return outside{n.hosts.ecs, n.hosts.autoscaling, n.hosts.manager, &iptables.Filter{}, false}
}

// recorder stands for the outside in a dry run: what only looks is passed on,
// what changes something is noted.
type recorder struct {
	manager
	ecsReader
	filter guard.Filter
	calls  []string
}

type ecsReader interface{ nodetasks.ECS }

// dry returns an outside that changes nothing, and its record.
func (n *Node) dry() (outside, *recorder) {
	r := &recorder{manager: n.hosts.manager, ecsReader: n.hosts.ecs, filter: &iptables.Filter{}}
	return outside{r, r, r, r, true}, r
}

func (r *recorder) note(format string, args ...any) error {
	r.calls = append(r.calls, fmt.Sprintf(format, args...))
	return nil
}

func (r *recorder) PutAttributes(_ context.Context, ci facts.ContainerInstance, attributes map[string]string) error {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(attributes)) {
		pairs = append(pairs, k+"="+attributes[k])
	}
	return r.note("ecs:PutAttributes %s on %s", strings.Join(pairs, " "), ci.ARN)
}

func (r *recorder) StartTask(_ context.Context, on facts.ContainerInstance, t facts.TaskStart) (facts.Task, error) {
	return facts.Task{ARN: "of a dry run"}, r.note("ecs:StartTask %s on %s", t.Definition, on.ARN)
}

func (r *recorder) StopTask(_ context.Context, _ facts.ContainerInstance, arn, reason string) error {
	return r.note("ecs:StopTask %s: %s", arn, reason)
}

func (r *recorder) ReportUnhealthy(_ context.Context, _, instanceID string) error {
	return r.note("autoscaling:SetInstanceHealth Unhealthy for %s", instanceID)
}

// Rules implements guard.Filter.
func (r *recorder) Rules(v facts.IPVersion) ([]facts.MetadataRule, bool, error) {
	return r.filter.Rules(v)
}

func (r *recorder) Replace(v facts.IPVersion, rules []facts.MetadataRule) error {
	return r.note("iptables: %d rules about instance metadata over IPv%d", len(rules), v)
}

func (r *recorder) Enqueue(_ context.Context, name string) error { return r.note("start %s", name) }
func (r *recorder) Start(_ context.Context, name string) error   { return r.note("start %s", name) }
func (r *recorder) Restart(_ context.Context, name string) error { return r.note("restart %s", name) }

func (r *recorder) Reload(_ context.Context, name string) error { return r.note("reload %s", name) }

func (r *recorder) ReloadUnits(context.Context) error         { return r.note("read unit files again") }
func (r *recorder) Stop(_ context.Context, name string) error { return r.note("stop %s", name) }

func (r *recorder) Enable(_ context.Context, name string, on bool) error {
	return r.note("%s %s", map[bool]string{true: "enable", false: "disable"}[on], name)
}

func (r *recorder) Mask(_ context.Context, name string, on bool) error {
	return r.note("%s %s", map[bool]string{true: "mask", false: "unmask"}[on], name)
}

func (r *recorder) ResetFailed(context.Context, string) error { return nil }
func (r *recorder) ForgetJob(context.Context, string) error   { return nil }

func (r *recorder) EndJob(_ context.Context, name string) error { return r.note("end %s", name) }

func (r *recorder) RunJob(_ context.Context, c facts.Command) error {
	if len(c.Does) == 0 {
		return r.note("run %s", strings.Join(c.Argv, " "))
	}
	r.calls = append(r.calls, c.Does...)
	return nil
}
