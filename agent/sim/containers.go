package sim

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// dockerState is the node's Docker Engine.
type dockerState struct {
	stopped    bool
	containers []*container // in the order in which they were made
	made       int
	removed    []ContainerState
}

// container is a container as its engine knows it. What happens to it is in its
// times, as with a task. It is made when it starts for the first time.
type container struct {
	number     int // among those of its node
	id         string
	name       string // in its task definition
	dockerName string
	image      string
	labels     map[string]string
	task       *task // nil: of others than ECS
	stopTakes  time.Duration

	past []span // before it was started anew
	span
	removed time.Time
}

// span is a container from a start to the next.
type span struct {
	started time.Time
	signal  time.Time // its first SIGTERM; never in the future
	ended   time.Time // before it started: it never does
	killed  bool      // by SIGKILL, or as the power went
	code    int       // that it ends with by itself
}

// ContainerSpec is a container that others than ECS run.
type ContainerSpec struct {
	Name   string            `yaml:"name"`
	Image  string            `yaml:"image"`
	Labels map[string]string `yaml:"labels"`
	// StopTakes is how long it goes on after SIGTERM.
	StopTakes time.Duration `yaml:"stop_takes"`
}

// ContainerState is what became of a container.
type ContainerState struct {
	ID         string
	DockerName string
	TaskARN    string // of a container of a task, as are the next two
	Family     string
	Name       string

	StartedAt time.Time // for the last time
	Restarts  int
	SignalAt  time.Time // its first SIGTERM; zero: it got none
	EndedAt   time.Time // zero: it runs
	Killed    bool      // it did not end by itself
	ExitCode  int
}

// Containers are all that this node ever ran, also those that are removed, in
// the order in which they started.
func (n *Node) Containers() []ContainerState {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	now := n.world.settle()
	all := slices.Clone(n.docker.removed)
	for _, c := range n.docker.containers {
		if c.exists(now) {
			all = append(all, c.state(now))
		}
	}
	slices.SortStableFunc(all, func(a, b ContainerState) int { return a.StartedAt.Compare(b.StartedAt) })
	return all
}

// RunContainer runs a container that ECS has no part in, and returns its id.
func (n *Node) RunContainer(s ContainerSpec) string {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	c := &container{id: n.world.randomHex(64), dockerName: s.Name, image: s.Image, labels: map[string]string{}, stopTakes: s.StopTakes}
	maps.Copy(c.labels, s.Labels)
	n.world.changeECS(func() {
		c.started = n.world.ecs.settled
		n.addContainer(c)
	})
	return c.id
}

// RemoveContainer kills a container if it runs, and removes it, as docker rm -f
// does: a task whose essential container it is ends, whatever its restart policy.
// id is also the start of an id, or a name.
func (n *Node) RemoveContainer(id string) error {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	now := n.world.settle()
	c := n.findContainer(id, now)
	if c == nil {
		return fmt.Errorf("cannot remove container %s: there is none on %s", id, n.instance.ID)
	}
	n.world.changeECS(func() {
		c.end(now, true)
		n.forget(c, now)
	})
	return nil
}

// PowerOff is the end of the instance: whatever runs on it is gone at once, and
// nobody is left to tell ECS. Its IMDS still answers.
func (n *Node) PowerOff() {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.world.changeECS(func() {
		n.agent.running, n.docker.stopped = false, true
		for _, c := range n.docker.containers {
			c.end(n.world.ecs.settled, true)
		}
	})
	n.agent.registered.changed()
}

func (n *Node) addContainer(c *container) {
	c.number = n.docker.made
	n.docker.made++
	n.docker.containers = append(n.docker.containers, c)
}

// forget removes a container that does not run.
func (n *Node) forget(c *container, at time.Time) {
	c.removed = at
	n.docker.containers = slices.DeleteFunc(n.docker.containers, func(one *container) bool { return one == c })
	if c.exists(at) {
		n.docker.removed = append(n.docker.removed, c.state(at))
	}
}

var notInDockerName = regexp.MustCompile(`[^A-Za-z0-9-]+`)

