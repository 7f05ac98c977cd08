package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Service is a service of the node's cluster, and how its tasks behave.
type Service struct {
	Name string         `yaml:"name"`
	Task TaskDefinition `yaml:"task"` // without a family: the service's name
	// Desired is how many tasks there should be; 0: 1. A daemon service has one
	// on each instance.
	Desired int `yaml:"desired"`
	// Elsewhere is how many of them run on other instances when it starts.
	Elsewhere int  `yaml:"elsewhere"`
	Daemon    bool `yaml:"daemon"`
	// Of the deployment configuration; nil: 100 and 200, of a daemon service 0
	// and 100.
	MinimumHealthyPercent *int `yaml:"minimum_healthy_percent"`
	MaximumPercent        *int `yaml:"maximum_percent"`
	// DeregistrationDelay is that of its load balancer; 0: it has none.
	DeregistrationDelay time.Duration `yaml:"deregistration_delay"`
	// ReplacementTakes is how long a task that the scheduler starts takes to be
	// RUNNING and healthy.
	ReplacementTakes time.Duration `yaml:"replacement_takes"`
	// NoRoom: no instance has room for another task of it.
	NoRoom bool `yaml:"no_room"`
}

// service is a Service in its cluster.
type service struct {
	Service
	deployment string // "ecs-svc/" and 19 digits
	createdAt  time.Time
}

func (s Service) withDefaults() Service {
	s.Desired = max(s.Desired, 1)
	if s.Task.Family == "" {
		s.Task.Family = s.Name
	}
	s.Task = s.Task.withDefaults()
	// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
	least, most := 100, 200
	if s.Daemon {
		least, most = 0, 100
	}
	if s.MinimumHealthyPercent == nil {
		s.MinimumHealthyPercent = &least
	}
	if s.MaximumPercent == nil {
		s.MaximumPercent = &most
	}
	return s
}

// SetService makes a service in the node's cluster, with tasks on the node, or
// changes the one of that name, which keeps the tasks it has. Where there is no
// other node to have its other tasks, one of which no more is known joins the
// cluster.
func (n *Node) SetService(s Service) error {
	w := n.world
	w.mu.Lock()
	defer w.mu.Unlock()
	here := n.agent.registered
	switch {
	case here == nil:
		return fmt.Errorf("cannot set service %s: %s is not registered", s.Name, n.instance.ID)
	case s.Name == "" || s.Elsewhere > max(s.Desired, 1):
		return fmt.Errorf("cannot set service %q: it has no name, or %d of its %d tasks elsewhere", s.Name, s.Elsewhere, s.Desired)
	}
	s = s.withDefaults()
	w.define(s.Task)
	w.changeECS(func() {
		in := w.clusters[here.cluster]
		if old := in.findService(s.Name); old != nil {
			old.Service = s
			return
		}
		made := &service{Service: s, deployment: "ecs-svc/" + w.randomText(19, "123456789"), createdAt: w.ecs.settled}
		in.services = append(in.services, made)
		count := s.Desired - s.Elsewhere
		if s.Daemon {
			count = 1
		}
		for range count {
			w.makeTask(here, s.Task, s.Task.StartTakes, made, made.deployment)
		}
		for range s.Elsewhere {
			w.makeTask(w.elsewhere(in, here), s.Task, s.Task.StartTakes, made, made.deployment)
		}
	})
	return nil
}

