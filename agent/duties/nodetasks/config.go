package nodetasks

import (
	"cmp"
	"encoding"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Config says which tasks run on every node, once each.
type Config struct {
	Tasks           map[string]Task `yaml:"tasks" help:"Tasks that run on this node, exactly one of each, by a name of your choice."`
	ManagedCapacity Managed         `yaml:"managed_capacity" help:"Whether tasks are started where a capacity provider manages the number of instances: each would count as work and keep its instance from ever being scaled in. refuse or allow."`
	Splay           when.Duration   `yaml:"splay" help:"A new revision or environment replaces what runs up to this much later, each node at its own time, so that a fleet does not lose its log shippers in one minute."`
	StaysUp         when.Duration   `yaml:"stays_up" help:"How long a new revision must run to count as good. One that ends three times before is taken back for the last good one."`
}

// Task is one of them.
type Task struct {
	Definition  string                 `yaml:"task_definition" help:"FAMILY:REVISION, or FAMILY@newest, which follows the newest active revision: each registration of one is then a rollout to the whole fleet."`
	Container   string                 `yaml:"container" help:"Container of the task whose environment is set. Empty: the one with the name of the family."`
	Environment map[string]render.Text `yaml:"environment" help:"Environment variables of that container, over what the task definition has. Templates as in node.config; one that is empty is left out."`
	Recognise   Recognise              `yaml:"recognise" help:"How a container that others than ECS started for the same purpose is told. While one runs, none is started."`
	Mode        Mode                   `yaml:"mode" help:"start-task: started by ecsnode. service: a DAEMON service of the cluster starts it, and ecsnode tells whether it is there."`
	Service     string                 `yaml:"service" help:"Name of that service. Empty: the family."`
	Leave       Leave                  `yaml:"leave" help:"When it leaves a node that drains: with-workload: once all others have gone. last: after these too, and after drain.flush."`
	Needed      Needed                 `yaml:"needed" help:"Whether the node counts as ready without it: hard: never. soft: after readiness.soft_after, with a warning. no: always."`
}

// Recognise tells containers by patterns as of a shell, with * and ?.
type Recognise struct {
	Images     []string `yaml:"images" help:"Patterns of images, such as gliderlabs/logspout*."`
	Containers []string `yaml:"containers" help:"Patterns of names of containers."`
}

// Mode is who starts a task. "" is StartTask.
type Mode string

// Leave is when a task leaves. "" is Last.
type Leave string

// Needed is whether a node is ready without a task. "" is Soft.
type Needed string

// Managed is what is done where a capacity provider manages instances. "" is
// Refuse.
type Managed string

// The values.
const (
	StartTask Mode = "start-task"
	Service   Mode = "service"

	Last         Leave = "last"
	WithWorkload Leave = "with-workload"

	Soft Needed = "soft"
	Hard Needed = "hard"
	No   Needed = "no"

	Refuse Managed = "refuse"
	Allow  Managed = "allow"
)

func oneOf[T ~string](to *T, b []byte, what string, values ...T) error {
	if !slices.Contains(values, T(b)) {
		return fmt.Errorf("%q is no %s", b, what)
	}
	*to = T(b)
	return nil
}

var (
	_ encoding.TextUnmarshaler = (*Mode)(nil)
	_ encoding.TextUnmarshaler = (*Leave)(nil)
	_ encoding.TextUnmarshaler = (*Needed)(nil)
	_ encoding.TextUnmarshaler = (*Managed)(nil)
)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *Mode) UnmarshalText(b []byte) error { return oneOf(m, b, "mode", StartTask, Service) }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *Leave) UnmarshalText(b []byte) error {
	return oneOf(l, b, "way to leave", Last, WithWorkload)
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *Needed) UnmarshalText(b []byte) error { return oneOf(n, b, "degree of need", Soft, Hard, No) }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *Managed) UnmarshalText(b []byte) error { return oneOf(m, b, "policy", Refuse, Allow) }

// MarshalText implements [encoding.TextMarshaler].
func (m Mode) MarshalText() ([]byte, error) { return []byte(cmp.Or(m, StartTask)), nil }

