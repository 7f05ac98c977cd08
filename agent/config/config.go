// Package config is what the operator wants: its settings, the layers of files
// they come from, and what is wrong with them.
package config

import (
	"strings"
	"unicode"

	"github.com/ecsnode/ecsnode/agent/duties/bundle"
	"github.com/ecsnode/ecsnode/agent/duties/daemonjson"
	"github.com/ecsnode/ecsnode/agent/duties/drain"
	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/files"
	"github.com/ecsnode/ecsnode/agent/duties/guard"
	"github.com/ecsnode/ecsnode/agent/duties/instance"
	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/duties/nodetasks"
	"github.com/ecsnode/ecsnode/agent/duties/notice"
	"github.com/ecsnode/ecsnode/agent/duties/packages"
	"github.com/ecsnode/ecsnode/agent/duties/parameters"
	"github.com/ecsnode/ecsnode/agent/duties/readiness"
	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/duties/services"
	"github.com/ecsnode/ecsnode/agent/duties/units"
	"github.com/ecsnode/ecsnode/agent/duties/volumes"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Config is every setting. Each duty's section has the duty's own type.
type Config struct {
	Cluster      render.Text       `yaml:"cluster" help:"ECS cluster that the node joins, such as '{{ tag \"cluster\" }}'. Unset: what user data wrote into ecs.config counts."`
	Channel      Channel           `yaml:"channel" help:"Channel of configuration bundles; the instance tag ecsnode:channel overrides it."`
	Hold         string            `yaml:"hold" help:"Why every duty that changes the node is held; empty, no, false, off or 0: not held. The instance tag ecsnode:hold overrides it."`
	Bundle       bundle.Config     `yaml:"bundle" help:"Where configuration bundles come from, and whose are trusted."`
	NodeConfig   nodeconfig.Config `yaml:"node_config" help:"Files in a directory that containers mount to learn where they run."`
	ECSConfig    ecsconfig.Config  `yaml:"ecs_config" help:"The block of /etc/ecs/ecs.config that ecsnode owns."`
	Instance     instance.Config   `yaml:"instance" help:"How instance metadata and tags are read."`
	ECSAgent     ECSAgent          `yaml:"ecs_agent" help:"How the ECS agent on this node is asked what it is registered as."`
	Volumes      volumes.Config    `yaml:"volumes" help:"Extra EBS volumes by name, mounted before Docker starts."`
	DaemonJSON   daemonjson.Config `yaml:"daemon_json" help:"Keys of Docker's daemon.json that ecsnode keeps."`
	Packages     packages.Config   `yaml:"packages" help:"Packages that are installed, upgraded or absent; at boot before the ECS agent starts."`
	Parameters   parameters.Config `yaml:"parameters" help:"Parameters of Parameter Store and secrets of Secrets Manager that templates ask for."`
	Guard        guard.Config      `yaml:"guard" help:"Keeps containers from instance metadata and the role of the instance."`
	Units        units.Config      `yaml:"units" help:"When Docker and the ECS agent are restarted."`
	Interruption notice.Config     `yaml:"interruption" help:"Which news of the node's end is asked for, and what is done about it."`
	Drain        drain.Config      `yaml:"drain" help:"How the node empties itself before it goes."`
	Files        files.Config      `yaml:"files" help:"Files of the node, and the units that read them."`
	Services     services.Config   `yaml:"services" help:"Units of systemd: enabled or not, up or down."`
	NodeTasks    nodetasks.Config  `yaml:"node_tasks" help:"Tasks of ECS that every node runs once, such as a log shipper and a metrics agent."`
	Readiness    readiness.Config  `yaml:"readiness" help:"Whether and when the node tells ECS that it is ready for work."`
	Schedules    schedules.Config  `yaml:"schedules" help:"What runs at set times: commands on the host and in containers, and tasks."`
	Boot         Boot              `yaml:"boot" help:"What happens before the ECS agent starts."`
}

// ECSAgent says where the agent answers.
type ECSAgent struct {
	Introspection string        `yaml:"introspection" help:"URL of the agent's introspection API. Empty: http://localhost:51678, and off with --root."`
	Interval      when.Duration `yaml:"interval" help:"How often it is asked."`
}

// Boot bounds the boot phase.
type Boot struct {
	Budget         when.Duration `yaml:"budget" help:"How long boot may take, in all, before it goes on without what is not settled."`
	EarlyBudget    when.Duration `yaml:"early_budget" help:"The same for what must be there before Docker starts: volumes that are attached late."`
	UnhealthyAfter when.Duration `yaml:"unhealthy_after" help:"How long after its boot a node that does not find out what it is reports itself unhealthy to Auto Scaling, which replaces it; 0: it waits."`
}

// Default returns the settings of a node without any file.
func Default() Config {
	return Config{
		Channel:      "stable",
		Bundle:       bundle.Default(),
		NodeConfig:   nodeconfig.Default(),
		ECSConfig:    ecsconfig.Default(),
		Instance:     instance.Default(),
		ECSAgent:     ECSAgent{Interval: when.Duration(defaultAgentInterval)},
		Volumes:      volumes.Default(),
		DaemonJSON:   daemonjson.Default(),
		Packages:     packages.Default(),
		Parameters:   parameters.Default(),
		Guard:        guard.Default(),
		Units:        units.Default(),
		Interruption: notice.Default(),
		Drain:        drain.Default(),
		Files:        files.Default(),
		Services:     services.Default(),
		NodeTasks:    nodetasks.Default(),
		Readiness:    readiness.Default(),
		Schedules:    schedules.Default(),
		Boot:         Boot{Budget: when.Duration(defaultBudget), EarlyBudget: when.Duration(defaultEarlyBudget)},
	}
}

// Channel names a line of configuration bundles.
type Channel string

var channelPattern = pattern.New(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Channel) UnmarshalText(b []byte) error {
	if !channelPattern.Match(b) {
		return errChannel
	}
	*c = Channel(b)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (c Channel) MarshalText() ([]byte, error) { return []byte(c), nil }

// Expected says what the setting takes.
func (Channel) Expected() string { return `a channel such as "stable"` }

// SchemaPattern is what a schema can check of it.
func (Channel) SchemaPattern() string { return channelPattern.String() }

// Tags that set something. Whoever may tag an instance must not own it: no
// other setting is ever taken from a tag.
const (
	TagPrefix  = "ecsnode:"
	ChannelTag = TagPrefix + "channel"
	HoldTag    = TagPrefix + "hold"
)

// WithTags returns c with what the instance's tags set, and what is wrong with
// them. Tags that could not be read set nothing.
func (c Config) WithTags(tags facts.Tags) (Config, []string) {
	var warnings []string
	for _, key := range tags.Keys() {
		value, _ := tags.Lookup(key)
		switch {
		case key == ChannelTag:
			if err := c.Channel.UnmarshalText([]byte(value)); err != nil {
				warnings = append(warnings, "the tag "+key+" is not taken: "+err.Error())
			}
		case key == HoldTag:
			c.Hold = value
			if value == "" {
				c.Hold = "yes"
			}
		case strings.HasPrefix(key, TagPrefix):
			warnings = append(warnings, "the tag "+key+" sets nothing: tags may set "+ChannelTag+" and "+HoldTag+" only")
		}
	}
	return c, warnings
}

// Held reports whether the setting holds the node, and the reason if one is
// given: one line, without what a terminal might obey, since a tag can set it.
func (c Config) Held() (why string, held bool) {
	oneLine := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, c.Hold)
	switch v := strings.TrimSpace(oneLine); strings.ToLower(v) {
	case "", "no", "false", "off", "0":
		return "", false
	case "yes", "true", "on", "1", "all":
		return "", true
	default:
		return v, true
	}
}
