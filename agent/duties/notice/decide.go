package notice

import (
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/when"
)

// forSpot: EC2 interrupts the instance at the time it says. Hibernation has
// begun when it is announced, whatever time it says.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
func forSpot(a facts.SpotAction) []facts.Notice {
	n := facts.Notice{Source: facts.NoticeSpot, What: a.Action, ID: stamp(a.Time), Drain: true, Hard: true}
	if a.Action == facts.SpotHibernate {
		n.Cap = hibernates
	} else {
		n.By = a.Time.UTC().Round(0)
	}
	return []facts.Notice{n}
}

// hibernates is how long processes are taken to go on once hibernation has
// begun: memory is written to disk afterwards.
const hibernates = 10 * time.Second

func forRebalance(at time.Time, c Config, id string) []facts.Notice {
	if c.Rebalance.Policy == Off {
		return nil
	}
	n := facts.Notice{Source: facts.NoticeRebalance, What: "recommendation", ID: stamp(at)}
	if c.Rebalance.Policy == Drain {
		n.Drain, n.Start = true, at.UTC().Round(0).Add(splay(c, id, n))
		n.Cap, n.Lapses = time.Duration(c.SoftCap), time.Duration(c.Rebalance.Lapses)
	}
	return []facts.Notice{n}
}

// forAutoScaling: the state is the one the instance is on its way to. One that
// goes into a warm pool before it has joined a cluster has no tasks to lose.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
func forAutoScaling(target string, joined bool, c Config) []facts.Notice {
	n := facts.Notice{Source: facts.NoticeAutoScaling, What: target, Drain: true, Cap: time.Duration(c.SoftCap)}
	warm := strings.HasPrefix(target, warmed)
	switch {
	case target == terminated, target == warmed+terminated, warm && joined:
		return []facts.Notice{n}
	case warm:
		n.Drain, n.Cap, n.Why = false, 0, "in a warm pool, not in service"
		return []facts.Notice{n}
	}
	return nil
}

const (
	terminated = "Terminated"
	warmed     = "Warmed:"
)

// forMaintenance: what is completed or cancelled is no longer to come.
func forMaintenance(events []facts.Maintenance, c Config, id string) (all []facts.Notice) {
	for _, e := range events {
		policy, ok := c.Maintenance.Codes[e.Code]
		if !ok {
			policy = c.Maintenance.Policy
		}
		if e.State != "active" && e.State != "" || policy == Off {
			continue
		}
		n := facts.Notice{Source: facts.NoticeMaintenance, What: e.Code, ID: e.ID, Why: e.Description}
		if policy == Drain {
			by := e.NotBefore.UTC().Round(0)
			// Splayed towards the event: what begins late is cut short.
			n.Drain, n.By, n.Hard = true, by, true
			n.Start = by.Add(-time.Duration(c.Maintenance.Before) - splay(c, id, n))
		}
		all = append(all, n)
	}
	return all
}

func splay(c Config, id string, n facts.Notice) time.Duration {
	return when.Offset(id+"/"+n.Source, time.Duration(c.Splay))
}

func stamp(t time.Time) string { return t.UTC().Round(0).Format(time.RFC3339) }
