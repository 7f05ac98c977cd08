package fsx

import (
	"fmt"
	"io/fs"
	"strconv"
)

// Mode is the permission bits of a file as a setting: "0644" or "644", octal
// with or without quotes, and not 0.
type Mode fs.FileMode

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 8, 32)
	if err != nil || v == 0 || v > 0o777 || len(b) < 3 {
		return fmt.Errorf("%q is no file mode", b)
	}
	*m = Mode(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// Expected says what the setting takes.
func (Mode) Expected() string { return `an octal file mode such as "0644"` }

// SchemaPattern is what a schema can check of it.
func (Mode) SchemaPattern() string { return `^0?[0-7]{3}$` }