func (c *cluster) findService(name string) *service {
	i := slices.IndexFunc(c.services, func(s *service) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return c.services[i]
}

// elsewhere is an instance of the cluster, other than here, that takes tasks.
// It is of a node that is in no list of nodes if there is no other.
func (w *World) elsewhere(in *cluster, here *containerInstance) *containerInstance {
	for _, c := range in.instances {
		if c != here && c.takesTasks() {
			return c
		}
	}
	i := Instance{ID: "i-0" + w.randomHex(16), Region: w.instance.Region, Account: w.instance.Account}
	n := &Node{world: w, instance: i.withDefaults(), tags: map[string]string{}, tokens: map[string]time.Time{}}
	return n.register(in, in.name)
}

func (c *containerInstance) takesTasks() bool {
	return c.status == facts.StatusActive && c.node.agent.running
}

// schedule is the service scheduler, at the time until which the world is
// settled: it does one thing after another until there is nothing to do.
func (w *World) schedule() {
	for moved := true; moved; {
		moved = false
		for _, name := range slices.Sorted(maps.Keys(w.clusters)) {
			in := w.clusters[name]
			for _, s := range in.services {
				if s.Daemon {
					moved = w.scheduleDaemon(in, s) || moved
				} else {
					moved = w.scheduleReplicas(in, s) || moved
				}
			}
		}
	}
}

// scheduleReplicas does one thing for a service, and reports whether there was
// one to do. What happens on an instance that is DRAINING:
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-draining.html
// The 40 s that the scheduler waits before a task without a health check counts
// as healthy (API_DeploymentConfiguration) are part of ReplacementTakes.
func (w *World) scheduleReplicas(in *cluster, s *service) bool {
	at := w.ecs.settled
	var staying, leaving []*task
	running, all := 0, 0
	for _, t := range w.ecs.tasks {
		status := t.status(at)
		if t.service != s || status == facts.TaskStopped {
			continue
		}
		// One that is being stopped counts too: "if the maximum is 100%, then
		// replacement tasks can't start until the draining tasks have stopped"
		// (API_UpdateContainerInstancesState).
		all++
		switch {
		case t.desired(at) == facts.TaskStopped:
			continue
		case t.on.status == facts.StatusDraining:
			leaving = append(leaving, t)
		default:
			staying = append(staying, t)
		}
		if status == taskRunning {
			running++
		}
	}
	if len(staying) > s.Desired {
		leaving = append(leaving, staying[len(staying)-1])
	}
	minimum := (s.Desired**s.MinimumHealthyPercent + 99) / 100
	for _, t := range leaving {
		if t.status(at) != taskRunning || running > minimum {
			t.halt(at, "ServiceSchedulerInitiated", s.why())
			return true
		}
	}
	if len(staying) >= s.Desired || all >= s.Desired**s.MaximumPercent/100 || s.NoRoom {
		return false
	}
	w.makeTask(w.place(in, s), s.Task, s.ReplacementTakes, s, s.deployment)
	return true
}

// why is the reason of a task that its service stops.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
func (s *service) why() string {
	return "Scaling activity initiated by (deployment " + s.deployment + ")"
}

// place is the instance that has the fewest tasks of the service.
func (w *World) place(in *cluster, s *service) *containerInstance {
	count := map[*containerInstance]int{}
	for _, t := range w.ecs.tasks {
		if t.service == s && t.desired(w.ecs.settled) == taskRunning {
			count[t.on]++
		}
	}
	var best *containerInstance
	for _, c := range in.instances {
		if c.takesTasks() && (best == nil || count[c] < count[best]) {
			best = c
		}
	}
	if best == nil {
		best = w.elsewhere(in, nil)
	}
	return best
}

// scheduleDaemon is scheduleReplicas for a daemon service. Its task is "the
// last task to stop after all replica tasks are stopped"
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html),
// where stopped means no longer RUNNING: aws/amazon-ecs-agent issue 3829.
func (w *World) scheduleDaemon(in *cluster, s *service) bool {
	at := w.ecs.settled
	present, busy := map[*containerInstance]bool{}, map[*containerInstance]bool{}
	for _, t := range w.ecs.tasks {
		switch status := t.status(at); {
		case t.service == s && status != facts.TaskStopped:
			present[t.on] = true
		case t.service != nil && !t.service.Daemon && status == taskRunning:
			busy[t.on] = true
		}
	}
	for _, t := range w.ecs.tasks {
		if t.service == s && t.on.status == facts.StatusDraining && t.stop.IsZero() && (!busy[t.on] || t.status(at) != taskRunning) {
			t.halt(at, "ServiceSchedulerInitiated", s.why())
			return true
		}
	}
	for _, c := range in.instances {
		if c.takesTasks() && !present[c] && !s.NoRoom {
			w.makeTask(c, s.Task, s.ReplacementTakes, s, s.deployment)
			return true
		}
	}
	return false
}

// counts are the service's desiredCount, runningCount and pendingCount.
func (w *World) counts(in *cluster, s *service, now time.Time) (desired, running, pending int) {
	for _, t := range w.ecs.tasks {
		if t.service != s {
			continue
		}
		switch t.status(now) {
		case taskRunning:
			running++
		case taskProvisioning, taskPending:
			pending++
		}
	}
	desired = s.Desired
	if s.Daemon {
		desired = 0
		for _, c := range in.instances {
			if c.status == facts.StatusActive {
				desired++
			}
		}
	}
	return desired, running, pending
}
