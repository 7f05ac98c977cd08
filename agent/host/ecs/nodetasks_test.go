package ecs_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/ecs"
	"github.com/ecsnode/ecsnode/agent/sim"
)

var shipper = facts.TaskStart{
	Definition: "shipper:2", StartedBy: "ecsnode/shipper",
	Environment: map[string]map[string]string{"shipper": {"ZONE": "a", "ADDRESS": "<10.0.0.1> & \"x\""}, "router": {}},
}

// longest is the longest value of variable A of container shipper that ECS takes.
const longest = 8192 - len(`{"containerOverrides":[{"name":"shipper","environment":[{"name":"A","value":""}]}]}`)

func TestATaskIsStarted(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		w.AddTaskDefinition(sim.TaskDefinition{Family: "shipper", Revision: 2, StartTakes: 10 * time.Second})
		got, err := c.StartTask(t.Context(), on, shipper)
		if err != nil {
			t.Fatal(err)
		}
		is := w.ECSTasks()[0]
		want := facts.Task{
			ARN: is.ARN, Family: "shipper", Revision: 2, Group: "family:shipper", StartedBy: "ecsnode/shipper", Last: "PROVISIONING", Desired: "RUNNING",
			Created: time.Now(),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]map[string]string{"shipper": shipper.Environment["shipper"]}, is.Environment); diff != "" {
			t.Error(diff)
		}
		if got, err := c.StartTask(t.Context(), on, facts.TaskStart{Definition: "shipper"}); err != nil || got.StartedBy != "" || w.ECSTasks()[1].Environment != nil {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestWhyATaskIsNotStarted(t *testing.T) {
	const anyCall = -1
	for name, tc := range map[string]struct {
		arrange func(w *sim.World, on *facts.ContainerInstance, s *facts.TaskStart)
		is      error
		says    string
		reason  string
		calls   int
	}{
		"no room": {
			func(w *sim.World, _ *facts.ContainerInstance, _ *facts.TaskStart) { w.SetMemory(10) },
			facts.ErrRefused, "ECS says RESOURCE:MEMORY", "RESOURCE:MEMORY", 1,
		},
		"an agent that is away": {
			func(w *sim.World, _ *facts.ContainerInstance, _ *facts.TaskStart) { w.SetAgentRunning(false) },
			facts.ErrRefused, "ECS says AGENT", "AGENT", 1,
		},
		"a node that ECS has forgotten": {
			func(w *sim.World, _ *facts.ContainerInstance, _ *facts.TaskStart) { w.Deregister() },
			facts.ErrRefused, "ECS says MISSING", "MISSING", 1,
		},
		"an unknown task definition": {
			func(_ *sim.World, _ *facts.ContainerInstance, s *facts.TaskStart) { s.Definition = "shipper:3" },
			facts.ErrRefused, "refused: ClientException: TaskDefinition not found.", "", 1,
		},
		"an inactive task definition": {
			func(w *sim.World, _ *facts.ContainerInstance, _ *facts.TaskStart) {
				_ = w.DeregisterTaskDefinition("shipper", 2)
			},
			facts.ErrRefused, "refused: ClientException: TaskDefinition is inactive", "", 1,
		},
		"a container that the task has not": {
			func(_ *sim.World, _ *facts.ContainerInstance, s *facts.TaskStart) {
				s.Environment = map[string]map[string]string{"other": {"A": "b"}}
			},
			facts.ErrRefused, "refused: InvalidParameterException: Override for container named other is not a container in the TaskDefinition.", "", 1,
		},
		"an environment that is too long": {
			func(_ *sim.World, _ *facts.ContainerInstance, s *facts.TaskStart) {
				s.Environment = map[string]map[string]string{"shipper": {"A": strings.Repeat("b", longest+1)}}
			},
			facts.ErrRefused, "refused: the environment takes 8193 characters of JSON, of which ECS takes 8192", "", 0,
		},
		"no permission": {
			func(w *sim.World, _ *facts.ContainerInstance, _ *facts.TaskStart) { w.Deny("ecs:StartTask") },
			facts.ErrRefused, "refused: the instance role must allow ecs:StartTask (AccessDeniedException)", "", 1,
		},
		"a cluster that is gone": {
			func(_ *sim.World, on *facts.ContainerInstance, _ *facts.TaskStart) { on.Cluster = "gone" },
			facts.ErrAbsent, "absent: there is no cluster gone", "", 1,
		},
		"throttling": {
			func(w *sim.World, _ *facts.ContainerInstance, _ *facts.TaskStart) {
				w.SetRate(sim.BucketECSResourceModify, sim.Rate{})
			},
			facts.ErrThrottled, "unavailable: throttled (ThrottlingException)", "", 1,
		},
		"500": {
			starting(sim.Fault{Kind: sim.FaultStatus, Status: http.StatusInternalServerError}),
			facts.ErrUnavailable, "unavailable: ServerException (HTTP status 500)", "", 1,
		},
		"a reset connection": {
			starting(sim.Fault{Kind: sim.FaultReset}),
			facts.ErrUnavailable, "unavailable: connection reset by peer", "", 1,
		},
		"a truncated answer": {starting(sim.Fault{Kind: sim.FaultTruncate}), facts.ErrUnavailable, "unavailable: the answer was cut short", "", 1},
		"garbage":            {starting(sim.Fault{Kind: sim.FaultGarbage}), facts.ErrUnavailable, "unavailable: the answer makes no sense (HTTP status 200)", "", 1},
		"a hang":             {starting(sim.Fault{Kind: sim.FaultHang}), facts.ErrUnavailable, "unavailable: no answer within 10s", "", anyCall},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
				w.AddTaskDefinition(sim.TaskDefinition{Family: "shipper", Revision: 2})
				s := shipper
				tc.arrange(w, &on, &s)
				_, err := c.StartTask(t.Context(), on, s)
				if !errors.Is(err, tc.is) || errors.Is(err, facts.ErrThrottled) != (tc.is == facts.ErrThrottled) {
					t.Errorf("not %v", tc.is)
				}
				if tc.is == facts.ErrThrottled {
					tc.is = facts.ErrUnavailable
				}
				checkError(t, err, tc.is, "cannot start "+s.Definition+": "+tc.says)
				var refused *facts.TaskRefused
				if errors.As(err, &refused) != (tc.reason != "") || refused != nil && refused.Reason != tc.reason {
					t.Errorf("%+v", refused)
				}
				if n := w.Count("ecs/StartTask"); n != tc.calls && tc.calls != anyCall {
					t.Errorf("%d calls, want %d", n, tc.calls)
				}
			})
		})
	}
}

