package units

import "fmt"

// Config says when units are restarted.
type Config struct {
	RestartDocker Policy `yaml:"restart_docker" help:"auto: when Docker, containerd, runc or daemon.json changed and no task would die of it; always: also once at every boot, before the ECS agent starts; never: what is owed is only reported."`
}

// Default restarts Docker where that is needed.
func Default() Config { return Config{RestartDocker: Auto} }

// Policy is when Docker is restarted. Anything but [Always] and [Never] is
// [Auto].
type Policy string

// The policies.
const (
	Auto   Policy = "auto"
	Always Policy = "always"
	Never  Policy = "never"
)

// Enum returns the policies.
func (Policy) Enum() []string { return []string{string(Auto), string(Always), string(Never)} }

// Expected says what the setting takes.
func (Policy) Expected() string { return `"auto", "always" or "never"` }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Policy) UnmarshalText(b []byte) error {
	switch v := Policy(b); v {
	case Auto, Always, Never:
		*p = v
		return nil
	}
	return fmt.Errorf("%q is no policy for restarts", b)
}

// MarshalText implements encoding.TextMarshaler.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p), nil }
