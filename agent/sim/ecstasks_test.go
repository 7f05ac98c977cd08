package sim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// statuses are the last and the desired status of the node's tasks, by family,
// as in "RUNNING" or "STOPPING→STOPPED".
func (b bubble) statuses() string {
	var all []string
	ci, _ := b.ContainerInstance()
	for _, t := range b.ECSTasks() {
		if t.ContainerInstance != ci.ARN {
			continue
		}
		status := t.Family + " " + t.Last
		if t.Desired != t.Last && t.Desired != "RUNNING" {
			status += "→" + t.Desired
		}
		all = append(all, status)
	}
	return strings.Join(all, ", ")
}

// follow checks statuses at times after now.
func (b bubble) follow(t *testing.T, story []moment) {
	t.Helper()
	start := time.Now()
	for _, m := range story {
		time.Sleep(time.Until(start.Add(m.after)))
		if got := b.statuses(); got != m.want {
			t.Errorf("after %v: %s, want %s", m.after, got, m.want)
		}
	}
}

type moment struct {
	after time.Duration
	want  string
}

func (b bubble) drain(t *testing.T, arn string) {
	t.Helper()
	out, err := b.ecs().UpdateContainerInstancesState(t.Context(), &ecs.UpdateContainerInstancesStateInput{
		Cluster: aws.String("web"), ContainerInstances: []string{arn}, Status: types.ContainerInstanceStatusDraining,
	})
	if err != nil || len(out.Failures) > 0 || len(out.ContainerInstances) != 1 || out.ContainerInstances[0].Status == nil || *out.ContainerInstances[0].Status != "DRAINING" {
		t.Fatalf("%+v, %v", out, err)
	}
}

func TestATaskFromStartToStop(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		arn, err := b.AddTask(sim.TaskDefinition{Family: "app", StartTakes: 10 * time.Second, StopTakes: 5 * time.Second}, "me")
		if err != nil {
			t.Fatal(err)
		}
		b.follow(t, []moment{{0, "app PROVISIONING"}, {5 * time.Second, "app PENDING"}, {10 * time.Second, "app RUNNING"}, {time.Hour, "app RUNNING"}})
		out, err := b.ecs().StopTask(t.Context(), &ecs.StopTaskInput{Cluster: aws.String("web"), Task: &arn, Reason: aws.String("because")})
		if err != nil || *out.Task.DesiredStatus != "STOPPED" || *out.Task.LastStatus != "STOPPING" {
			t.Fatalf("%+v, %v", out, err)
		}
		b.follow(t, []moment{
			{4 * time.Second, "app STOPPING→STOPPED"},
			{5 * time.Second, "app DEPROVISIONING→STOPPED"},
			{6 * time.Second, "app STOPPED"},
			{time.Hour, "app STOPPED"},
		})
		described, err := b.ecs().DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Cluster: aws.String("web"), Tasks: []string{arn, "0123"}})
		if err != nil || len(described.Tasks) != 1 || len(described.Failures) != 1 {
			t.Fatalf("%+v, %v", described, err)
		}
		got := described.Tasks[0]
		if *got.StoppedReason != "because" || got.StopCode != types.TaskStopCodeUserInitiated || *got.StartedBy != "me" || *got.Group != "family:app" ||
			*got.TaskDefinitionArn != "arn:aws:ecs:eu-west-1:123456789012:task-definition/app:1" || got.StoppedAt.Sub(*got.StoppingAt) != 6*time.Second {
			t.Errorf("%+v", got)
		}
		if f := described.Failures[0]; *f.Arn != "arn:aws:ecs:eu-west-1:123456789012:task/web/0123" || *f.Reason != "MISSING" {
			t.Errorf("%+v", f)
		}
		b.follow(t, []moment{{6 * time.Second, ""}})
		_, err = b.ecs().StopTask(t.Context(), &ecs.StopTaskInput{Cluster: aws.String("web"), Task: &arn})
		wantCode(t, err, "InvalidParameterException", http.StatusBadRequest)
	})
}