func starting(f sim.Fault) func(*sim.World, *facts.ContainerInstance, *facts.TaskStart) {
	return func(w *sim.World, _ *facts.ContainerInstance, _ *facts.TaskStart) { _ = w.SetFault("ecs/StartTask", f) }
}

func TestAnEnvironmentThatJustFits(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		w.AddTaskDefinition(sim.TaskDefinition{Family: "shipper"})
		s := facts.TaskStart{Definition: "shipper:1", Environment: map[string]map[string]string{"shipper": {"A": strings.Repeat("<", longest)}}}
		if _, err := c.StartTask(t.Context(), on, s); err != nil {
			t.Error(err)
		}
	})
}

func TestTasksByWhoStartedThem(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		if got, err := c.StartedBy(t.Context(), on, "me"); err != nil || len(got) != 0 || w.Count("ecs/DescribeTasks") != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		other, err := w.AddNode(sim.Instance{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		other.SetRegistered("web")
		elsewhere, err := other.AddTask(sim.TaskDefinition{Family: "app"}, "me")
		if err != nil {
			t.Fatal(err)
		}
		created := time.Now()
		runs := addTask(t, w, sim.TaskDefinition{Family: "app"})
		ended := addTask(t, w, sim.TaskDefinition{Family: "crash", Revision: 4, RunsFor: time.Second, ExitCode: 3, Sidecars: []string{"router"}})
		failed := addTask(t, w, sim.TaskDefinition{Family: "bad", Fails: "CannotPullContainerError: no such image", StartTakes: 5 * time.Second})
		stranger, err := w.AddTask(sim.TaskDefinition{Family: "app"}, "you")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		missing := strings.Replace(runs, runs[len(runs)-4:], "zzzz", 1)
		got, err := c.StartedBy(t.Context(), on, "me", ended, failed, runs, elsewhere, missing, "arn:aws:ecs:eu-west-1:123456789012:task/old/0123", "")
		if err != nil {
			t.Fatal(err)
		}
		want := []facts.Task{
			{ARN: runs, Family: "app", Revision: 1, Group: "family:app", StartedBy: "me", Last: "RUNNING", Desired: "RUNNING", Created: created},
			{
				ARN: ended, Family: "crash", Revision: 4, Group: "family:crash", StartedBy: "me", Last: "STOPPED", Desired: "STOPPED", Created: created,
				StoppedReason: "Essential container in task exited: crash exit code 3",
			},
			{
				ARN: failed, Family: "bad", Revision: 1, Group: "family:bad", StartedBy: "me", Last: "STOPPED", Desired: "STOPPED", Created: created,
				StoppedReason: "CannotPullContainerError: no such image",
			},
		}
		slices.SortFunc(want, func(a, b facts.Task) int { return strings.Compare(a.ARN, b.ARN) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if got, err := c.StartedBy(t.Context(), on, "nobody", stranger); err != nil || len(got) != 1 || got[0].ARN != stranger {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestStartedByBeyondAPage(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		for range 150 {
			addTask(t, w, sim.TaskDefinition{Family: "run"})
		}
		w.ResetCalls()
		got, err := c.StartedBy(t.Context(), on, "me")
		if err != nil || len(got) != 150 || w.Count("ecs/ListTasks") != 2 || w.Count("ecs/DescribeTasks") != 2 {
			t.Errorf("%d tasks, %v", len(got), err)
		}
	})
}

func TestTheNewestRevision(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, _ facts.ContainerInstance) {
		for _, revision := range []int{3, 12, 9} {
			w.AddTaskDefinition(sim.TaskDefinition{Family: "shipper", Revision: revision})
		}
		for _, want := range []int{12, 9, 3} {
			if got, err := c.Newest(t.Context(), "eu-west-1", "shipper"); err != nil || got != want {
				t.Errorf("%d, %v, want %d", got, err, want)
			}
			exact := fmt.Sprintf("shipper:%d", want)
			if got, err := c.Newest(t.Context(), "eu-west-1", exact); err != nil || got != want {
				t.Errorf("%d, %v, want %d", got, err, want)
			}
			if err := w.DeregisterTaskDefinition("shipper", want); err != nil {
				t.Fatal(err)
			}
		}
		_, err := c.Newest(t.Context(), "eu-west-1", "shipper:12")
		checkError(t, err, facts.ErrAbsent, "cannot describe task definition shipper:12: absent: it is INACTIVE: register another revision")
		for _, family := range []string{"shipper", "unknown"} {
			_, err := c.Newest(t.Context(), "eu-west-1", family)
			checkError(t, err, facts.ErrAbsent, "cannot describe task definition "+family+": absent: there is no such task definition")
		}
	})
}

func TestHowANodeIsManaged(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		for _, p := range []sim.CapacityProvider{
			{},
			{Name: "plain"},
			{Name: "spot", ManagedScaling: true},
			{Name: "spot", TerminationProtection: true, ManagedDraining: true},
			{},
		} {
			w.SetCapacityProvider(p)
			w.ResetCalls()
			got, err := c.Capacity(t.Context(), on)
			want := facts.Capacity{Provider: p.Name, ManagedScaling: p.ManagedScaling, TerminationProtection: p.TerminationProtection, ManagedDraining: p.ManagedDraining}
			if err != nil || got != want || (w.Count("ecs/DescribeCapacityProviders") == 0) != (p.Name == "") {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		}
	})
}

func TestFailuresOfWhatNodeTasksAsk(t *testing.T) {
	asks := func(c *ecs.Client, on facts.ContainerInstance) map[string]operation {
		return map[string]operation{
			"DescribeTaskDefinition": {"cannot describe task definition shipper: ", func(t *testing.T) error {
				_, err := c.Newest(t.Context(), "eu-west-1", "shipper")
				return err
			}},
			"DescribeContainerInstances": {"cannot tell how the capacity of " + on.ARN + " is managed: ", func(t *testing.T) error {
				_, err := c.Capacity(t.Context(), on)
				return err
			}},
			"DescribeCapacityProviders": {"cannot tell how the capacity of " + on.ARN + " is managed: ", func(t *testing.T) error {
				_, err := c.Capacity(t.Context(), on)
				return err
			}},
			"ListTasks": {"cannot list the tasks started by me: ", func(t *testing.T) error {
				_, err := c.StartedBy(t.Context(), on, "me")
				return err
			}},
			"DescribeTasks": {"cannot list the tasks started by me: ", func(t *testing.T) error {
				_, err := c.StartedBy(t.Context(), on, "me")
				return err
			}},
		}
	}
	fails := func(f sim.Fault) func(*sim.World, string) {
		return func(w *sim.World, operation string) { _ = w.SetFault("ecs/"+operation, f) }
	}
	for name, tc := range map[string]struct {
		arrange func(w *sim.World, operation string)
		is      error
		says    string
	}{
		"no permission": {
			func(w *sim.World, operation string) { w.Deny("ecs:" + operation) },
			facts.ErrRefused, "refused: the instance role must allow ecs:OPERATION (AccessDeniedException)",
		},
		"throttling": {
			func(w *sim.World, _ string) { w.SetRate(sim.BucketECSResourceRead, sim.Rate{}) },
			facts.ErrUnavailable, "unavailable: throttled (ThrottlingException)",
		},
		"503":     {fails(sim.Fault{Kind: sim.FaultStatus, Status: 503}), facts.ErrUnavailable, "unavailable: ServiceUnavailableException (HTTP status 503)"},
		"garbage": {fails(sim.Fault{Kind: sim.FaultGarbage}), facts.ErrUnavailable, "unavailable: the answer makes no sense (HTTP status 200)"},
		"a hang":  {fails(sim.Fault{Kind: sim.FaultHang}), facts.ErrUnavailable, "unavailable: no answer within 10s"},
	} {
		for op := range asks(nil, facts.ContainerInstance{}) {
			t.Run(name+" "+op, func(t *testing.T) {
				bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
					addTask(t, w, sim.TaskDefinition{Family: "shipper"})
					w.SetCapacityProvider(sim.CapacityProvider{Name: "spot"})
					tc.arrange(w, op)
					o := asks(c, on)[op]
					checkError(t, o.call(t), tc.is, o.prefix+strings.ReplaceAll(tc.says, "OPERATION", op))
				})
			})
		}
	}
}

