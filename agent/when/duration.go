package when

import (
	"fmt"
	"time"
)

// Duration is a setting such as "90s", "15m" or "2h30m". It is never negative.
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	switch {
	case err != nil:
		return fmt.Errorf("%q is no duration", b)
	case v < 0:
		return fmt.Errorf("%q is negative", b)
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d Duration) String() string { return time.Duration(d).String() }

// Expected says what the setting takes.
func (Duration) Expected() string { return `a duration such as "90s" or "15m"` }

// SchemaPattern is what a schema can check of it.
func (Duration) SchemaPattern() string { return `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$` }