func TestHowLongATaskStops(t *testing.T) {
	for name, tc := range map[string]struct {
		task  sim.TaskDefinition
		delay time.Duration
		story []moment
	}{
		"one that ignores SIGTERM is killed": {
			sim.TaskDefinition{StopTakes: time.Hour},
			0,
			[]moment{{29 * time.Second, "web STOPPING→STOPPED"}, {31 * time.Second, "web STOPPED"}},
		},
		"stopTimeout": {
			sim.TaskDefinition{StopTakes: time.Hour, StopTimeout: 2 * time.Minute},
			0,
			[]moment{{119 * time.Second, "web STOPPING→STOPPED"}, {121 * time.Second, "web STOPPED"}},
		},
		"a load balancer lets go of it first": {
			sim.TaskDefinition{StopTakes: time.Second},
			5 * time.Minute,
			[]moment{{299 * time.Second, "web DEACTIVATING→STOPPED"}, {300 * time.Second, "web STOPPING→STOPPED"}, {302 * time.Second, "web STOPPED"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				arn := b.SetRegistered("web")
				if err := b.SetService(sim.Service{Name: "web", Task: tc.task, DeregistrationDelay: tc.delay, MinimumHealthyPercent: new(0)}); err != nil {
					t.Fatal(err)
				}
				b.drain(t, arn)
				b.follow(t, tc.story)
			})
		})
	}
}

func TestATaskEndsByItself(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		arn, err := b.AddTask(sim.TaskDefinition{Family: "batch", StopTakes: 20 * time.Second}, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.ecs().StopTask(t.Context(), &ecs.StopTaskInput{Cluster: aws.String("web"), Task: &arn}); err != nil {
			t.Fatal(err)
		}
		b.follow(t, []moment{{5 * time.Second, "batch STOPPING→STOPPED"}})
		if n := b.EndTasks("batch"); n != 1 {
			t.Errorf("%d ended", n)
		}
		b.follow(t, []moment{{time.Second, "batch STOPPED"}})
		if got := b.ECSTasks()[0]; got.StoppedReason != "Task stopped by user" {
			t.Errorf("%+v", got)
		}
		if _, err := b.AddTask(sim.TaskDefinition{Family: "batch"}, ""); err != nil {
			t.Fatal(err)
		}
		b.EndTasks("batch")
		if got := b.ECSTasks()[1]; got.StopCode != "EssentialContainerExited" || got.Desired != "STOPPED" {
			t.Errorf("%+v", got)
		}
	})
}

