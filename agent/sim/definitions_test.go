package sim_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestTaskDefinitions(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		on := b.SetRegistered("web")
		for _, revision := range []int{1, 3, 2} {
			b.AddTaskDefinition(sim.TaskDefinition{Family: "app", Revision: revision, Sidecars: []string{"router"}})
		}
		api := b.ecs()
		describe := func(name string, revision int32, status types.TaskDefinitionStatus) {
			t.Helper()
			out, err := api.DescribeTaskDefinition(t.Context(), &ecs.DescribeTaskDefinitionInput{TaskDefinition: &name})
			if err != nil || out.TaskDefinition.Revision != revision || out.TaskDefinition.Status != status || len(out.TaskDefinition.ContainerDefinitions) != 2 {
				t.Errorf("%s: %+v, %v", name, out, err)
			}
		}
		describe("app", 3, types.TaskDefinitionStatusActive)
		describe("app:1", 1, types.TaskDefinitionStatusActive)
		describe("arn:aws:ecs:eu-west-1:123456789012:task-definition/app:2", 2, types.TaskDefinitionStatusActive)
		if _, err := api.DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("app:3")}); err != nil {
			t.Fatal(err)
		}
		describe("app", 2, types.TaskDefinitionStatusActive)
		describe("app:3", 3, types.TaskDefinitionStatusInactive)

		start := func(name string) (*ecs.StartTaskOutput, error) {
			return api.StartTask(t.Context(), &ecs.StartTaskInput{Cluster: aws.String("web"), ContainerInstances: []string{on}, TaskDefinition: &name})
		}
		_, err := start("app:3")
		wantCode(t, err, "ClientException", http.StatusBadRequest)
		if out, err := start("app"); err != nil || aws.ToString(out.Tasks[0].TaskDefinitionArn) != "arn:aws:ecs:eu-west-1:123456789012:task-definition/app:2" {
			t.Errorf("%+v, %v", out, err)
		}
		for _, revision := range []int{1, 2} {
			if err := b.DeregisterTaskDefinition("app", revision); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"app", "app:4", "other"} {
			_, err := api.DescribeTaskDefinition(t.Context(), &ecs.DescribeTaskDefinitionInput{TaskDefinition: &name})
			wantCode(t, err, "ClientException", http.StatusBadRequest)
		}
		if err := b.DeregisterTaskDefinition("other", 1); err == nil {
			t.Error("no error")
		}
		_, err = start("app")
		wantCode(t, err, "ClientException", http.StatusBadRequest)
		if got := b.statuses(); got != "app RUNNING" {
			t.Errorf("what runs goes on: %s", got)
		}
	})
}

func TestATaskThatEndsByItself(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		arn := b.add(t, sim.TaskDefinition{Family: "app", StartTakes: 2 * time.Second, RunsFor: 5 * time.Second, ExitCode: 3, Sidecars: []string{"router"}})
		b.follow(t, []moment{
			{2 * time.Second, "app RUNNING"},
			{6999 * time.Millisecond, "app RUNNING"},
			{7 * time.Second, "app DEPROVISIONING→STOPPED"},
			{8 * time.Second, "app STOPPED"},
		})
		out, err := b.ecs().DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Cluster: aws.String("web"), Tasks: []string{arn}})
		if err != nil {
			t.Fatal(err)
		}
		task := out.Tasks[0]
		if task.StopCode != types.TaskStopCodeEssentialContainerExited || *task.Containers[0].ExitCode != 3 || *task.Containers[1].ExitCode != 0 {
			t.Errorf("%+v", task)
		}
		// One that is stopped before ends as it is told to.
		arn = b.add(t, sim.TaskDefinition{Family: "app", Revision: 2, RunsFor: time.Hour, ExitCode: 3})
		if _, err := b.ecs().StopTask(t.Context(), &ecs.StopTaskInput{Cluster: aws.String("web"), Task: &arn}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		for _, c := range b.Containers() {
			if c.TaskARN == arn && (c.ExitCode != 0 || c.EndedAt.IsZero()) {
				t.Errorf("%+v", c)
			}
		}
	})
}

