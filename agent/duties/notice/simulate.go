package notice

import (
	"fmt"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Simulation is a notice that somebody makes up.
type Simulation struct {
	Source string        // facts.NoticeSpot and its siblings, but the operator
	What   string        // in the source's words; "": the usual
	In     time.Duration // when it happens, for a source that says; zero: the usual
}

// Usual is what a source says most, and how long before it happens.
func Usual(source string) (what string, in time.Duration) {
	switch source {
	case facts.NoticeSpot:
		return facts.SpotTerminate, 2 * time.Minute
	case facts.NoticeMaintenance:
		return "system-reboot", 24 * time.Hour
	case facts.NoticeAutoScaling:
		return terminated, 0
	case facts.NoticeShutdown:
		return "reboot", shutdownTime
	}
	return "", 0
}

// shutdownTime is how long the login manager waits, unless it is set otherwise.
const shutdownTime = 100 * time.Second

// Notice returns the notice as it would come now to the instance id.
func (s Simulation) Notice(c Config, id string, now time.Time) (facts.Notice, error) {
	what, in := Usual(s.Source)
	if s.What != "" {
		what = s.What
	}
	if s.In > 0 {
		in = s.In
	}
	at := now.Add(in).UTC().Truncate(time.Second)
	var all []facts.Notice
	switch s.Source {
	case facts.NoticeSpot:
		if actions := []string{facts.SpotTerminate, facts.SpotStop, facts.SpotHibernate}; !slices.Contains(actions, what) {
			return facts.Notice{}, fmt.Errorf("cannot simulate %q: Spot Instances are interrupted by one of %q", what, actions)
		}
		all = forSpot(facts.SpotAction{Action: what, Time: at})
	case facts.NoticeRebalance:
		all = forRebalance(at, c, id)
	case facts.NoticeAutoScaling:
		all = forAutoScaling(what, true, c)
	case facts.NoticeMaintenance:
		all = forMaintenance([]facts.Maintenance{{ID: "simulated", Code: what, State: "active", NotBefore: at}}, c, id)
	case facts.NoticeShutdown:
		all = []facts.Notice{{Source: s.Source, What: what, Drain: true, By: at, Hard: true}}
	default:
		return facts.Notice{}, fmt.Errorf("cannot simulate a notice of %q: there is no such source", s.Source)
	}
	if len(all) == 0 {
		return facts.Notice{Source: s.Source, What: what}, nil // shown to nobody
	}
	return all[0], nil
}