// addContainers makes the containers of a task.
func (t *task) addContainers(w *World) {
	for _, name := range t.definition.containers() {
		t.containers = append(t.containers, t.addContainer(w, name, t.running))
	}
}

// addContainer makes one, with the name and labels that the agent gives it:
// aws/amazon-ecs-agent:agent/engine/docker_task_engine.go
func (t *task) addContainer(w *World, name string, started time.Time) *container {
	d := t.definition
	c := &container{
		id: w.randomHex(64), name: name, image: imageOf(name), task: t,
		dockerName: fmt.Sprintf("ecs-%s-%d-%s-%s", d.Family, d.Revision, notInDockerName.ReplaceAllString(name, ""), t.id[:20]),
		labels: map[string]string{
			facts.LabelTaskARN: t.arn(), facts.LabelContainerName: name, facts.LabelFamily: d.Family,
			facts.LabelRevision:         strconv.Itoa(d.Revision),
			"com.amazonaws.ecs.cluster": t.on.spelling,
		},
	}
	c.started = started
	if name == d.Family {
		c.stopTakes, c.span = d.StopTakes, d.run(started)
	}
	t.on.node.addContainer(c)
	return c
}

// run is the essential container from a start on, as long as nobody stops it.
func (d TaskDefinition) run(started time.Time) span {
	s := span{started: started}
	if d.RunsFor > 0 && !started.IsZero() {
		s.ended, s.code = started.Add(d.RunsFor), d.ExitCode
	}
	return s
}

func imageOf(name string) string { return name + ":latest" }

// restart starts the essential container anew: the same one, with its id, as
// does the agent (handleContainerChange in
// aws/amazon-ecs-agent:agent/engine/task_manager.go).
func (t *task) restart(at time.Time) {
	main := t.containers[0]
	main.past = append(main.past, main.span)
	main.span = t.definition.run(at.Add(t.definition.RestartTakes))
}

func (t *task) removeContainers(at time.Time) {
	for _, c := range t.containers {
		t.on.node.forget(c, at)
	}
}

// exists reports whether it has started by a time, whatever became of it.
func (c *container) exists(at time.Time) bool { return len(c.past) > 0 || c.begun(at) }

func (s span) begun(at time.Time) bool {
	return has(s.started, at) && (s.ended.IsZero() || !s.ended.Before(s.started))
}

// created is when it started for the first time.
func (c *container) created() time.Time {
	if len(c.past) > 0 {
		return c.past[0].started
	}
	return c.started
}

// last is what a time sees of it: the last span that has begun.
func (c *container) last(at time.Time) span {
	if n := len(c.past); n > 0 && !c.begun(at) {
		return c.past[n-1]
	}
	return c.span
}

func (c *container) runs(at time.Time) bool { return has(c.started, at) && !has(c.ended, at) }

// stop sends SIGTERM and, unless timeout is negative, SIGKILL after it. The
// earliest end holds of those that several stops come to.
func (c *container) stop(at time.Time, timeout time.Duration) {
	if !c.runs(at) {
		return
	}
	if c.signal.IsZero() {
		c.signal = at
	}
	end, killed := c.signal.Add(c.stopTakes), false
	if last := at.Add(timeout); timeout >= 0 && last.Before(end) {
		end, killed = last, true
	}
	if c.ended.IsZero() || end.Before(c.ended) {
		c.ended, c.killed, c.code = end, killed, 0
	}
}

// end ends it now, or keeps it from starting.
func (c *container) end(at time.Time, killed bool) {
	if !has(c.ended, at) {
		c.killed = killed && c.runs(at)
		c.ended, c.code = at, 0
	}
}

func (c *container) state(at time.Time) ContainerState {
	last := c.last(at)
	s := ContainerState{
		ID: c.id, DockerName: c.dockerName, Name: c.name, TaskARN: c.labels[facts.LabelTaskARN], Family: c.labels[facts.LabelFamily],
		StartedAt: last.started, SignalAt: last.signal, Restarts: len(c.past),
	}
	if len(c.past) > 0 && !c.begun(at) {
		s.Restarts--
	}
	if has(last.ended, at) {
		s.EndedAt, s.Killed, s.ExitCode = last.ended, last.killed, last.exitCode()
	}
	return s
}
