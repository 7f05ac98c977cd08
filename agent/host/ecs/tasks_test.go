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
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/ecs"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func addTask(t *testing.T, w *sim.World, d sim.TaskDefinition) string {
	t.Helper()
	arn, err := w.AddTask(d, "me")
	if err != nil {
		t.Fatal(err)
	}
	return arn
}

func setService(t *testing.T, w *sim.World, s sim.Service) {
	t.Helper()
	if err := w.SetService(s); err != nil {
		t.Fatal(err)
	}
}

func TestANodeIsDrainedAndIsActiveAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		setService(t, w, sim.Service{Name: "site", Task: sim.TaskDefinition{StopTakes: 3 * time.Second}, DeregistrationDelay: time.Minute, MinimumHealthyPercent: new(0)})
		alone := addTask(t, w, sim.TaskDefinition{Family: "batch"})
		for _, status := range []string{facts.StatusActive, facts.StatusDraining, facts.StatusDraining} {
			if err := c.SetState(t.Context(), on, status); err != nil {
				t.Fatal(err)
			}
			if got, err := c.State(t.Context(), on); err != nil || got != (facts.InstanceState{Status: status, AgentConnected: true}) {
				t.Errorf("%+v, %v", got, err)
			}
		}
		start := time.Now()
		for _, m := range []struct {
			after time.Duration
			last  string
		}{{0, "DEACTIVATING"}, {60 * time.Second, "STOPPING"}, {63 * time.Second, "DEPROVISIONING"}, {64 * time.Second, ""}} {
			time.Sleep(time.Until(start.Add(m.after)))
			got, err := c.Tasks(t.Context(), on)
			if err != nil {
				t.Fatal(err)
			}
			want := []facts.Task{{ARN: alone, Family: "batch", Group: "family:batch", StartedBy: "me", Last: "RUNNING", Desired: "RUNNING"}}
			if m.last != "" {
				i := slices.IndexFunc(got, func(t facts.Task) bool { return t.Service() == "site" })
				if i < 0 {
					t.Fatalf("after %v: %+v", m.after, got)
				}
				want = append(want, facts.Task{ARN: got[i].ARN, Family: "site", Group: "service:site", StartedBy: got[i].StartedBy, Last: m.last, Desired: "STOPPED"})
			}
			for i := range want {
				want[i].Revision, want[i].Created = 1, start
				if want[i].Desired == facts.TaskStopped {
					want[i].StoppedReason = got[0].StoppedReason + got[len(got)-1].StoppedReason
				}
			}
			slices.SortFunc(want, func(a, b facts.Task) int { return strings.Compare(a.ARN, b.ARN) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("after %v: %s", m.after, diff)
			}
		}
		w.SetAgentRunning(false)
		if err := c.SetState(t.Context(), on, facts.StatusActive); err != nil {
			t.Fatal(err)
		}
		if got, err := c.State(t.Context(), on); err != nil || got != (facts.InstanceState{Status: facts.StatusActive}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestTasksBeyondAPage(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		for range 150 {
			addTask(t, w, sim.TaskDefinition{Family: "run"})
			addTask(t, w, sim.TaskDefinition{Family: "end"})
		}
		w.EndTasks("end") // they are DEPROVISIONING
		w.ResetCalls()
		got, err := c.Tasks(t.Context(), on)
		if err != nil || len(got) != 300 || w.Count("ecs/ListTasks") != 4 || w.Count("ecs/DescribeTasks") != 3 {
			t.Errorf("%d tasks, %v", len(got), err)
		}
		if !slices.IsSortedFunc(got, func(a, b facts.Task) int { return strings.Compare(a.ARN, b.ARN) }) {
			t.Error("not in order")
		}
		time.Sleep(2 * time.Second)
		if got, err := c.Tasks(t.Context(), on); err != nil || len(got) != 150 {
			t.Errorf("%d tasks, %v", len(got), err)
		}
	})
}