func TestDraining(t *testing.T) {
	quick := sim.TaskDefinition{StopTakes: time.Second}
	for name, tc := range map[string]struct {
		services []sim.Service
		story    []moment
	}{
		"100 and 200: a task leaves when another one runs": {
			[]sim.Service{{Name: "web", Task: quick, Desired: 2, ReplacementTakes: time.Minute}},
			[]moment{
				{59 * time.Second, "web RUNNING, web RUNNING"},
				{time.Minute, "web STOPPING→STOPPED, web STOPPING→STOPPED"},
				{62 * time.Second, "web STOPPED, web STOPPED"},
			},
		},
		"100 and 150: one after another": {
			[]sim.Service{{Name: "web", Task: quick, Desired: 2, MaximumPercent: new(150), ReplacementTakes: time.Minute}},
			[]moment{
				{59 * time.Second, "web RUNNING, web RUNNING"},
				{62 * time.Second, "web STOPPED, web RUNNING"},
				{121 * time.Second, "web STOPPED, web RUNNING"},
				{124 * time.Second, "web STOPPED, web STOPPED"},
			},
		},
		"100 and 100: never": {
			[]sim.Service{{Name: "web", Task: quick, Desired: 2, MaximumPercent: new(100)}},
			[]moment{{48 * time.Hour, "web RUNNING, web RUNNING"}},
		},
		"no room elsewhere: never": {
			[]sim.Service{{Name: "web", Task: quick, NoRoom: true}},
			[]moment{{48 * time.Hour, "web RUNNING"}},
		},
		"50: half of them at once, the others when replacements run": {
			[]sim.Service{{Name: "web", Task: quick, Desired: 4, MinimumHealthyPercent: new(50), MaximumPercent: new(100), ReplacementTakes: 10 * time.Second}},
			[]moment{
				{0, "web STOPPING→STOPPED, web STOPPING→STOPPED, web RUNNING, web RUNNING"},
				{11 * time.Second, "web STOPPED, web STOPPED, web RUNNING, web RUNNING"},
				{12 * time.Second, "web STOPPED, web STOPPED, web STOPPING→STOPPED, web STOPPING→STOPPED"},
			},
		},
		"those elsewhere are enough": {
			[]sim.Service{{Name: "web", Task: quick, Desired: 4, Elsewhere: 3, MinimumHealthyPercent: new(75), NoRoom: true}},
			[]moment{{0, "web STOPPING→STOPPED"}},
		},
		"what does not run yet leaves at once": {
			[]sim.Service{{Name: "web", Task: sim.TaskDefinition{StartTakes: time.Hour}, NoRoom: true}},
			[]moment{{0, "web STOPPED"}},
		},
		"a daemon leaves last, as soon as replicas do not run": {
			[]sim.Service{
				{Name: "logs", Daemon: true, Task: quick},
				{Name: "web", Task: sim.TaskDefinition{StopTakes: 10 * time.Second}, DeregistrationDelay: time.Minute, ReplacementTakes: time.Minute},
			},
			[]moment{
				{59 * time.Second, "logs RUNNING, web RUNNING"},
				{60 * time.Second, "logs STOPPING→STOPPED, web DEACTIVATING→STOPPED"},
				{62 * time.Second, "logs STOPPED, web DEACTIVATING→STOPPED"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				arn := b.SetRegistered("web")
				for _, s := range tc.services {
					if err := b.SetService(s); err != nil {
						t.Fatal(err)
					}
				}
				before := b.statuses()
				if _, err := b.AddTask(sim.TaskDefinition{Family: "alone"}, ""); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if got := b.statuses(); got != before+", alone RUNNING" {
					t.Errorf("before: %s", got)
				}
				b.drain(t, arn)
				for i := range tc.story {
					tc.story[i].want += ", alone RUNNING"
				}
				b.follow(t, tc.story)
			})
		})
	}
}

func TestReplacementsRunOnOtherNodes(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		other, err := b.AddNode(sim.Instance{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		arn, elsewhere := b.SetRegistered("web"), other.SetRegistered("web")
		if err := b.SetService(sim.Service{Name: "web"}); err != nil {
			t.Fatal(err)
		}
		b.drain(t, arn)
		if got := b.ECSTasks(); len(got) != 2 || got[1].ContainerInstance != elsewhere || got[1].Last != "RUNNING" || got[0].Desired != "STOPPED" {
			t.Errorf("%+v", got)
		}
		other.Deregister()
		if got := b.ECSTasks()[1]; got.Last != "STOPPED" || !strings.HasPrefix(got.StoppedReason, "Host EC2 (instance i-0") {
			t.Errorf("on an instance that is gone: %+v", got)
		}
	})
}

func TestAnInstanceThatIsActiveAgainTakesTasks(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		service := sim.Service{Name: "web", Desired: 2, ReplacementTakes: time.Minute, NoRoom: true}
		if err := b.SetService(service); err != nil {
			t.Fatal(err)
		}
		b.SetContainerInstanceStatus("DRAINING")
		service.NoRoom = false
		if err := b.SetService(service); err != nil {
			t.Fatal(err)
		}
		b.follow(t, []moment{{time.Second, "web RUNNING, web RUNNING"}})
		b.SetContainerInstanceStatus("ACTIVE")
		b.follow(t, []moment{{time.Hour, "web RUNNING, web RUNNING"}})
		for _, task := range b.ECSTasks()[2:] {
			if task.Last != "STOPPED" {
				t.Errorf("one too many: %+v", task)
			}
		}
	})
}

