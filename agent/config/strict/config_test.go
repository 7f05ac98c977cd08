package strict

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// sample has the shapes of a real configuration.
type sample struct {
	Cluster    template       `yaml:"cluster" help:"The ECS cluster to join."`
	Channel    string         `yaml:"channel" help:"The release channel."`
	NodeConfig sampleNode     `yaml:"node_config" help:"The files that containers read."`
	ECS        sampleECS      `yaml:"ecs" help:"What the ECS agent is told."`
	Tasks      []sampleTask   `yaml:"tasks" help:"Tasks that run on every node."`
	Schedules  map[string]job `yaml:"schedules" help:"Commands by name, each on a schedule."`
	Drain      *sampleDrain   `yaml:"drain" help:"How the node is emptied."`
	LogLevel   level          `yaml:"log_level" help:"The least severe message that is logged."`
}

type sampleNode struct {
	Directory string                `yaml:"directory" help:"Where the files go."`
	Tags      []string              `yaml:"tags" help:"Instance tags to pass on."`
	Files     map[string]sampleFile `yaml:"files" help:"Files by name."`
	Values    map[varName]string    `yaml:"values" help:"Further variables by name."`
}

type sampleFile struct {
	Template string   `yaml:"template" help:"The template to render."`
	Mode     fileMode `yaml:"mode" help:"The permissions of the file."`
	Missing  missing  `yaml:"missing" help:"What to do when a tag is missing."`
}

func (f *sampleFile) SetDefaults() { f.Mode, f.Missing = 0o644, "fail" }

type sampleECS struct {
	StopTimeout    duration          `yaml:"stop_timeout" help:"How long a container may take to stop."`
	ReservedMemory uint32            `yaml:"reserved_memory" help:"MiB kept from tasks."`
	Spot           bool              `yaml:"spot_draining" help:"Whether a spot notice drains the node."`
	Weight         float64           `yaml:"weight" help:"The share of the fleet."`
	Priority       int8              `yaml:"priority" help:"The priority among nodes."`
	LogDrivers     []string          `yaml:"log_drivers" help:"The log drivers on offer."`
	Attributes     map[string]string `yaml:"attributes" help:"Attributes for placement."`
}

type sampleTask struct {
	Family   string    `yaml:"family" help:"The task definition."`
	Count    *int      `yaml:"count" help:"How many of them run."`
	Startup  duration  `yaml:"startup" help:"How long it may take to start."`
	Networks []network `yaml:"networks" help:"The networks to attach."`
}

type network struct {
	Subnet string `yaml:"subnet" help:"The subnet."`
	Port   uint16 `yaml:"port" help:"The port."`
}

type job struct {
	Cron    cron     `yaml:"cron" help:"When it runs."`
	Command []string `yaml:"command" help:"What runs."`
	Limit   duration `yaml:"limit" help:"How long it may run."`
}

type sampleDrain struct {
	Deadline duration `yaml:"deadline" help:"When draining ends at the latest."`
	Force    bool     `yaml:"force" help:"Whether stragglers are stopped."`
}

func (d *sampleDrain) SetDefaults() { d.Deadline = duration(2 * time.Minute) }

func sampleDefaults() *sample {
	return &sample{
		Channel: "stable",
		NodeConfig: sampleNode{
			Directory: "/etc/container_config",
			Files:     map[string]sampleFile{"node.config": {Template: "node", Mode: 0o644, Missing: "fail"}},
		},
		ECS: sampleECS{
			StopTimeout: duration(30 * time.Second),
			Spot:        true,
			LogDrivers:  []string{"json-file", "awslogs"},
			Attributes:  map[string]string{"lifecycle": "spot"},
		},
		LogLevel: "info",
	}
}

// syntaxError is an error at an offset, as a text type's own package has it.
type syntaxError struct {
	offset int
	text   string
	hint   string
}

func (e *syntaxError) Error() string { return e.text }
func (e *syntaxError) Offset() int   { return e.offset }
func (e *syntaxError) Hint() string  { return e.hint }

// template is text in which every "{{" needs its "}}".
type template struct{ source string }

func (t *template) UnmarshalText(text []byte) error {
	s := string(text)
	for from := 0; ; {
		open := strings.Index(s[from:], "{{")
		if open < 0 {
			t.source = s
			return nil
		}
		length := strings.Index(s[from+open:], "}}")
		if length < 0 {
			return &syntaxError{offset: from + open, text: `this "{{" has no "}}"`, hint: "close it"}
		}
		from += open + length
	}
}

func (t template) MarshalText() ([]byte, error) { return []byte(t.source), nil }

func (template) Expected() string { return "text or a template" }

type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return errors.New("")
	}
	*d = duration(v)
	return nil
}

func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (duration) Expected() string { return `a duration such as "15m"` }

func (duration) SchemaPattern() string { return `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$` }

type fileMode os.FileMode

func (m *fileMode) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 8, 12)
	*m = fileMode(v)
	if err != nil {
		return errors.New("")
	}
	return nil
}

func (m fileMode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

func (fileMode) Expected() string { return `a file mode in octal such as 0644` }

// cron is five fields of digits, stars, commas, slashes and dashes.
type cron string

func (c *cron) UnmarshalText(text []byte) error {
	fields := strings.Fields(string(text))
	if strings.Contains(string(text), "panic") {
		panic("cron: unexpected text")
	}
	if len(fields) != 5 {
		return fmt.Errorf("it has %d fields", len(fields))
	}
	for i, f := range fields {
		if bad := strings.Trim(f, "0123456789*/,-"); bad != "" {
			return &syntaxError{offset: strings.Index(string(text), bad), text: fmt.Sprintf("field %d has %q", i+1, bad)}
		}
	}
	*c = cron(text)
	return nil
}

func (c cron) MarshalText() ([]byte, error) { return []byte(c), nil }

func (cron) Expected() string { return `five cron fields such as "*/5 * * * *"` }

type missing string

func (missing) Enum() []string { return []string{"fail", "default", "empty"} }

// level is a text type with an enumeration.
type level string

func (l *level) UnmarshalText(text []byte) error { *l = level(text); return nil }
func (l level) MarshalText() ([]byte, error)     { return []byte(l), nil }
func (level) Enum() []string                     { return []string{"debug", "info", "warn", "error"} }

// varName is the name of a shell variable.
type varName string

func (varName) SchemaPattern() string { return `^[A-Za-z_][A-Za-z0-9_]*$` }

func (varName) Expected() string { return "the name of a shell variable" }
