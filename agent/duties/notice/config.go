// Package notice has the duties that ask for news of the node's end, one for
// each source, each on its own: a source that hangs or is ill keeps no other
// from being asked, and is never taken for one that has no news.
package notice

import (
	"encoding"
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/when"
)

// Policy is what is done about a notice that leaves a choice.
type Policy string

// The policies.
const (
	Off    Policy = "off"
	Notify Policy = "notify" // shown
	Drain  Policy = "drain"
)

var _ encoding.TextUnmarshaler = (*Policy)(nil)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Policy) UnmarshalText(b []byte) error {
	switch v := Policy(b); v {
	case Off, Notify, Drain:
		*p = v
		return nil
	}
	return fmt.Errorf("%q is no policy for notices", b)
}

// MarshalText implements [encoding.TextMarshaler].
func (p Policy) MarshalText() ([]byte, error) { return []byte(p), nil }

// Expected is what a message says in place of another value.
func (Policy) Expected() string { return `"off", "notify" or "drain"` }

// SchemaEnum lists the values.
func (Policy) SchemaEnum() []string { return []string{string(Off), string(Notify), string(Drain)} }

// Config says which news is asked for, how often, and what is done about it.
type Config struct {
	Spot        Spot          `yaml:"spot" help:"EC2's announcement that it takes a Spot Instance back. Always a reason to drain."`
	Rebalance   Rebalance     `yaml:"rebalance" help:"EC2's hint that a Spot Instance is likely to be taken back."`
	AutoScaling AutoScaling   `yaml:"autoscaling" help:"The state that the instance's Auto Scaling group wants it in."`
	Maintenance Maintenance   `yaml:"maintenance" help:"Events that EC2 has scheduled for the instance."`
	SoftCap     when.Duration `yaml:"soft_cap" help:"How long a drain takes at most that nothing forces: for Auto Scaling, a rebalance recommendation, an operator without a deadline."`
	Splay       when.Duration `yaml:"splay" help:"Drains for a rebalance recommendation or maintenance begin up to this much later, each node at its own time, so that a fleet does not drain at once."`
}

// Spot is how spot/instance-action is asked for.
type Spot struct {
	Interval when.Duration `yaml:"interval" help:"How often it is asked for, on Spot Instances only."`
}

// Rebalance is what is done about a rebalance recommendation.
type Rebalance struct {
	Policy   Policy        `yaml:"policy" help:"off: not asked for. notify: shown by status. drain: the node drains."`
	Interval when.Duration `yaml:"interval" help:"How often it is asked for, on Spot Instances only."`
	Lapses   when.Duration `yaml:"lapses" help:"A drain for it is undone if no other notice has come for this long."`
}

// AutoScaling is how target-lifecycle-state is asked for.
type AutoScaling struct {
	Interval when.Duration `yaml:"interval" help:"How often it is asked for."`
}

// Maintenance is what is done about scheduled events.
type Maintenance struct {
	Policy   Policy            `yaml:"policy" help:"For every code that is not listed: off, notify or drain."`
	Codes    map[string]Policy `yaml:"codes" help:"By code: instance-stop, instance-retirement, instance-reboot, system-reboot, system-maintenance."`
	Before   when.Duration     `yaml:"before" help:"How long before the event the drain begins."`
	Interval when.Duration     `yaml:"interval" help:"How often events are asked for."`
}

// Default asks as often as it takes to lose no time.
func Default() Config {
	return Config{
		Spot:        Spot{Interval: when.Duration(500 * time.Millisecond)},
		Rebalance:   Rebalance{Policy: Notify, Interval: when.Duration(5 * time.Second), Lapses: when.Duration(2 * time.Hour)},
		AutoScaling: AutoScaling{Interval: when.Duration(5 * time.Second)},
		Maintenance: Maintenance{
			Policy: Drain, Codes: map[string]Policy{},
			Before: when.Duration(30 * time.Minute), Interval: when.Duration(time.Minute),
		},
		SoftCap: when.Duration(15 * time.Minute),
		Splay:   when.Duration(5 * time.Minute),
	}
}

// Least intervals: instance metadata throttles.
const (
	leastInterval = 100 * time.Millisecond
	leastCap      = 10 * time.Second
)

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	for path, d := range map[string]when.Duration{
		"spot.interval": c.Spot.Interval, "rebalance.interval": c.Rebalance.Interval,
		"autoscaling.interval": c.AutoScaling.Interval, "maintenance.interval": c.Maintenance.Interval,
	} {
		if time.Duration(d) < leastInterval {
			report(path, fmt.Sprintf("%v is too short: expected %v or more", d, leastInterval))
		}
	}
	if time.Duration(c.SoftCap) < leastCap {
		report("soft_cap", fmt.Sprintf("%v is too short: expected %v or more", c.SoftCap, leastCap))
	}
	for path, d := range map[string]when.Duration{"splay": c.Splay, "rebalance.lapses": c.Rebalance.Lapses, "maintenance.before": c.Maintenance.Before} {
		if d < 0 {
			report(path, "it cannot be negative")
		}
	}
}
