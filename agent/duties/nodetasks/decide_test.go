package nodetasks

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
)

func TestWhatIsWrongWithTheConfigurationIsSaid(t *testing.T) {
	good := Task{Definition: "logspout:12"}
	for name, c := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"nothing":       {func(c *Config) {}, nil},
		"newest":        {func(c *Config) { c.Tasks["logspout"] = Task{Definition: "logspout@newest"} }, nil},
		"no revision":   {func(c *Config) { c.Tasks["logspout"] = Task{Definition: "logspout"} }, []string{"tasks.logspout.task_definition"}},
		"latest":        {func(c *Config) { c.Tasks["logspout"] = Task{Definition: "logspout:latest"} }, []string{"tasks.logspout.task_definition"}},
		"revision zero": {func(c *Config) { c.Tasks["logspout"] = Task{Definition: "logspout:0"} }, []string{"tasks.logspout.task_definition"}},
		"twice":         {func(c *Config) { c.Tasks["other"] = Task{Definition: "logspout:3"} }, []string{"tasks.other.task_definition"}},
		"a service beside start-task": {func(c *Config) {
			c.Tasks["logspout"] = Task{Definition: "logspout:12", Service: "logs"}
		}, []string{"tasks.logspout.service"}},
		"a pattern for everything": {func(c *Config) {
			c.Tasks["logspout"] = Task{Definition: "logspout:12", Recognise: Recognise{Images: []string{"*"}}}
		}, []string{"tasks.logspout.recognise"}},
		"a variable": {func(c *Config) {
			c.Tasks["logspout"] = Task{Definition: "logspout:12", Environment: map[string]render.Text{"A B": {}}}
		}, []string{"tasks.logspout.environment"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := Default()
			config.Tasks["logspout"] = good
			c.change(&config)
			var got []string
			config.Validate(func(path, _ string) { got = append(got, path) })
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestThePauseGrowsFromOneSecondToFiveMinutes(t *testing.T) {
	for n, most := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		most *= time.Second
		if got := pause("i-1", n); got > most || got < most*3/4 {
			t.Errorf("after %d times: %v, want %v less a quarter at most", n, got, most)
		}
	}
	if pause("i-1", 100) > maxPause {
		t.Error("the pause overflows")
	}
	if pause("i-1", 5) == pause("i-2", 5) {
		t.Error("two nodes have the same pause")
	}
}

func TestTasksAreTakenTogetherOldestFirst(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	container := func(id, arn, name string, created int64) facts.Container {
		return facts.Container{ID: id, Created: at(created), Labels: map[string]string{
			facts.LabelTaskARN: arn, facts.LabelFamily: "logspout", facts.LabelContainerName: name, facts.LabelRevision: "3",
		}}
	}
	all, orphan := ofFamily("logspout", []facts.Container{
		container("c4", "new", "logspout", 90),
		container("c3", "old", "sidecar", 50),
		container("c2", "old", "logspout", 40),
		container("c1", "old", "~internal~ecs~pause", 30),
		{ID: "x", Labels: map[string]string{facts.LabelTaskARN: "other", facts.LabelFamily: "web"}},
		{ID: "y", Image: "gliderlabs/logspout"},
	}, []facts.Task{
		{ARN: "pending", Family: "logspout", Revision: 4, StartedBy: "ecsnode/i-1", Last: "PENDING", Desired: "RUNNING"},
		{ARN: "old", Family: "logspout", Revision: 3, Last: "RUNNING", Desired: "RUNNING"},
		{ARN: "web", Family: "web"},
		{ARN: "leaving", Family: "logspout", Revision: 2, Last: "RUNNING", Desired: facts.TaskStopped},
	})
	var got []string
	for _, one := range all {
		state := "down"
		if one.up {
			state = "up"
		}
		if one.leaving {
			state += " leaving"
		}
		got = append(got, one.arn+" "+one.container+" "+state)
	}
	want := []string{"old c2 up", "pending  down", "leaving  down leaving"}
	if !slices.Equal(got, want) || orphan != "c4" {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestContainersOfOthersAreRecognisedByPattern(t *testing.T) {
	containers := []facts.Container{
		{ID: "a", Name: "web", Image: "web:1"},
		{ID: "b", Name: "logspout", Image: "gliderlabs/logspout:v3"},
		{ID: "c", Name: "ecs-dd-1", Image: "datadog/agent:7", Labels: map[string]string{facts.LabelTaskARN: "arn"}},
	}
	for want, r := range map[string]Recognise{
		"b":  {Images: []string{"gliderlabs/logspout*"}},
		"a":  {Containers: []string{"we?"}},
		"":   {Images: []string{"datadog/agent:*"}}, // that is ECS's
		"b ": {Images: []string{"nothing"}, Containers: []string{"logspout"}},
	} {
		if got := r.find(containers); got != strings.TrimSpace(want) {
			t.Errorf("%+v finds %q, want %q", r, got, want)
		}
	}
}

func TestAManagedCapacityProviderPinsAnInstanceInOneWordOrAnother(t *testing.T) {
	if why := pins(facts.Capacity{Provider: "asg"}); why != "" {
		t.Error(why)
	}
	why := pins(facts.Capacity{Provider: "asg", ManagedScaling: true, ManagedDraining: true})
	for _, part := range []string{"capacity provider asg has managed scaling, managed draining", "mode: service", "managed_capacity: allow"} {
		if !strings.Contains(why, part) {
			t.Errorf("%q lacks %q", why, part)
		}
	}
}

// What became of a task and what is decided, on a view with answers.
func TestDecisions(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	config := Default()
	want := spec{Definition: "logspout:12", Container: "logspout"}
	former := spec{Definition: "logspout:11", Container: "logspout"}
	base := view{now: now, id: "i-1", family: "logspout", startedBy: "ecsnode/i-1", task: Task{Definition: "logspout:12"}, want: want, turn: true, config: config}
	none, nobody := []facts.Task{}, error(nil)
	known := answers{started: &none, managed: &facts.Capacity{}, active: &nobody}
	up := func(age time.Duration) []task {
		return []task{{arn: "a", revision: 12, created: now.Add(-age), container: "c", up: true}}
	}
	running := func(s spec, age time.Duration) record {
		return record{Family: "logspout", Running: run{ARN: "a", Spec: s, At: now.Add(-age), Ours: true, Seen: true}}
	}
	for name, c := range map[string]struct {
		view   func(v *view)
		record record
		do     action
		arn    string
		state  string
		again  time.Duration // at most; zero: not by itself
		check  func(t *testing.T, r record, s step)
	}{
		"nothing is there, and nobody knows how capacity is managed": {func(v *view) {}, record{}, askManaged, "", "", 0, nil},
		"nothing is there, and ECS was not asked":                    {func(v *view) { v.managed = known.managed }, record{}, askStarted, "", "", 0, nil},
		"nothing is there": {func(v *view) { v.answers = known }, record{}, start, "", facts.NodeTaskStarting, 0, nil},
		"it runs":          {func(v *view) { v.tasks = up(2 * time.Hour) }, running(want, 2*time.Hour), nothing, "", facts.NodeTaskRunning, 0, nil},
		"it has died": {func(v *view) { v.answers = known }, running(want, 2*time.Hour), start, "", facts.NodeTaskStarting, 0, func(t *testing.T, r record, s step) {
			if r.Ends != 1 || r.Dead != "a" || s.spec.hash() != want.hash() {
				t.Errorf("%+v %+v", r, s)
			}
		}},
		"it has died twice": {func(v *view) { v.answers = known }, record{Running: run{ARN: "a", Spec: want, Seen: true}, Ends: 1}, nothing, "", facts.NodeTaskWaiting, time.Second, nil},
		"a healthy hour forgets": {func(v *view) { v.tasks = up(time.Hour) }, record{Running: run{ARN: "a", Spec: want, Seen: true}, Ends: 7}, nothing, "", facts.NodeTaskRunning, 0, func(t *testing.T, r record, _ step) {
			if r.Ends != 0 || r.Good == nil || r.Good.hash() != want.hash() {
				t.Errorf("%+v", r)
			}
		}},
		"ECS has it and the agent not yet": {func(v *view) {
			v.answers = known
			v.started = &[]facts.Task{{ARN: "b", Family: "logspout", Revision: 12, StartedBy: "ecsnode/i-1", Last: "PENDING", Desired: "RUNNING"}}
		}, record{}, nothing, "", facts.NodeTaskStarting, appears, nil},
		"ECS still lists the dead one": {func(v *view) {
			v.answers = known
			v.started = &[]facts.Task{{ARN: "a", Family: "logspout", Revision: 12, Last: "RUNNING", Desired: "RUNNING"}}
		}, record{Dead: "a"}, start, "", facts.NodeTaskStarting, 0, func(t *testing.T, _ record, s step) {
			if !s.holds {
				t.Error("ECS is not said to hold its room")
			}
		}},
		"a call without an answer that took effect": {func(v *view) {
			v.answers = known
			v.started = &[]facts.Task{{ARN: "b", Family: "logspout", StartedBy: "ecsnode/i-1", Last: "PENDING", Desired: "RUNNING", Created: now.Add(-2 * time.Second)}}
		}, record{Calling: &call{want, now.Add(-3 * time.Second)}}, nothing, "", facts.NodeTaskStarting, askPause, func(t *testing.T, r record, _ step) {
			if r.Running.ARN != "b" || r.Calling != nil {
				t.Errorf("%+v", r)
			}
		}},
		"a call without an answer of which ECS does not tell yet": {func(v *view) { v.answers = known }, record{Calling: &call{want, now.Add(-3 * time.Second)}}, nothing, "", facts.NodeTaskStarting, settles, nil},
		"a call without an answer that took no effect":            {func(v *view) { v.answers = known }, record{Calling: &call{want, now.Add(-settles)}}, start, "", facts.NodeTaskStarting, 0, nil},
		"two run": {func(v *view) {
			v.tasks = append(up(time.Hour), task{arn: "b", created: now.Add(-time.Minute), up: true})
			v.all = &[]facts.Task{{ARN: "a"}, {ARN: "b", Group: "family:logspout"}}
		}, record{}, stop, "b", facts.NodeTaskRunning, 0, nil},
		"two run, one of a service": {func(v *view) {
			v.tasks = append(up(time.Hour), task{arn: "b", created: now.Add(-time.Minute), up: true})
			v.all = &[]facts.Task{{ARN: "a"}, {ARN: "b", Group: "service:logs"}}
		}, record{}, nothing, "", facts.NodeTaskRunning, 5 * time.Minute, func(t *testing.T, _ record, s step) {
			if s.warn == "" {
				t.Error("it is not said")
			}
		}},
		"another revision is wanted, later": {func(v *view) { v.tasks = up(2 * time.Hour) }, running(former, 2*time.Hour), nothing, "", facts.NodeTaskRunning, 15 * time.Minute, nil},
		"another revision is wanted now": {func(v *view) { v.tasks, v.answers = up(2*time.Hour), known }, func() record {
			r := running(former, 2*time.Hour)
			r.Change = change{Hash: want.hash(), Since: now.Add(-time.Hour)}
			return r
		}(), stop, "a", facts.NodeTaskRunning, 0, nil},
		"another revision is wanted, and another task is being replaced": {func(v *view) { v.tasks, v.answers, v.turn = up(2*time.Hour), known, false }, func() record {
			r := running(former, 2*time.Hour)
			r.Change = change{Hash: want.hash(), Since: now.Add(-time.Hour)}
			return r
		}(), nothing, "", facts.NodeTaskRunning, 5 * time.Second, nil},
		"a new revision that ended early for the third time": {func(v *view) { v.answers = known }, func() record {
			r := running(want, 5*time.Second)
			r.Good, r.Early, r.EarlyOf, r.Ends = &former, 2, want.hash(), 2
			return r
		}(), start, "", facts.NodeTaskStarting, 0, func(t *testing.T, r record, s step) {
			if s.spec.hash() != former.hash() || !strings.Contains(s.status.Rolled, "logspout:12 did not stay up") {
				t.Errorf("%+v %+v", r, s)
			}
		}},
		"the former one runs, since the wanted one is bad": {func(v *view) { v.tasks = up(2 * time.Hour) }, func() record {
			r := running(former, 2*time.Hour)
			r.Bad = map[string]string{want.hash(): "logspout:12 did not stay up"}
			return r
		}(), nothing, "", facts.NodeTaskRunning, 0, func(t *testing.T, _ record, s step) {
			if s.err == nil {
				t.Error("it is not failing")
			}
		}},
		"the node drains":             {func(v *view) { v.drains, v.answers = true, known }, record{}, nothing, "", facts.NodeTaskLeaving, 0, nil},
		"one of others does the work": {func(v *view) { v.foreign = "0123456789abcdef" }, record{}, nothing, "", facts.NodeTaskAdopted, 0, nil},
		"it is being stopped": {func(v *view) {
			v.tasks, v.answers = up(time.Hour), known
			v.tasks[0].leaving = true
		}, record{}, nothing, "", facts.NodeTaskStopping, time.Second, nil},
		"the agent restarts its container": {func(v *view) {
			v.tasks = up(time.Hour)
			v.tasks[0].up = false
		}, running(want, time.Hour), nothing, "", facts.NodeTaskStarting, look, nil},
		"the agent lists it and it is long gone": {func(v *view) {
			v.tasks = up(time.Hour)
			v.tasks[0].up = false
		}, func() record {
			r := running(want, time.Hour)
			r.Running.Down = now.Add(-restarting)
			return r
		}(), stop, "a", facts.NodeTaskStarting, look, nil},
		"capacity is managed": {func(v *view) {
			v.answers = known
			v.managed = &facts.Capacity{Provider: "asg", ManagedScaling: true}
		}, record{}, nothing, "", facts.NodeTaskRefused, managedAgain, nil},
		"capacity is managed, and that is allowed": {func(v *view) {
			v.answers = known
			v.managed, v.config.ManagedCapacity = &facts.Capacity{Provider: "asg", ManagedScaling: true}, Allow
		}, record{}, start, "", facts.NodeTaskStarting, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := base
			c.view(&v)
			r, s := v.decide(c.record)
			if s.do != c.do || s.arn != c.arn || s.status.State != c.state || s.again > c.again || (s.again == 0) != (c.again == 0) {
				t.Errorf("do %v %q, state %q, again %v; want %v %q %q %v: %+v", s.do, s.arn, s.status.State, s.again, c.do, c.arn, c.state, c.again, s)
			}
			if c.check != nil {
				c.check(t, r, s)
			}
		})
	}
}