func TestATaskThatNeverRuns(t *testing.T) {
	const why = "CannotPullContainerError: pull image manifest has been retried 1 time(s)"
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		arn := b.add(t, sim.TaskDefinition{Family: "bad", StartTakes: 10 * time.Second, Fails: why})
		b.follow(t, []moment{{0, "bad PROVISIONING"}, {5 * time.Second, "bad PENDING"}, {10 * time.Second, "bad STOPPED"}})
		out, err := b.ecs().DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Cluster: aws.String("web"), Tasks: []string{arn}})
		if err != nil {
			t.Fatal(err)
		}
		task := out.Tasks[0]
		if task.StopCode != types.TaskStopCodeTaskFailedToStart || *task.StoppedReason != why || *task.Containers[0].Reason != why ||
			task.StartedAt != nil || task.Containers[0].ExitCode != nil {
			t.Errorf("%+v", task)
		}
		if all := b.Containers(); len(all) != 0 {
			t.Errorf("%+v", all)
		}
		b.add(t, sim.TaskDefinition{Family: "bad", Fails: why})
		b.SetAgentRunning(false)
		b.follow(t, []moment{{time.Hour - time.Minute, "bad STOPPED, bad PENDING"}}) // nobody finds out
	})
}

func TestARestartPolicy(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		c := b.docker(t)
		arn := b.add(t, sim.TaskDefinition{Family: "app", RunsFor: time.Minute, ExitCode: 1, StopTakes: 3 * time.Second, RestartPolicy: true, RestartTakes: 2 * time.Second})
		first, begin := b.id(t, "app"), time.Now()
		time.Sleep(61 * time.Second)
		if got := b.running(t, c); got != "" || b.statuses() != "app RUNNING" {
			t.Errorf("%q, %s", got, b.statuses())
		}
		time.Sleep(time.Second)
		if s := b.Containers()[0]; s.ID != first || s.Restarts != 1 || !s.EndedAt.IsZero() || !s.StartedAt.Equal(begin.Add(62*time.Second)) {
			t.Errorf("%+v", s)
		}
		all, err := c.Containers(t.Context())
		if err != nil || len(all) != 1 || all[0].ID != first || !all[0].Created.Equal(begin) {
			t.Errorf("%+v, %v", all, err)
		}
		time.Sleep(61 * time.Second) // it has ended again
		if _, err := b.ecs().StopTask(t.Context(), &ecs.StopTaskInput{Cluster: aws.String("web"), Task: &arn}); err != nil {
			t.Fatal(err)
		}
		b.follow(t, []moment{{time.Second, "app STOPPED"}, {time.Hour / 2, "app STOPPED"}})
		if all := b.Containers(); len(all) != 1 || all[0].Restarts != 1 || all[0].ExitCode != 1 {
			t.Errorf("%+v", all)
		}
		// One that is removed cannot be started again.
		arn = b.add(t, sim.TaskDefinition{Family: "two", RestartPolicy: true})
		if n := b.EndTasks("two"); n != 1 || b.ECSTasks()[1].Last != "RUNNING" {
			t.Errorf("%d, %+v", n, b.ECSTasks())
		}
		if err := b.RemoveContainer(b.id(t, "two")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if last := b.ECSTasks()[1]; last.ARN != arn || last.Last != "STOPPED" || last.StopCode != "EssentialContainerExited" {
			t.Errorf("%+v", last)
		}
	})
}