func TestUpdateContainerInstancesState(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		arn := b.SetRegistered("web")
		update := func(status types.ContainerInstanceStatus, instances ...string) (*ecs.UpdateContainerInstancesStateOutput, error) {
			return b.ecs().UpdateContainerInstancesState(t.Context(), &ecs.UpdateContainerInstancesStateInput{
				Cluster: aws.String("web"), ContainerInstances: instances, Status: status,
			})
		}
		out, err := update("DRAINING", "0123", arn)
		if err != nil || len(out.ContainerInstances) != 1 || *out.Failures[0].Reason != "MISSING" ||
			*out.Failures[0].Arn != "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/0123" {
			t.Errorf("%+v, %v", out, err)
		}
		b.SetContainerInstanceStatus("INACTIVE")
		out, err = update("ACTIVE", arn)
		if err != nil || len(out.ContainerInstances) != 0 || *out.Failures[0].Reason != "INACTIVE" || *out.Failures[0].Arn != arn {
			t.Errorf("%+v, %v", out, err)
		}
		_, err = update("DRAINING", strings.Split(strings.Repeat("x", 11), "")...)
		wantCode(t, err, "InvalidParameterException", http.StatusBadRequest)
		_, err = update("INACTIVE", arn)
		wantCode(t, err, "InvalidParameterException", http.StatusBadRequest)
		b.SetContainerInstanceStatus("REGISTERING")
		_, err = update("DRAINING", arn)
		wantCode(t, err, "InvalidParameterException", http.StatusBadRequest)
	})
}

