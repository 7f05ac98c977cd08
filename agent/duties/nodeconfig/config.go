package nodeconfig

import (
	"fmt"

	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
)

// Config says which files tell containers what the node is.
type Config struct {
	Directory     string          `yaml:"directory" help:"Directory of the files; containers mount it whole, because a mounted file never sees an update."`
	DirectoryMode fsx.Mode        `yaml:"directory_mode" help:"Mode of the directory and of those in it that files are in."`
	Files         map[string]File `yaml:"files" help:"The files by name; a name may have subdirectories, such as app/env."`

	// Templates are where a template is looked for whose name is not absolute: the
	// first directory that has it counts.
	Templates []string `yaml:"-"`
}

// File is one file.
type File struct {
	Template string           `yaml:"template" help:"A template of your own, by its name below templates/ of the bundle or of /etc/ecsnode, or by its absolute path; empty: the built-in one, NAME='value' for each variable."`
	Format   Format           `yaml:"format" help:"shell: checked to assign literal values and nothing else before it is written; text: not checked."`
	Mode     fsx.Mode         `yaml:"mode" help:"Mode of the file."`
	Values   map[string]Value `yaml:"values" help:"Variables of your own by name."`
	Tags     Tags             `yaml:"tags" help:"Instance tags that become variables."`
}

// Value is one variable of the operator's.
type Value struct {
	Value   render.Text `yaml:"value" help:"The value, or a template for it."`
	Missing Policy      `yaml:"missing" help:"What to do when the value asks for what is known to be absent: fail keeps the last good file, default writes the default, empty writes the empty string."`
	Default string      `yaml:"default" help:"The value to write under missing: default."`
}

// Tags picks the instance tags that become variables.
type Tags struct {
	Include []string          `yaml:"include" help:"Tag keys, or patterns in which * and ? stand for any characters, / included."`
	Prefix  string            `yaml:"prefix" help:"What the names of their variables start with; may be empty only without patterns."`
	Names   map[string]string `yaml:"names" help:"Tag keys that become a variable of this very name, in include or not."`
}

// defaultPrefix keeps tags apart from every name that means something.
const defaultPrefix = "TAG_"

// Default is node.config with MY_ENVIRONMENT from the tag "env".
func Default() Config {
	var node File
	node.SetDefaults()
	var environment Value
	environment.SetDefaults()
	environment.Value = render.NewText(`{{ tag "env" }}`)
	node.Values = map[string]Value{"MY_ENVIRONMENT": environment}
	return Config{
		Directory:     "/etc/container_config",
		DirectoryMode: 0o755,
		Files:         map[string]File{"node.config": node},
	}
}

// SetDefaults gives a file that the configuration adds its defaults.
func (f *File) SetDefaults() {
	*f = File{Format: Shell, Mode: 0o644, Tags: Tags{Prefix: defaultPrefix}}
}

// SetDefaults gives a value that the configuration adds its defaults.
func (v *Value) SetDefaults() { *v = Value{Missing: Fail} }

// Format is what kind of file is written. Anything but [PlainText] is checked
// as [Shell].
type Format string

// The formats.
const (
	Shell     Format = "shell"
	PlainText Format = "text"
)

// Policy is what becomes of a value that is known to be absent. It never
// applies to what is merely unavailable: that is waited for. Anything but
// [UseDefault] and [UseEmpty] is [Fail].
type Policy string

// The policies.
const (
	Fail       Policy = "fail"
	UseDefault Policy = "default"
	UseEmpty   Policy = "empty"
)

// Enum returns the formats.
func (Format) Enum() []string { return []string{string(Shell), string(PlainText)} }

// Expected says what the setting takes.
func (Format) Expected() string { return `"shell" or "text"` }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Format) UnmarshalText(b []byte) error {
	switch v := Format(b); v {
	case Shell, PlainText:
		*f = v
		return nil
	}
	return fmt.Errorf("%q is no format", b)
}

// MarshalText implements encoding.TextMarshaler.
func (f Format) MarshalText() ([]byte, error) { return []byte(f), nil }

// Enum returns the policies.
func (Policy) Enum() []string {
	return []string{string(Fail), string(UseDefault), string(UseEmpty)}
}

// Expected says what the setting takes.
func (Policy) Expected() string { return `"fail", "default" or "empty"` }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Policy) UnmarshalText(b []byte) error {
	switch v := Policy(b); v {
	case Fail, UseDefault, UseEmpty:
		*p = v
		return nil
	}
	return fmt.Errorf("%q is no policy for missing values", b)
}

// MarshalText implements encoding.TextMarshaler.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p), nil }