func TestOverridesOfStartTask(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		on := b.SetRegistered("web")
		b.AddTaskDefinition(sim.TaskDefinition{Family: "app", Sidecars: []string{"router"}})
		start := func(container string) (*ecs.StartTaskOutput, error) {
			return b.ecs().StartTask(t.Context(), &ecs.StartTaskInput{
				Cluster: aws.String("web"), ContainerInstances: []string{on}, TaskDefinition: aws.String("app"),
				Overrides: &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{
					Name: &container, Environment: []types.KeyValuePair{{Name: aws.String("A"), Value: aws.String("b")}},
				}}},
			})
		}
		out, err := start("router")
		if err != nil || *out.Tasks[0].Overrides.ContainerOverrides[0].Environment[0].Value != "b" {
			t.Fatalf("%+v, %v", out, err)
		}
		if diff := cmp.Diff(map[string]map[string]string{"router": {"A": "b"}}, b.ECSTasks()[0].Environment); diff != "" {
			t.Error(diff)
		}
		_, err = start("other")
		wantCode(t, err, "InvalidParameterException", http.StatusBadRequest)
	})
}

func TestCapacityProviders(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		on := b.SetRegistered("web")
		name := func() string {
			out, err := b.ecs().DescribeContainerInstances(t.Context(), &ecs.DescribeContainerInstancesInput{Cluster: aws.String("web"), ContainerInstances: []string{on}})
			if err != nil {
				t.Fatal(err)
			}
			return aws.ToString(out.ContainerInstances[0].CapacityProviderName)
		}
		if got := name(); got != "" {
			t.Error(got)
		}
		b.SetCapacityProvider(sim.CapacityProvider{Name: "spot", ManagedScaling: true, ManagedDraining: true})
		if got := name(); got != "spot" {
			t.Error(got)
		}
		out, err := b.ecs().DescribeCapacityProviders(t.Context(), &ecs.DescribeCapacityProvidersInput{CapacityProviders: []string{"spot", "gone"}})
		if err != nil || len(out.CapacityProviders) != 1 || len(out.Failures) != 1 || *out.Failures[0].Reason != "MISSING" {
			t.Fatalf("%+v, %v", out, err)
		}
		got := out.CapacityProviders[0].AutoScalingGroupProvider
		if got.ManagedScaling.Status != "ENABLED" || got.ManagedDraining != "ENABLED" || got.ManagedTerminationProtection != "DISABLED" {
			t.Errorf("%+v", got)
		}
	})
}

func TestDefinitionsInAScenario(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		s, err := sim.ParseScenario([]byte(`
state:
  registered: web
  task_definitions:
    - {family: app, revision: 1, runs_for: 5s, exit_code: 1, restart_policy: true, restart_takes: 1s}
    - {family: app, revision: 2, fails: "CannotPullContainerError: none"}
  deregister_task_definitions: ["app:2"]
  capacity_provider: {name: spot, managed_scaling: true, termination_protection: true, managed_draining: true}
  run_containers: [{name: monitor}]
steps:
  - at: 1s
    remove_containers: [monitor]
`))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Apply(s.State); err != nil {
			t.Fatal(err)
		}
		if err := b.Play(t.Context(), s, nil); err != nil {
			t.Fatal(err)
		}
		ci, _ := b.ContainerInstance()
		out, err := b.ecs().StartTask(t.Context(), &ecs.StartTaskInput{Cluster: aws.String("web"), ContainerInstances: []string{ci.ARN}, TaskDefinition: aws.String("app")})
		if err != nil || len(out.Tasks) != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		time.Sleep(6 * time.Second)
		if all := b.Containers(); len(all) != 2 || !all[0].Killed || all[1].Restarts != 1 {
			t.Errorf("%+v", all)
		}
		for _, c := range []sim.Change{
			{TasksChange: sim.TasksChange{DeregisterTaskDefinitions: []string{"app"}}},
			{DockerChange: sim.DockerChange{RemoveContainers: []string{"monitor"}}},
		} {
			if err := b.Apply(c); err == nil {
				t.Errorf("no error: %+v", c)
			}
		}
	})
}