func TestANodeWithoutTasks(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		got, err := c.Tasks(t.Context(), on)
		if err != nil || len(got) != 0 || w.Count("ecs/DescribeTasks") != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestATaskThatIsListedAndForgottenIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		addTask(t, w, sim.TaskDefinition{Family: "old"})
		w.EndTasks("old")
		time.Sleep(90 * time.Minute)
		w.SetListLag(80 * time.Minute)
		addTask(t, w, sim.TaskDefinition{Family: "new"})
		got, err := c.Tasks(t.Context(), on)
		if err != nil || len(got) != 0 || w.Count("ecs/DescribeTasks") != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestATaskIsStopped(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		arn := addTask(t, w, sim.TaskDefinition{Family: "batch", StopTakes: time.Minute})
		for range 2 {
			if err := c.StopTask(t.Context(), on, arn, "the node drains"); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.ECSTasks()[0]; got.Last != "STOPPING" || got.StoppedReason != "the node drains" {
			t.Errorf("%+v", got)
		}
		time.Sleep(2 * time.Hour)
		if err := c.StopTask(t.Context(), on, arn, "again"); err != nil {
			t.Errorf("one that is gone: %v", err)
		}
	})
}

func TestServices(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		var names []string
		for i := range 12 {
			name := fmt.Sprintf("s%02d", i)
			setService(t, w, sim.Service{Name: name, Desired: 2, MinimumHealthyPercent: new(50), MaximumPercent: new(100)})
			names = append(names, name, name)
		}
		setService(t, w, sim.Service{Name: "logs", Daemon: true})
		got, err := c.Services(t.Context(), on, append(names, "gone", "logs"))
		if err != nil || len(got) != 13 || w.Count("ecs/DescribeServices") != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
		want := []facts.Service{
			{Name: "logs", Active: true, Definition: "logs:1", Desired: 1, Running: 1, MaximumPercent: 100, Daemon: true},
			{Name: "s00", Active: true, Definition: "s00:1", Desired: 2, Running: 2, MinimumHealthyPercent: 50, MaximumPercent: 100},
		}
		if diff := cmp.Diff(want, got[:2]); diff != "" {
			t.Error(diff)
		}
		if got, err := c.Services(t.Context(), on, nil); err != nil || len(got) != 0 || w.Count("ecs/DescribeServices") != 2 {
			t.Errorf("no names: %+v, %v", got, err)
		}
	})
}

func TestFind(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		other, err := w.AddNode(sim.Instance{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		other.SetRegistered("web")
		w.SetContainerInstanceStatus(facts.StatusDraining)
		for _, cluster := range []string{"web", "arn:aws:ecs:eu-west-1:123456789012:cluster/web"} {
			got, err := c.Find(t.Context(), "eu-west-1", cluster, w.Instance().ID)
			if want := (facts.ContainerInstance{ARN: on.ARN, Cluster: cluster}); err != nil || got != want {
				t.Errorf("%+v, %v", got, err)
			}
		}
	})
}

// operations are the methods of the client, each with what its errors begin with.
func operations(c *ecs.Client, on facts.ContainerInstance) map[string]operation {
	const task = "arn:aws:ecs:eu-west-1:123456789012:task/web/0123"
	return map[string]operation{
		"UpdateContainerInstancesState": {"cannot set " + on.ARN + " DRAINING: ", func(t *testing.T) error { return c.SetState(t.Context(), on, facts.StatusDraining) }},
		"DescribeContainerInstances": {"cannot describe " + on.ARN + ": ", func(t *testing.T) error {
			_, err := c.State(t.Context(), on)
			return err
		}},
		"ListContainerInstances": {"cannot find i-0123456789abcdef0 in cluster " + on.Cluster + ": ", func(t *testing.T) error {
			_, err := c.Find(t.Context(), "eu-west-1", on.Cluster, "i-0123456789abcdef0")
			return err
		}},
		"ListTasks": {"cannot list the tasks of " + on.ARN + ": ", func(t *testing.T) error {
			_, err := c.Tasks(t.Context(), on)
			return err
		}},
		"DescribeTasks": {"cannot list the tasks of " + on.ARN + ": ", func(t *testing.T) error {
			_, err := c.Tasks(t.Context(), on)
			return err
		}},
		"StopTask": {"cannot stop task " + task + ": ", func(t *testing.T) error { return c.StopTask(t.Context(), on, task, "x") }},
		"DescribeServices": {"cannot describe 2 services of cluster " + on.Cluster + ": ", func(t *testing.T) error {
			_, err := c.Services(t.Context(), on, []string{"a", "b"})
			return err
		}},
	}
}

type operation struct {
	prefix string
	call   func(*testing.T) error
}