func TestListTasks(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		here := b.SetRegistered("web")
		if err := b.SetService(sim.Service{Name: "web", Desired: 2, Elsewhere: 1, Task: sim.TaskDefinition{Family: "site"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.AddTask(sim.TaskDefinition{Family: "batch"}, "me"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.AddTask(sim.TaskDefinition{Family: "done"}, "me"); err != nil {
			t.Fatal(err)
		}
		b.EndTasks("done")
		name := map[string]string{}
		for i, task := range b.ECSTasks() {
			name[task.ARN] = fmt.Sprint(task.Family, i)
		}
		list := func(in ecs.ListTasksInput) (string, *string, error) {
			in.Cluster = aws.String("web")
			out, err := b.ecs().ListTasks(t.Context(), &in)
			if err != nil {
				return "", nil, err
			}
			var names []string
			for _, arn := range out.TaskArns {
				names = append(names, name[arn])
			}
			return strings.Join(names, " "), out.NextToken, nil
		}
		for _, tc := range []struct {
			name string
			in   ecs.ListTasksInput
			want string
		}{
			{"all that are to run", ecs.ListTasksInput{}, "site0 site1 batch2"},
			{"of an instance", ecs.ListTasksInput{ContainerInstance: &here}, "site0 batch2"},
			{"to stop", ecs.ListTasksInput{ContainerInstance: &here, DesiredStatus: types.DesiredStatusStopped}, "done3"},
			{"to pend", ecs.ListTasksInput{DesiredStatus: types.DesiredStatusPending}, ""},
			{"of a family", ecs.ListTasksInput{Family: aws.String("batch"), ContainerInstance: &here}, "batch2"},
			{"of a service", ecs.ListTasksInput{ServiceName: aws.String("web")}, "site0 site1"},
			{"started by", ecs.ListTasksInput{StartedBy: aws.String("me")}, "batch2"},
			{"started by, to stop", ecs.ListTasksInput{StartedBy: aws.String("me"), DesiredStatus: types.DesiredStatusStopped}, "done3"},
			{"on Fargate", ecs.ListTasksInput{LaunchType: types.LaunchTypeFargate}, ""},
		} {
			if got, _, err := list(tc.in); err != nil || got != tc.want {
				t.Errorf("%s: %s, %v, want %s", tc.name, got, err, tc.want)
			}
		}
		got, next, err := list(ecs.ListTasksInput{MaxResults: aws.Int32(2)})
		if err != nil || got != "site0 site1" {
			t.Errorf("first page %s, %v", got, err)
		}
		if got, next, err = list(ecs.ListTasksInput{MaxResults: aws.Int32(2), NextToken: next}); err != nil || got != "batch2" || next != nil {
			t.Errorf("second page %s, %v", got, err)
		}
		for code, in := range map[string]ecs.ListTasksInput{
			"InvalidParameterException": {StartedBy: aws.String("me"), ContainerInstance: &here},
			"ServiceNotFoundException":  {ServiceName: aws.String("gone")},
		} {
			_, _, err := list(in)
			wantCode(t, err, code, http.StatusBadRequest)
		}
	})
}

func TestListTasksLagsBehind(t *testing.T) {
	inBubble(t, sim.Options{ListLag: 5 * time.Second}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		if _, err := b.AddTask(sim.TaskDefinition{Family: "batch"}, ""); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{0, 1} {
			out, err := b.ecs().ListTasks(t.Context(), &ecs.ListTasksInput{Cluster: aws.String("web")})
			if err != nil || len(out.TaskArns) != want {
				t.Errorf("%v, %v, want %d", out.TaskArns, err, want)
			}
			time.Sleep(5 * time.Second)
		}
	})
}

func TestStartTask(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		arn := b.SetRegistered("web")
		b.AddTaskDefinition(sim.TaskDefinition{Family: "logs", MemoryMiB: 5000})
		b.AddTaskDefinition(sim.TaskDefinition{Family: "logs", Revision: 2, MemoryMiB: 4000, StartTakes: 2 * time.Second})
		start := func(definition, startedBy string, on ...string) (*ecs.StartTaskOutput, error) {
			return b.ecs().StartTask(t.Context(), &ecs.StartTaskInput{Cluster: aws.String("web"), TaskDefinition: &definition, StartedBy: &startedBy, ContainerInstances: on})
		}
		out, err := start("logs", "0123456789abcdef0123456789abcdef", arn, "0123")
		if err != nil || len(out.Tasks) != 1 || *out.Failures[0].Reason != "MISSING" {
			t.Fatalf("%+v, %v", out, err)
		}
		if got := out.Tasks[0]; *got.LastStatus != "PROVISIONING" || *got.Group != "family:logs" || !strings.HasSuffix(*got.TaskDefinitionArn, "/logs:2") {
			t.Errorf("%+v", got)
		}
		b.follow(t, []moment{{2 * time.Second, "logs RUNNING"}})
		reason := func(want string) {
			t.Helper()
			if out, err := start("logs:1", "", arn); err != nil || len(out.Tasks) != 0 || *out.Failures[0].Reason != want {
				t.Errorf("%+v, %v, want %s", out, err, want)
			}
		}
		reason("RESOURCE:MEMORY")
		b.SetMemory(9000)
		b.SetAgentRunning(false)
		reason("AGENT")
		b.SetContainerInstanceStatus("INACTIVE")
		reason("INACTIVE")
		for code, in := range map[string][2]string{
			"ClientException":           {"none", ""},
			"InvalidParameterException": {"logs", "ecsnode/0123456789abcdef0123456789abcdef"},
		} {
			_, err := start(in[0], in[1], arn)
			wantCode(t, err, code, http.StatusBadRequest)
		}
	})
}

