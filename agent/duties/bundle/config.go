// Package bundle has the settings by which a node follows a channel of
// configuration bundles.
package bundle

import (
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Config says where bundles come from and who is trusted with them. It is of the
// baked files alone: no bundle may set any of it.
type Config struct {
	Source   string        `yaml:"source" help:"Where channels and bundles are, as s3://BUCKET/PREFIX. Empty: the node follows no channel."`
	Region   string        `yaml:"region" help:"Region of the bucket. Empty: that of the node."`
	Keys     []bundle.Key  `yaml:"keys" help:"Public keys of minisign; a channel must be signed by one of them. Two while a key is being replaced."`
	Channels []string      `yaml:"channels" help:"Channels among which the tag ecsnode:channel chooses. Empty: the node follows the channel that is set, whatever its tag says."`
	Schedule string        `yaml:"schedule" help:"When the channel is looked at: five fields of cron, in UTC."`
	Splay    when.Duration `yaml:"splay" help:"It is looked at up to this much later, each node at its own time."`
	Watch    when.Duration `yaml:"watch" help:"How long a new bundle is watched: when something that was well fails meanwhile, for a reason on the node itself, the node goes back to the last good one. 0: not at all."`
	Expired  Expired       `yaml:"expired" help:"What a node without a bundle does when its channel has expired: stable (it runs the stable bundle, with a warning) or hold (it waits for a channel that has not)."`
	Keep     int           `yaml:"keep" help:"How many bundles stay on disk, the one in effect and the last good one among them."`
}

const (
	defaultSchedule = "*/15 * * * *"
	defaultSplay    = 15 * time.Minute // as long as it is until the next look: the bucket is asked evenly
	defaultWatch    = 10 * time.Minute
	defaultKeep     = 3
)

// Default follows no channel.
func Default() Config {
	return Config{Schedule: defaultSchedule, Splay: when.Duration(defaultSplay), Watch: when.Duration(defaultWatch), Expired: RunStable, Keep: defaultKeep}
}

// Expired is what a node without a bundle does under a channel that has expired.
type Expired string

// What it does.
const (
	RunStable Expired = "stable"
	Wait      Expired = "hold"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (e *Expired) UnmarshalText(b []byte) error {
	switch v := Expired(b); v {
	case RunStable, Wait:
		*e = v
		return nil
	}
	return fmt.Errorf("%q is not known", b)
}

// MarshalText implements encoding.TextMarshaler.
func (e Expired) MarshalText() ([]byte, error) { return []byte(e), nil }

// Expected says what the setting takes.
func (Expired) Expected() string { return "stable or hold" }

// SchemaPattern is what a schema can check of it.
func (Expired) SchemaPattern() string { return "^(stable|hold)$" }

var regionName = pattern.New(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	if c.Source != "" {
		if _, err := bundle.ParseSource(c.Source); err != nil {
			report("source", err.Error())
		}
		if len(c.Keys) == 0 {
			report("keys", "no channel could be trusted: expected a public key, as ecsnode bundle keygen makes one")
		}
	}
	if c.Region != "" && !regionName.MatchString(c.Region) {
		report("region", fmt.Sprintf("%q is no region such as eu-west-1", c.Region))
	}
	for i, k := range c.Keys {
		for _, other := range c.Keys[:i] {
			if k.ID() == other.ID() {
				report(fmt.Sprintf("keys[%d]", i), "there is a key "+k.ID()+" before it")
			}
		}
	}
	for i, name := range c.Channels {
		if !bundle.ValidName(name) {
			report(fmt.Sprintf("channels[%d]", i), fmt.Sprintf("%q is no name of a channel", name))
		}
	}
	if _, err := when.Cron(c.Schedule, time.UTC); err != nil {
		report("schedule", err.Error())
	}
	if d := time.Duration(c.Watch); d != 0 && d < 30*time.Second {
		report("watch", fmt.Sprintf("%v is too short: expected 30s or more, or 0", c.Watch))
	}
	if c.Keep < 2 {
		report("keep", fmt.Sprintf("%d are too few: expected 2 or more, the one in effect and the last good one", c.Keep))
	}
}
