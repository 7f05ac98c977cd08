package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TaskDefinition is what tasks are made from, and how such a task behaves.
type TaskDefinition struct {
	Family    string `yaml:"family"`
	Revision  int    `yaml:"revision"`   // 0: 1
	MemoryMiB int    `yaml:"memory_mib"` // 0: 256
	// StartTakes is how long a task takes to be RUNNING, half of it
	// PROVISIONING and half of it PENDING; 0: it runs at once.
	StartTakes time.Duration `yaml:"start_takes"`
	// StopTakes is how long it goes on after SIGTERM. SIGKILL ends it after
	// StopTimeout: one that ignores SIGTERM has more than that.
	StopTakes   time.Duration `yaml:"stop_takes"`
	StopTimeout time.Duration `yaml:"stop_timeout"` // 0: the agent's default of 30 s
	// Sidecars are containers beside the essential one, which has the family's
	// name: they end at once when they are told to, and are told when that one
	// has ended, as is a log router.
	Sidecars []string `yaml:"sidecars"`

	// RunsFor is how long the essential container runs before it ends by itself;
	// 0: until it is stopped. It ends so with ExitCode.
	RunsFor  time.Duration `yaml:"runs_for"`
	ExitCode int           `yaml:"exit_code"`
	// Fails is why no task of it ever runs: it is STOPPED instead when it should
	// be RUNNING, or after a second, for this reason, as in
	// "CannotPullContainerError: ...".
	Fails string `yaml:"fails"`
	// RestartPolicy has the agent start the essential container anew when it
	// ends, in a task that stays RUNNING. That takes RestartTakes. However often
	// it ends: restartAttemptPeriod is as if it were over.
	// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-restart-policy.html
	RestartPolicy bool          `yaml:"restart_policy"`
	RestartTakes  time.Duration `yaml:"restart_takes"`
	// Roles are the ARNs of its task role and its execution role, which whoever
	// starts a task must be allowed to pass.
	Roles []string `yaml:"roles"`
}

func (d TaskDefinition) withDefaults() TaskDefinition {
	d.Revision, d.MemoryMiB = cmp.Or(d.Revision, 1), cmp.Or(d.MemoryMiB, 256)
	// ECS_CONTAINER_STOP_TIMEOUT: aws/amazon-ecs-agent:README.md
	d.StopTimeout = cmp.Or(d.StopTimeout, 30*time.Second)
	return d
}

// name is family:revision.
func (d TaskDefinition) name() string { return fmt.Sprintf("%s:%d", d.Family, d.Revision) }

// containers are the names of its containers, the essential one's first.
func (d TaskDefinition) containers() []string { return append([]string{d.Family}, d.Sidecars...) }

// AddTaskDefinition registers a task definition, for StartTask. One with the
// family and revision of another takes its place, and is ACTIVE.
func (w *World) AddTaskDefinition(d TaskDefinition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.define(d.withDefaults())
}

func (w *World) define(d TaskDefinition) {
	w.ecs.definitions = slices.DeleteFunc(w.ecs.definitions, func(old TaskDefinition) bool { return old.name() == d.name() })
	w.ecs.definitions = append(w.ecs.definitions, d)
	delete(w.ecs.inactive, d.name())
}

// DeregisterTaskDefinition makes a revision INACTIVE: no task can be started from
// it any more, and those that run go on.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeregisterTaskDefinition.html
func (w *World) DeregisterTaskDefinition(family string, revision int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.deregisterDefinition(fmt.Sprintf("%s:%d", family, revision))
}

func (w *World) deregisterDefinition(name string) error {
	d, known := w.findDefinition(name)
	if !known || d.name() != name {
		return fmt.Errorf("cannot deregister task definition %s: there is none", name)
	}
	if w.ecs.inactive == nil {
		w.ecs.inactive = map[string]bool{}
	}
	w.ecs.inactive[name] = true
	return nil
}

// findDefinition finds a task definition by family, family:revision or ARN;
// without a revision it is the latest that is ACTIVE.
func (w *World) findDefinition(name string) (found TaskDefinition, ok bool) {
	family, revision, exact := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
	for _, d := range w.ecs.definitions {
		latest := !exact && d.Revision > found.Revision && !w.ecs.inactive[d.name()]
		if d.Family == family && (exact && strconv.Itoa(d.Revision) == revision || latest) {
			found, ok = d, true
		}
	}
	return found, ok
}