func TestDescribeServices(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		for _, s := range []sim.Service{
			{Name: "web", Desired: 3, Elsewhere: 1, MinimumHealthyPercent: new(50), MaximumPercent: new(150), DeregistrationDelay: time.Minute},
			{Name: "logs", Daemon: true, ReplacementTakes: time.Minute, Task: sim.TaskDefinition{StartTakes: time.Minute}},
		} {
			if err := b.SetService(s); err != nil {
				t.Fatal(err)
			}
		}
		out, err := b.ecs().DescribeServices(t.Context(), &ecs.DescribeServicesInput{Cluster: aws.String("web"), Services: []string{"web", "logs", "gone"}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range out.Services {
			c := s.DeploymentConfiguration
			got = append(got, fmt.Sprintln(*s.ServiceName, s.SchedulingStrategy, s.DesiredCount, s.RunningCount, s.PendingCount, *c.MinimumHealthyPercent, *c.MaximumPercent, len(s.LoadBalancers)))
		}
		want := []string{"web REPLICA 3 3 0 50 150 1\n", "logs DAEMON 2 0 2 0 100 0\n"}
		if diff := cmp.Diff(want, got); diff != "" || len(out.Failures) != 1 || *out.Failures[0].Reason != "MISSING" {
			t.Errorf("%s, %+v", diff, out.Failures)
		}
	})
}

func TestWhatTheAgentShowsOfATask(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		arn := b.SetRegistered("web")
		err := b.SetService(sim.Service{
			Name: "web", Task: sim.TaskDefinition{StartTakes: 2 * time.Second, StopTakes: time.Second},
			DeregistrationDelay: time.Minute, MinimumHealthyPercent: new(0),
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		shows := func(after time.Duration, want string) {
			t.Helper()
			time.Sleep(time.Until(start.Add(after)))
			var answer struct{ Tasks []sim.Task }
			s := see(t.Context(), b.http, "GET", "http://localhost:51678/v1/tasks")
			if err := json.Unmarshal(s.body, &answer); err != nil || answer.Tasks == nil {
				t.Fatalf("%s: %v", s.body, err)
			}
			got := ""
			for _, task := range answer.Tasks {
				got += task.KnownStatus + "→" + task.DesiredStatus
			}
			if got != want {
				t.Errorf("after %v: %s, want %s", after, got, want)
			}
		}
		shows(0, "")
		shows(time.Second, "PENDING→RUNNING")
		shows(2*time.Second, "RUNNING→RUNNING")
		b.drain(t, arn)
		shows(61*time.Second, "RUNNING→RUNNING") // ECS has it DEACTIVATING
		shows(62*time.Second, "RUNNING→STOPPED")
		shows(63*time.Second, "STOPPED→STOPPED")
		shows(3*time.Hour, "STOPPED→STOPPED")
		shows(3*time.Hour+2*time.Minute, "")
	})
}

func TestTasksInAScenario(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		s, err := sim.ParseScenario([]byte(`
state:
  registered: web
  memory_mib: 1000
  task_definitions: [{family: logs, memory_mib: 2000}]
  services:
    - name: web
      desired: 2
      elsewhere: 1
      minimum_healthy_percent: 50
      maximum_percent: 200
      deregistration_delay: 30s
      replacement_takes: 1m
      no_room: true
      task: {stop_takes: 5s, stop_timeout: 2m}
    - {name: daemon, daemon: true}
  add_tasks: [{family: batch, revision: 3, start_takes: 1s, started_by: me}]
  container_instance_status: DRAINING
steps:
  - at: 10s
    end_tasks: [batch]
    list_lag: 1s
`))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Apply(s.State); err != nil {
			t.Fatal(err)
		}
		if got, want := b.statuses(), "web DEACTIVATING→STOPPED, daemon DEPROVISIONING→STOPPED, batch PROVISIONING"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		time.Sleep(10 * time.Second)
		if err := b.Apply(s.Steps[0].Change); err != nil {
			t.Fatal(err)
		}
		if got, want := b.statuses(), "web DEACTIVATING→STOPPED, daemon STOPPED, batch DEPROVISIONING→STOPPED"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if n := len(b.State().ECSTasks); n != 5 {
			t.Errorf("%d tasks in the state", n)
		}
		b.Deregister()
		for _, change := range []sim.TasksChange{{Services: []sim.Service{{Name: "web"}}}, {AddTasks: []sim.AddedTask{{}}}} {
			if err := b.Apply(sim.Change{TasksChange: change}); err == nil || !strings.Contains(err.Error(), "is not registered") {
				t.Error(err)
			}
		}
	})
}