func checkError(t *testing.T, err, is error, says string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, class := range []error{facts.ErrAbsent, facts.ErrUnavailable, facts.ErrRefused} {
		if errors.Is(err, class) != (class == is) {
			t.Errorf("%v: errors.Is %q is %t", err, class, errors.Is(err, class))
		}
	}
	if err.Error() != says {
		t.Errorf("got  %v\nwant %s", err, says)
	}
}

func TestFailuresOfEachOperation(t *testing.T) {
	type arrange func(t *testing.T, w *sim.World, on *facts.ContainerInstance, operation string)
	fails := func(f sim.Fault) arrange {
		return func(t *testing.T, w *sim.World, _ *facts.ContainerInstance, operation string) {
			if err := w.SetFault("ecs/"+operation, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		arrange arrange
		is      error
		says    string
	}{
		"no permission": {
			func(_ *testing.T, w *sim.World, _ *facts.ContainerInstance, operation string) {
				w.Deny("ecs:" + operation)
			},
			facts.ErrRefused, "refused: the instance role must allow ecs:OPERATION (AccessDeniedException)",
		},
		"a cluster that is gone": {
			func(_ *testing.T, _ *sim.World, on *facts.ContainerInstance, _ string) { on.Cluster = "gone" },
			facts.ErrAbsent, "absent: there is no cluster gone",
		},
		"throttling": {
			func(_ *testing.T, w *sim.World, _ *facts.ContainerInstance, _ string) {
				w.SetRate(sim.BucketECSResourceModify, sim.Rate{})
				w.SetRate(sim.BucketECSResourceRead, sim.Rate{})
			},
			facts.ErrUnavailable, "unavailable: throttled (ThrottlingException)",
		},
		"500":     {fails(sim.Fault{Kind: sim.FaultStatus, Status: 500}), facts.ErrUnavailable, "unavailable: ServerException (HTTP status 500)"},
		"garbage": {fails(sim.Fault{Kind: sim.FaultGarbage}), facts.ErrUnavailable, "unavailable: the answer makes no sense (HTTP status 200)"},
		"a hang":  {fails(sim.Fault{Kind: sim.FaultHang}), facts.ErrUnavailable, "unavailable: no answer within 10s"},
	} {
		for op := range operations(nil, facts.ContainerInstance{}) {
			t.Run(name+" "+op, func(t *testing.T) {
				bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
					addTask(t, w, sim.TaskDefinition{Family: "batch"})
					tc.arrange(t, w, &on, op)
					o := operations(c, on)[op]
					checkError(t, o.call(t), tc.is, o.prefix+strings.ReplaceAll(tc.says, "OPERATION", op))
				})
			})
		}
	}
}

// Failures in an answer of 200.
func TestAContainerInstanceThatECSDoesNotHaveAnyMore(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		w.SetContainerInstanceStatus("INACTIVE")
		checkError(t, c.SetState(t.Context(), on, facts.StatusDraining), facts.ErrAbsent, "cannot set "+on.ARN+" DRAINING: absent: ECS says INACTIVE")
		if got, err := c.State(t.Context(), on); err != nil || got.Status != "INACTIVE" {
			t.Errorf("%+v, %v", got, err)
		}
		w.SetContainerInstanceStatus("REGISTERING")
		if err := c.SetState(t.Context(), on, facts.StatusDraining); !errors.Is(err, facts.ErrRefused) {
			t.Error(err)
		}
		w.Deregister()
		checkError(t, c.SetState(t.Context(), on, facts.StatusDraining), facts.ErrAbsent, "cannot set "+on.ARN+" DRAINING: absent: ECS says MISSING")
		_, err := c.State(t.Context(), on)
		checkError(t, err, facts.ErrAbsent, "cannot describe "+on.ARN+": absent: ECS says MISSING")
		_, err = c.Find(t.Context(), "eu-west-1", "web", w.Instance().ID)
		checkError(t, err, facts.ErrAbsent, "cannot find "+w.Instance().ID+" in cluster web: absent: it is not registered")
		if _, err := c.Tasks(t.Context(), on); !errors.Is(err, facts.ErrRefused) {
			t.Error(err)
		}
	})
}

func TestWhatIsNoARNOrNoIDIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		on.ARN = "web/0123"
		for name, o := range operations(c, on) {
			if name != "ListContainerInstances" {
				checkError(t, o.call(t), facts.ErrRefused, o.prefix+"refused: no ARN of a container instance")
			}
		}
		_, err := c.Find(t.Context(), "eu-west-1", "web", "i-1 or true")
		checkError(t, err, facts.ErrRefused, "cannot find i-1 or true in cluster web: refused: no id of an instance")
		if n := w.Count("ecs"); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}

