package ecsconfig

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/render"
)

// Lengths are checked apart: a counted repetition of hundreds costs more to
// compile than all the rest of a pass.
var (
	// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateCluster.html
	clusterPattern = pattern.New(`^[A-Za-z0-9_-]+$`)
	clusterARN     = pattern.New(`^arn:[a-z0-9-]+:ecs:[a-z0-9-]+:[0-9]{12}:cluster/([A-Za-z0-9_-]+)$`)
	instanceARN    = pattern.New(`^arn:[a-z0-9-]+:ecs:[a-z0-9-]+:[0-9]{12}:container-instance/([A-Za-z0-9_-]+)/`)

	errNoCluster = errors.New("a cluster is 1 to 255 letters, digits, hyphens and underscores")
)

// clusterName returns the name of a cluster given as a name or an ARN, which
// the agent takes both; "" for anything else.
func clusterName(s string) string {
	name := s
	if m := clusterARN.FindStringSubmatch(s); m != nil {
		name = m[1]
	}
	if len(name) > maxClusterName || !clusterPattern.MatchString(name) {
		return ""
	}
	return name
}

const maxClusterName = 255

// registeredCluster returns the cluster of a registered node as the agent
// spells it.
func registeredCluster(ci facts.ContainerInstance) string {
	if ci.Cluster != "" {
		return ci.Cluster
	}
	if m := instanceARN.FindStringSubmatch(ci.ARN); m != nil {
		return m[1]
	}
	return ""
}

// ClusterProblem returns what is wrong with the setting cluster, as far as it
// can be told without facts; "" if nothing is.
func ClusterProblem(cluster render.Text) string {
	if cluster.IsZero() {
		return ""
	}
	if value, err := cluster.Render(render.Inputs{}); err == nil {
		if err := checkCluster(value); err != nil {
			return err.Error()
		}
	}
	return ""
}

// checkCluster takes names only. The agent takes an ARN too, but compares it
// letter by letter with how the node registered, and templates that use the
// cluster want its name.
func checkCluster(value string) error {
	switch name := clusterName(value); {
	case value == "":
		return fmt.Errorf("the value is empty: %w", errNoCluster)
	case name == "":
		return fmt.Errorf("%q is no cluster: %w", value, errNoCluster)
	case name != value:
		return fmt.Errorf("%q is an ARN: write the name of the cluster, %q", value, name)
	}
	return nil
}

// choice is which cluster the node joins and how ecs.config comes to say so.
type choice struct {
	name    string // effective cluster; "": none yet
	write   string // value of ECS_CLUSTER in the block; "": none
	foreign bool   // the cluster is named outside of the block
	warning string
	err     error // why the cluster is not the one wanted, or none
}

// choose decides about the cluster. A container instance never changes its
// cluster: the agent refuses to start once ECS_CLUSTER is another text than
// the one it registered with (setClusterInConfig in
// aws/amazon-ecs-agent:agent/app/agent.go), so a registered node keeps that.
func (n node) choose(cluster render.Text, now contents) choice {
	want, foreign, err := n.wanted(cluster, now)
	switch {
	case n.registered != "":
		return n.keep(want, foreign, err)
	case err != nil:
		old, ok := now.value(clusterKey)
		if ok {
			err = fmt.Errorf("%w; until then ecs.config keeps %q", err, old)
		}
		return choice{write: old, err: err}
	case foreign:
		return choice{name: clusterName(want), foreign: true}
	}
	return choice{name: want, write: want}
}

// keep is the choice of a registered node.
func (n node) keep(want string, foreign bool, err error) choice {
	c := choice{name: n.registeredName(), write: n.registered, err: err}
	switch {
	case errors.Is(err, errUnset):
		c.err = nil
		c.warning = fmt.Sprintf("no cluster is set: ecs.config keeps %q, where this node is registered", n.registered)
	case err != nil:
	case clusterName(want) != c.name:
		c.err = duty.Lasting(fmt.Errorf("cannot change %s from %q to %q: this node is registered in %q, and a container instance cannot change its cluster. "+
			"Replace the instance; or stop ecs, remove /var/lib/ecs/data/agent.db, run ecsnode apply, start ecs and deregister the old container instance",
			clusterKey, n.registered, want, n.registered))
	case foreign && want == n.registered:
		c.write, c.foreign = "", true
	}
	return c
}

var errUnset = errors.New(`no cluster is set and the node would join "default": set cluster, or cluster: default if that is meant`)

// wanted returns the cluster that is asked for: by the configuration or else by
// what others wrote into ecs.config.
func (n node) wanted(cluster render.Text, now contents) (value string, foreign bool, err error) {
	if cluster.IsZero() {
		value, err = now.foreignCluster()
		switch {
		case err != nil:
			return "", true, fmt.Errorf("cannot tell the cluster from %s: %w", n.path, err)
		case value != "":
			return value, true, nil
		}
		return "", false, fmt.Errorf("%w%s", errUnset, mention(now))
	}
	value, err = cluster.Render(n.in)
	switch {
	case errors.Is(err, facts.ErrUnavailable):
		return "", false, duty.WaitingFor("the cluster: %w", err)
	case errors.Is(err, facts.ErrAbsent):
		return "", false, fmt.Errorf("cannot tell the cluster: %w: set that, or change the setting cluster", err)
	case err == nil:
		err = checkCluster(value)
	}
	if err != nil {
		return "", false, fmt.Errorf("cannot use the setting cluster: %w", err)
	}
	return value, false, nil
}

// mention points at a line that looks as if it named the cluster, such as one
// with "export", which no reader takes.
func mention(now contents) string {
	line := 0
	for text := range strings.Lines(string(now.outside())) {
		line++
		text = strings.TrimSpace(text)
		if strings.Contains(text, clusterKey+"=") && text[0] != '#' && text[0] != ';' && text != clusterKey+"=" {
			return fmt.Sprintf(" (line %d of ecs.config looks like it, but is none of the form %s=NAME)", now.lineOf(line), clusterKey)
		}
	}
	return ""
}