// Answers of 200 that say too little, or what the simulator does not.
func TestOddAnswersToWhatNodeTasksAsk(t *testing.T) {
	const (
		node    = "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/0123"
		task    = "arn:aws:ecs:eu-west-1:123456789012:task/web/0123"
		listed  = `{"taskArns":["` + task + `"]}`
		of      = `{"containerInstances":[{"containerInstanceArn":"` + node + `","status":"ACTIVE","capacityProviderName":"spot"}]}`
		started = "cannot start shipper:2: "
		managed = "cannot tell how the capacity of " + node + " is managed: "
		newest  = "cannot describe task definition shipper: "
		tasks   = "cannot list the tasks started by me: "
	)
	on := facts.ContainerInstance{ARN: node, Cluster: "web"}
	start := func(t *testing.T, c *ecs.Client) error {
		_, err := c.StartTask(t.Context(), on, shipper)
		return err
	}
	capacity := func(t *testing.T, c *ecs.Client) error {
		got, err := c.Capacity(t.Context(), on)
		if err == nil && got != (facts.Capacity{Provider: "spot"}) {
			t.Errorf("%+v", got)
		}
		return err
	}
	revision := func(t *testing.T, c *ecs.Client) error {
		_, err := c.Newest(t.Context(), "eu-west-1", "shipper")
		return err
	}
	by := func(t *testing.T, c *ecs.Client) error {
		_, err := c.StartedBy(t.Context(), on, "me")
		return err
	}
	for name, tc := range map[string]struct {
		call    func(*testing.T, *ecs.Client) error
		answers map[string]string
		is      error // nil: none
		says    string
	}{
		"neither a task nor a failure": {start, nil, facts.ErrUnavailable, started + "unavailable: the answer has neither the task nor a failure"},
		"a task of another instance":   {start, map[string]string{"StartTask": `{"tasks":[{"taskArn":"` + task + `","containerInstanceArn":"x"}]}`}, facts.ErrUnavailable, started + "unavailable: the answer has neither the task nor a failure"},
		"a failure with a detail":      {start, map[string]string{"StartTask": `{"failures":[{"reason":"ATTRIBUTE","detail":"no\ngpu"}]}`}, facts.ErrRefused, started + "ECS says ATTRIBUTE: no gpu"},
		"nothing of a provider":        {capacity, map[string]string{"DescribeContainerInstances": of}, facts.ErrUnavailable, managed + "unavailable: the answer is not about capacity provider spot"},
		"a provider that is gone":      {capacity, map[string]string{"DescribeContainerInstances": of, "DescribeCapacityProviders": `{"failures":[{"reason":"MISSING"}]}`}, nil, ""},
		"another failure of it":        {capacity, map[string]string{"DescribeContainerInstances": of, "DescribeCapacityProviders": `{"failures":[{"reason":"ODD"}]}`}, facts.ErrRefused, managed + "refused: ECS says ODD"},
		"a provider of another kind":   {capacity, map[string]string{"DescribeContainerInstances": of, "DescribeCapacityProviders": `{"capacityProviders":[{"name":"spot","status":"ACTIVE"}]}`}, nil, ""},
		"nothing of a definition":      {revision, nil, facts.ErrUnavailable, newest + "unavailable: the answer has no task definition"},
		"an inactive definition":       {revision, map[string]string{"DescribeTaskDefinition": `{"taskDefinition":{"family":"shipper","revision":2,"status":"INACTIVE"}}`}, facts.ErrAbsent, newest + "absent: it is INACTIVE: register another revision"},
		"nothing of tasks":             {by, nil, facts.ErrUnavailable, tasks + "unavailable: the answer has no list"},
		"nothing of a task":            {by, map[string]string{"ListTasks": listed}, facts.ErrUnavailable, tasks + "unavailable: the answer lacks a task"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := tc.call(t, answering(t, tc.answers))
				if tc.is != nil {
					checkError(t, err, tc.is, tc.says)
				} else if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestWhyATaskStopped(t *testing.T) {
	const (
		node   = "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/0123"
		task   = "arn:aws:ecs:eu-west-1:123456789012:task/web/0123"
		begins = `{"tasks":[{"taskArn":"` + task + `","containerInstanceArn":"` + node + `","taskDefinitionArn":"arn:aws:ecs:eu-west-1:123456789012:task-definition/web:7",`
	)
	for name, tc := range map[string]struct{ rest, want string }{
		"the container of the family first": {
			`"lastStatus":"STOPPED","stoppedReason":"Essential container in task exited","containers":[{"name":"router","exitCode":143},{"name":"web","exitCode":1}]`,
			"Essential container in task exited: web exit code 1",
		},
		"out of memory": {
			`"lastStatus":"STOPPED","stoppedReason":"Essential container in task exited","containers":[{"name":"router","exitCode":0},{"name":"x","exitCode":137,"reason":"OutOfMemoryError: Container killed due to memory usage"}]`,
			"Essential container in task exited: x exit code 137, OutOfMemoryError: Container killed due to memory usage",
		},
		"a reason without that of the task": {`"lastStatus":"STOPPED","containers":[{"name":"web","reason":"odd"}]`, "web odd"},
		"all ended well":                    {`"lastStatus":"STOPPED","stoppedReason":"Task stopped by user","containers":[{"name":"web","exitCode":0}]`, "Task stopped by user"},
		"it stops":                          {`"lastStatus":"STOPPING","stoppedReason":"Task stopped by user","containers":[{"name":"web","exitCode":1}]`, "Task stopped by user"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := answering(t, map[string]string{"ListTasks": `{"taskArns":["` + task + `"]}`, "DescribeTasks": begins + tc.rest + "}]}"})
				got, err := c.StartedBy(t.Context(), facts.ContainerInstance{ARN: node, Cluster: "web"}, "me")
				if err != nil || len(got) != 1 || got[0].StoppedReason != tc.want || got[0].Revision != 7 {
					t.Errorf("%+v, %v, want %s", got, err, tc.want)
				}
			})
		})
	}
}

// The words of AWS for a role that the caller may not pass.
func TestARoleThatMayNotBePassed(t *testing.T) {
	const node = "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/0123"
	for message, says := range map[string]string{
		"User: x is not authorized to perform: iam:PassRole on resource: arn:aws:iam::123456789012:role/task because no identity-based policy allows the iam:PassRole action": "iam:PassRole of arn:aws:iam::123456789012:role/task for ecs:StartTask",
		"not authorized to perform iam:PassRole": "iam:PassRole for ecs:StartTask",
	} {
		synctest.Test(t, func(t *testing.T) {
			c := answering(t, map[string]string{"StartTask": `!{"__type":"AccessDeniedException","message":"` + message + `"}`})
			_, err := c.StartTask(t.Context(), facts.ContainerInstance{ARN: node, Cluster: "web"}, shipper)
			checkError(t, err, facts.ErrRefused, "cannot start shipper:2: refused: the instance role must allow "+says+" (AccessDeniedException)")
		})
	}
}