// Answers of 200 that ECS does not give, but that must not pass for news.
func TestAnswersThatSayTooLittle(t *testing.T) {
	const (
		node = "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/0123"
		task = "arn:aws:ecs:eu-west-1:123456789012:task/web/0123"
	)
	const listed = `{"taskArns":["` + task + `"]}`
	const endless = `{"taskArns":[],"nextToken":"1"}`
	for name, tc := range map[string]struct {
		operation string
		answers   map[string]string
		is        error
		says      string
	}{
		"nothing of a state":           {"UpdateContainerInstancesState", nil, facts.ErrUnavailable, "unavailable: the answer is not about this container instance"},
		"nothing of an instance":       {"DescribeContainerInstances", nil, facts.ErrUnavailable, "unavailable: the answer is not about this container instance"},
		"nothing of instances":         {"ListContainerInstances", nil, facts.ErrUnavailable, "unavailable: the answer has no list"},
		"nothing of tasks":             {"ListTasks", nil, facts.ErrUnavailable, "unavailable: the answer has no list"},
		"nothing of services":          {"DescribeServices", nil, facts.ErrUnavailable, "unavailable: the answer is about 0 services, not 2"},
		"nothing of a task":            {"ListTasks", map[string]string{"ListTasks": listed}, facts.ErrUnavailable, "unavailable: the answer lacks a task"},
		"pages without end":            {"ListTasks", map[string]string{"ListTasks": endless}, facts.ErrUnavailable, "unavailable: the answer has more than 20 pages"},
		"another reason of a failure":  {"DescribeContainerInstances", map[string]string{"DescribeContainerInstances": `{"failures":[{"reason":"ODD","detail":"why"}]}`}, facts.ErrRefused, "refused: ECS says ODD: why"},
		"a task of another instance":   {"ListTasks", map[string]string{"ListTasks": listed, "DescribeTasks": `{"tasks":[{"taskArn":"` + task + `","lastStatus":"STOPPED","containerInstanceArn":"x"}]}`}, facts.ErrUnavailable, "unavailable: the answer has a task of another container instance"},
		"a task without a status":      {"ListTasks", map[string]string{"ListTasks": listed, "DescribeTasks": `{"tasks":[{"taskArn":"` + task + `","containerInstanceArn":"` + node + `"}]}`}, facts.ErrUnavailable, "unavailable: the answer has a task without status"},
		"another failure of a task":    {"ListTasks", map[string]string{"ListTasks": listed, "DescribeTasks": `{"failures":[{"arn":"` + task + `","reason":"ODD"}]}`}, facts.ErrRefused, "refused: ECS says ODD"},
		"another failure of a service": {"DescribeServices", map[string]string{"DescribeServices": `{"failures":[{"reason":"ODD"}]}`}, facts.ErrRefused, "refused: ECS says ODD"},
		"two of one instance":          {"ListContainerInstances", map[string]string{"ListContainerInstances": `{"containerInstanceArns":["a","b"]}`}, facts.ErrUnavailable, "unavailable: it is registered as 2 container instances"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := operations(answering(t, tc.answers), facts.ContainerInstance{ARN: node, Cluster: "web"})[tc.operation]
				checkError(t, o.call(t), tc.is, o.prefix+tc.says)
			})
		})
	}
}

// answering returns a client of somebody who gives one answer to each operation,
// and {} to others. One that begins with "!" is an error.
func answering(t *testing.T, answers map[string]string) *ecs.Client {
	t.Helper()
	w, n := sim.New(sim.Options{}), sim.NewNetwork()
	t.Cleanup(func() { _ = n.Close() })
	if err := n.Serve("169.254.169.254:80", w.IMDS()); err != nil {
		t.Fatal(err)
	}
	err := n.Serve("ecs.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		answer, known := answers[operation]
		if !known {
			answer = "{}"
		}
		if strings.HasPrefix(answer, "!") {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprint(w, strings.TrimPrefix(answer, "!"))
	}))
	if err != nil {
		t.Fatal(err)
	}
	config, err := awsapi.Config(awsapi.Options{Metadata: imds.New(imds.Options{Dial: n.DialContext}), Dial: n.DialContext})
	if err != nil {
		t.Fatal(err)
	}
	return ecs.New(config, "http://ecs.test")
}
