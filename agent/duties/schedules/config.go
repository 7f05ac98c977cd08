package schedules

import (
	"cmp"
	"encoding"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Config says what runs at set times.
type Config struct {
	Items  map[string]Schedule `yaml:"items" help:"What runs at set times, by a name of your choice: 1 to 20 lower-case letters, digits and hyphens."`
	Leases Leases              `yaml:"leases" help:"Where in S3 the nodes of a cluster agree which one runs what runs once per cluster. A lifecycle rule must remove objects, after 7 days or more."`
}

// Leases is where leases are.
type Leases struct {
	Bucket string `yaml:"bucket" help:"Name of the bucket."`
	Prefix string `yaml:"prefix" help:"What the keys begin with; CLUSTER/NAME/TICK.json follows."`
	Region string `yaml:"region" help:"Region of the bucket. Empty: that of the node."`
}

// Schedule is one thing that runs at set times: exactly one of Command, Exec and
// Task.
type Schedule struct {
	Cron        string        `yaml:"cron" help:"Minute, hour, day, month and weekday, such as '30 3 * * *', or @hourly, @daily, @weekly, @monthly, @yearly. A time of day that clocks show twice counts once; one that they jump over comes as they do."`
	Zone        Zone          `yaml:"timezone" help:"Time zone of cron, such as Europe/Berlin."`
	Splay       when.Duration `yaml:"splay" help:"Each node begins up to this much later, at its own time. What runs once per cluster is spread over 20s at least, so that nodes do not ask S3 at once."`
	Command     []string      `yaml:"command" help:"A command that is run on the host as root, and its arguments; an absolute path and no shell. What it leaves running is ended with it."`
	Exec        Exec          `yaml:"exec" help:"A command that is run in a container of this node, which another task has running. What it leaves running there is ended with it."`
	Task        Task          `yaml:"task" help:"A task of ECS that is started on this node. When it has stopped, its containers are removed."`
	Timeout     when.Duration `yaml:"timeout" help:"How long it may run. It then gets SIGTERM, and SIGKILL 10s later; a task is told to stop."`
	Overlap     Overlap       `yaml:"overlap" help:"What a tick does while the run before is under way: skip leaves it out, queue has it wait (one at most), replace ends that run first."`
	OncePer     Scope         `yaml:"once_per" help:"node: each node runs it. cluster: one node of the cluster does, whichever gets the lease; with exec, one that has such a container."`
	StartWithin when.Duration `yaml:"start_within" help:"How late it may begin, while S3, Docker or ECS do not answer or no container is there. Beyond that the tick is missed."`
	Missed      Missed        `yaml:"missed" help:"What becomes of ticks that came while the node slept, was off, drained, was held, or its clock jumped over them: skip leaves them out, run-once runs the latest of them, once. A run that began is never begun again."`
	Memory      int           `yaml:"memory" help:"MiB of memory that a command may take on the host."`
}

// Exec is a command in a running container.
type Exec struct {
	Family    string   `yaml:"family" help:"Family of the task definition. Of several such tasks it is the one that was started last."`
	Container string   `yaml:"container" help:"Name of the container in the task definition. Empty: the one with the name of the family, or the only one."`
	Command   []string `yaml:"command" help:"The command and its arguments, no shell."`
}

// Task is a task that is started.
type Task struct {
	Definition string `yaml:"task_definition" help:"FAMILY:REVISION, or FAMILY, of which ECS takes the newest active revision."`
}

// Zone is the name of a time zone. "" is UTC.
type Zone string

// Overlap is what a tick does while the run before is under way. "" is Skip.
type Overlap string

// Scope is what a tick is run once for. "" is PerNode.
type Scope string

// Missed is what becomes of ticks that nobody was there for. "" is MissedSkip.
type Missed string

// The values.
const (
	Skip    Overlap = "skip"
	Queue   Overlap = "queue"
	Replace Overlap = "replace"

	PerNode    Scope = "node"
	PerCluster Scope = "cluster"

	MissedSkip Missed = "skip"
	RunOnce    Missed = "run-once"
)

var (
	_ encoding.TextUnmarshaler = (*Zone)(nil)
	_ encoding.TextUnmarshaler = (*Overlap)(nil)
	_ encoding.TextUnmarshaler = (*Scope)(nil)
	_ encoding.TextUnmarshaler = (*Missed)(nil)
)

func oneOf[T ~string](to *T, b []byte, what string, values ...T) error {
	if !slices.Contains(values, T(b)) {
		return fmt.Errorf("%q is no %s", b, what)
	}
	*to = T(b)
	return nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (z *Zone) UnmarshalText(b []byte) error {
	// "Local" is whatever the process happens to have.
	if _, err := time.LoadLocation(string(b)); err != nil || string(b) == "Local" {
		return fmt.Errorf("%q is no time zone", b)
	}
	*z = Zone(b)
	return nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (o *Overlap) UnmarshalText(b []byte) error {
	return oneOf(o, b, "way to deal with an overlap", Skip, Queue, Replace)
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Scope) UnmarshalText(b []byte) error { return oneOf(s, b, "scope", PerNode, PerCluster) }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *Missed) UnmarshalText(b []byte) error {
	return oneOf(m, b, "way to deal with missed ticks", MissedSkip, RunOnce)
}

// MarshalText implements [encoding.TextMarshaler].
func (z Zone) MarshalText() ([]byte, error) { return []byte(z.name()), nil }

// MarshalText implements [encoding.TextMarshaler].
func (o Overlap) MarshalText() ([]byte, error) { return []byte(cmp.Or(o, Skip)), nil }

// MarshalText implements [encoding.TextMarshaler].
func (s Scope) MarshalText() ([]byte, error) { return []byte(cmp.Or(s, PerNode)), nil }

// MarshalText implements [encoding.TextMarshaler].
func (m Missed) MarshalText() ([]byte, error) { return []byte(cmp.Or(m, MissedSkip)), nil }

// Expected is what a message says in place of another value.
func (Zone) Expected() string { return `a time zone such as "UTC" or "Europe/Berlin"` }

// Expected is what a message says in place of another value.
func (Overlap) Expected() string { return `"skip", "queue" or "replace"` }

// Expected is what a message says in place of another value.
func (Scope) Expected() string { return `"node" or "cluster"` }

// Expected is what a message says in place of another value.
func (Missed) Expected() string { return `"skip" or "run-once"` }

// SchemaEnum lists the values.
func (Overlap) SchemaEnum() []string { return []string{string(Skip), string(Queue), string(Replace)} }

// SchemaEnum lists the values.
func (Scope) SchemaEnum() []string { return []string{string(PerNode), string(PerCluster)} }

// SchemaEnum lists the values.
func (Missed) SchemaEnum() []string { return []string{string(MissedSkip), string(RunOnce)} }

func (z Zone) name() string { return string(cmp.Or(z, "UTC")) }

// Default runs nothing.
func Default() Config {
	return Config{Items: map[string]Schedule{}, Leases: Leases{Prefix: "leases/"}}
}

// SetDefaults is what a schedule is that says nothing else.
func (s *Schedule) SetDefaults() {
	s.Zone, s.Overlap, s.OncePer, s.Missed = "UTC", Skip, PerNode, MissedSkip
	s.Timeout, s.StartWithin, s.Memory = when.Duration(time.Hour), when.Duration(10*time.Minute), 256
}

const (
	// leaseKept is the age up to which a tick is asked a lease for: S3 has those
	// of other nodes longer than that.
	leaseKept = 24 * time.Hour
	// leaseSpread is what nodes spread over at least, before they ask for a lease.
	leaseSpread = 20 * time.Second
	leastMemory = 32
	maxItems    = 1000
	maxTimeout  = 7 * 24 * time.Hour
)

var (
	namePattern = pattern.New(`^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$`)
	// definition: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
	definition = pattern.New(`^[A-Za-z0-9_-]{1,255}(:[1-9][0-9]{0,8})?$`)
	// bucketName: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
	bucketName = pattern.New(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
)

// ValidName reports whether something may be the name of a schedule.
func ValidName(name string) bool { return namePattern.MatchString(name) }

// schedule is the ticks.
func (s Schedule) schedule() (when.Schedule, error) {
	loc, err := time.LoadLocation(s.Zone.name())
	if err != nil {
		return nil, fmt.Errorf("cannot tell the time in %s: %w", s.Zone, err)
	}
	return when.Cron(s.Cron, loc)
}

// ticks identifies when it runs.
func (s Schedule) ticks() string { return s.Cron + " in " + s.Zone.name() }

func (s Schedule) perCluster() bool { return s.OncePer == PerCluster }

// does says what is run, in a few words.
func (s Schedule) does() string {
	switch {
	case len(s.Exec.Command) > 0:
		return path.Base(s.Exec.Command[0]) + " in " + s.Exec.Family
	case s.Task.Definition != "":
		return "task " + s.Task.Definition
	case len(s.Command) > 0:
		return path.Base(s.Command[0])
	}
	return ""
}

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	if c.Leases.Bucket != "" && !bucketName.MatchString(c.Leases.Bucket) {
		report("leases.bucket", fmt.Sprintf("%q is no name of a bucket", c.Leases.Bucket))
	}
	if n := len(c.Items); n > maxItems {
		report("items", fmt.Sprintf("%d are too many: expected at most %d", n, maxItems))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Items)) {
		s, at := c.Items[name], "items."+name
		say := func(setting, format string, args ...any) { report(at+setting, fmt.Sprintf(format, args...)) }
		if !ValidName(name) {
			say("", "%q is no name of a schedule: expected 1 to 20 lower-case letters, digits and hyphens", name)
		}
		s.validateAction(say)
		ticks, err := s.schedule()
		if err != nil {
			say(".cron", "%v", err)
		} else if least := closest(ticks); time.Duration(s.spread()) >= least {
			say(".splay", "nodes are spread over %v, and ticks may be %v apart: expected less", s.spread(), least)
		}
		if s.perCluster() && c.Leases.Bucket == "" {
			say(".once_per", "cluster needs a bucket for leases: set schedules.leases.bucket")
		}
		if t := time.Duration(s.Timeout); t < time.Second || t > maxTimeout {
			say(".timeout", "%v is out of range: expected 1s to %v", s.Timeout, maxTimeout)
		}
		if w := time.Duration(s.StartWithin); w < 10*time.Second || w > leaseKept {
			say(".start_within", "%v is out of range: expected 10s to %v", s.StartWithin, leaseKept)
		}
		if s.Memory < leastMemory {
			say(".memory", "%d MiB is too little: expected %d or more", s.Memory, leastMemory)
		}
	}
}

func (s Schedule) validateAction(say func(setting, format string, args ...any)) {
	hasExec := s.Exec.Family != "" || s.Exec.Container != "" || len(s.Exec.Command) > 0
	actions := 0
	for _, there := range []bool{len(s.Command) > 0, hasExec, s.Task.Definition != ""} {
		if there {
			actions++
		}
	}
	if actions != 1 {
		say("", "it has %d of command, exec and task: expected exactly one", actions)
	}
	if len(s.Command) > 0 && !path.IsAbs(s.Command[0]) {
		say(".command", "%q is no absolute path", s.Command[0])
	}
	for _, argv := range [][]string{s.Command, s.Exec.Command} {
		if slices.ContainsFunc(argv, func(word string) bool { return strings.ContainsRune(word, 0) }) || len(argv) > 0 && argv[0] == "" {
			say("", "%q is no command", argv)
		}
	}
	if hasExec && (s.Exec.Family == "" || len(s.Exec.Command) == 0) {
		say(".exec", "it needs family and command")
	}
	if d := s.Task.Definition; d != "" && !definition.MatchString(d) {
		say(".task.task_definition", "%q names no task definition: expected FAMILY:REVISION or FAMILY", d)
	}
}

// spread is the time over which nodes begin.
func (s Schedule) spread() time.Duration {
	if s.perCluster() {
		return max(time.Duration(s.Splay), leaseSpread)
	}
	return time.Duration(s.Splay)
}

// closest is the least time between ticks, of the first ones after a fixed date.
func closest(s when.Schedule) time.Duration {
	least := time.Duration(1<<63 - 1)
	at := s.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC))
	for range 100 {
		next := s.Next(at)
		if next.IsZero() {
			break
		}
		least, at = min(least, next.Sub(at)), next
	}
	return least
}