// MarshalText implements [encoding.TextMarshaler].
func (l Leave) MarshalText() ([]byte, error) { return []byte(cmp.Or(l, Last)), nil }

// MarshalText implements [encoding.TextMarshaler].
func (n Needed) MarshalText() ([]byte, error) { return []byte(cmp.Or(n, Soft)), nil }

// MarshalText implements [encoding.TextMarshaler].
func (m Managed) MarshalText() ([]byte, error) { return []byte(cmp.Or(m, Refuse)), nil }

// Expected is what a message says in place of another value.
func (Mode) Expected() string { return `"start-task" or "service"` }

// Expected is what a message says in place of another value.
func (Leave) Expected() string { return `"last" or "with-workload"` }

// Expected is what a message says in place of another value.
func (Needed) Expected() string { return `"soft", "hard" or "no"` }

// Expected is what a message says in place of another value.
func (Managed) Expected() string { return `"refuse" or "allow"` }

// SchemaEnum lists the values.
func (Mode) SchemaEnum() []string { return []string{string(StartTask), string(Service)} }

// SchemaEnum lists the values.
func (Leave) SchemaEnum() []string { return []string{string(Last), string(WithWorkload)} }

// SchemaEnum lists the values.
func (Needed) SchemaEnum() []string { return []string{string(Soft), string(Hard), string(No)} }

// SchemaEnum lists the values.
func (Managed) SchemaEnum() []string { return []string{string(Refuse), string(Allow)} }

// Default runs nothing: which tasks there are is told by the cluster's owner.
func Default() Config {
	return Config{
		Tasks: map[string]Task{}, ManagedCapacity: Refuse,
		Splay: when.Duration(15 * time.Minute), StaysUp: when.Duration(time.Minute),
	}
}

// definition: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
var definition = pattern.New(`^([A-Za-z0-9_-]{1,255})(:([1-9][0-9]{0,8})|@newest)$`)

// Family of the task definition, "" if that is wrong.
func (t Task) Family() string {
	if m := definition.FindStringSubmatch(t.Definition); m != nil {
		return m[1]
	}
	return ""
}

// revision is the one that is pinned; 0: the newest.
func (t Task) revision() int {
	m := definition.FindStringSubmatch(t.Definition)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[3])
	return n
}

func (t Task) service() string { return cmp.Or(t.Service, t.Family()) }

// Leaving are the families that leave a node that drains in a manner.
func (c Config) Leaving(how Leave) (families []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Tasks)) {
		if t := c.Tasks[name]; cmp.Or(t.Leave, Last) == how && t.Family() != "" {
			families = append(families, t.Family())
		}
	}
	return families
}

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	if time.Duration(c.StaysUp) < time.Second {
		report("stays_up", fmt.Sprintf("%v is too short: expected 1s or more", c.StaysUp))
	}
	by := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Tasks)) {
		t, at := c.Tasks[name], "tasks."+name
		family := t.Family()
		switch {
		case family == "":
			report(at+".task_definition", fmt.Sprintf("%q names no task definition: expected FAMILY:REVISION, or FAMILY@newest", t.Definition))
		case by[family] != "":
			report(at+".task_definition", fmt.Sprintf("tasks.%s has family %s too: a container would count for both", by[family], family))
		default:
			by[family] = name
		}
		if t.Service != "" && t.Mode != Service {
			report(at+".service", "it goes with mode: service")
		}
		for _, pattern := range slices.Concat(t.Recognise.Images, t.Recognise.Containers) {
			if _, err := path.Match(pattern, ""); err != nil || strings.Trim(pattern, "*") == "" {
				report(at+".recognise", fmt.Sprintf("%q is no pattern that tells a container from others", pattern))
			}
		}
		for variable := range t.Environment {
			if !variableName.MatchString(variable) {
				report(at+".environment", fmt.Sprintf("%q is no name of a variable", variable))
			}
		}
	}
}

var variableName = pattern.New(`^[A-Za-z_][A-Za-z0-9_]*$`)
