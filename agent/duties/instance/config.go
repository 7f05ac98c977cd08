package instance

import (
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/when"
)

// Config says how often and from where facts about the instance are read.
type Config struct {
	Interval        when.Duration `yaml:"interval" help:"How often identity and tags are read from instance metadata."`
	TagSource       TagSource     `yaml:"tag_source" help:"Where tags are read: auto (instance metadata, else the EC2 API), imds or ec2."`
	TagsAPIInterval when.Duration `yaml:"tags_api_interval" help:"How often tags are read from the EC2 API, where they come from it; each minute while the agent has run less than 10 minutes."`
}

// Least values: what is faster does not help and is throttled.
const (
	minInterval    = 5 * time.Second
	minAPIInterval = time.Minute
)

// Default returns the settings of a node without any file.
func Default() Config {
	return Config{
		Interval:        when.Duration(time.Minute),
		TagSource:       FromAuto,
		TagsAPIInterval: when.Duration(15 * time.Minute),
	}
}

// Validate reports what is wrong with c.
func (c Config) Validate(report func(path, message string)) {
	if c.Interval < when.Duration(minInterval) {
		report("interval", fmt.Sprintf("%v is too short: expected %v or more", c.Interval, minInterval))
	}
	if c.TagsAPIInterval < when.Duration(minAPIInterval) {
		report("tags_api_interval", fmt.Sprintf("%v is too short: expected %v or more", c.TagsAPIInterval, minAPIInterval))
	}
}

// TagSource says where tags are read.
type TagSource string

// The sources.
const (
	FromAuto TagSource = "auto" // instance metadata; the EC2 API where tags are not enabled there
	FromIMDS TagSource = "imds" // instance metadata only
	FromEC2  TagSource = "ec2"  // the EC2 API only
)

// Enum returns the sources.
func (TagSource) Enum() []string {
	return []string{string(FromAuto), string(FromIMDS), string(FromEC2)}
}

// Expected says what the setting takes.
func (TagSource) Expected() string { return `"auto", "imds" or "ec2"` }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *TagSource) UnmarshalText(b []byte) error {
	switch v := TagSource(b); v {
	case FromAuto, FromIMDS, FromEC2:
		*s = v
		return nil
	}
	return fmt.Errorf("%q is no source of tags", b)
}

// MarshalText implements encoding.TextMarshaler.
func (s TagSource) MarshalText() ([]byte, error) { return []byte(s), nil }
