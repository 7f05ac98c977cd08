package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

type describedTask struct {
	TaskARN              string      `json:"taskArn"`
	ClusterARN           string      `json:"clusterArn"`
	ContainerInstanceARN string      `json:"containerInstanceArn"`
	TaskDefinitionARN    string      `json:"taskDefinitionArn"`
	Group                string      `json:"group"`
	StartedBy            string      `json:"startedBy,omitempty"`
	LastStatus           string      `json:"lastStatus"`
	DesiredStatus        string      `json:"desiredStatus"`
	LaunchType           string      `json:"launchType"`
	Memory               string      `json:"memory"`
	CreatedAt            wireTime    `json:"createdAt"`
	StartedAt            wireTime    `json:"startedAt,omitzero"`
	StoppingAt           wireTime    `json:"stoppingAt,omitzero"`
	StoppedAt            wireTime    `json:"stoppedAt,omitzero"`
	StopCode             string      `json:"stopCode,omitempty"`
	StoppedReason        string      `json:"stoppedReason,omitempty"`
	Containers           []wireNamed `json:"containers"`
	Overrides            overrides   `json:"overrides"`
	Version              int         `json:"version"`
}

// wireTime is seconds since 1970, 0 for none.
type wireTime float64

func wireTimeOf(t time.Time) wireTime {
	return wireTime(t.UnixMilli()) / wireTime(time.Second/time.Millisecond)
}

type wireNamed struct {
	Name       string `json:"name"`
	RuntimeID  string `json:"runtimeId,omitempty"`
	LastStatus string `json:"lastStatus"`
	ExitCode   *int   `json:"exitCode,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

func (t *task) describe(at time.Time) describedTask {
	i, d := t.on.node.instance, t.definition
	out := describedTask{
		TaskARN: t.arn(), ContainerInstanceARN: t.on.arn(),
		ClusterARN:        fmt.Sprintf("arn:aws:ecs:%s:%s:cluster/%s", i.Region, i.Account, t.on.cluster),
		TaskDefinitionARN: i.definitionARN(d),
		Group:             t.group(), StartedBy: t.startedBy, LastStatus: t.status(at), DesiredStatus: t.desired(at),
		LaunchType: "EC2", Memory: strconv.Itoa(d.MemoryMiB), CreatedAt: wireTimeOf(t.created), Version: 1,
		StopCode: t.stopCode, StoppedReason: t.reason, Overrides: t.overrides,
	}
	for i, c := range t.containers {
		one := wireNamed{Name: c.name, RuntimeID: c.id, LastStatus: t.status(at)}
		if d.Fails != "" {
			one.RuntimeID = ""
		}
		if i == 0 && has(t.stopped, at) {
			one.Reason = d.Fails
		}
		if c.exists(at) && has(c.ended, at) {
			one.ExitCode = new(c.last(at).exitCode())
		}
		out.Containers = append(out.Containers, one)
	}
	for _, mark := range []struct {
		at  time.Time
		set *wireTime
	}{{t.running, &out.StartedAt}, {t.stop, &out.StoppingAt}, {t.stopped, &out.StoppedAt}} {
		if has(mark.at, at) {
			*mark.set = wireTimeOf(mark.at)
			out.Version++
		}
	}
	return out
}

// findTask finds a task that ECS shows by id or ARN.
func (r *apiRequest) findTask(c *cluster, id string) *task {
	now := r.world.settle()
	for _, t := range r.world.ecs.tasks {
		if t.on.cluster == c.name && (id == t.id || id == t.arn()) && t.shown(now) {
			return t
		}
	}
	return nil
}

// listTasks: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
// startedBy "must be the only filter"; that the cluster and desiredStatus go
// with it is what apache/airflow's operator for ECS does.
func listTasks(r *apiRequest) (any, error) {
	var in struct {
		Cluster           string `json:"cluster"`
		ContainerInstance string `json:"containerInstance"`
		DesiredStatus     string `json:"desiredStatus"`
		Family            string `json:"family"`
		LaunchType        string `json:"launchType"`
		ServiceName       string `json:"serviceName"`
		StartedBy         string `json:"startedBy"`
		pageRequest
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := r.findCluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	var on *containerInstance
	service := in.ServiceName[strings.LastIndex(in.ServiceName, "/")+1:]
	switch {
	case in.StartedBy != "" && in.ContainerInstance+in.Family+in.LaunchType+service != "":
		return nil, invalidParameter("startedBy must be the only filter.")
	case !slices.Contains([]string{"", taskRunning, taskPending, facts.TaskStopped}, in.DesiredStatus):
		return nil, invalidParameter("desiredStatus %q is invalid.", in.DesiredStatus)
	case service != "" && c.findService(service) == nil:
		return nil, clientError("ServiceNotFoundException", "Service not found.")
	case in.ContainerInstance != "":
		if on = c.find(in.ContainerInstance); on == nil {
			return nil, invalidParameter("Container instance %s was not found.", in.ContainerInstance)
		}
	}
	desired := in.DesiredStatus
	if desired == "" {
		desired = taskRunning
	}
	asOf := r.world.settle().Add(-r.world.ecs.listLag)
	arns := []string{}
	for _, t := range r.world.ecs.tasks {
		if t.on.cluster == c.name && t.shown(asOf) && t.desired(asOf) == desired &&
			(on == nil || t.on == on) && (in.StartedBy == "" || t.startedBy == in.StartedBy) &&
			(in.Family == "" || t.definition.Family == in.Family) && (in.LaunchType == "" || in.LaunchType == "EC2") &&
			(service == "" || t.service != nil && t.service.Name == service) {
			arns = append(arns, t.arn())
		}
	}
	page, next, err := paginate(arns, in.pageRequest)
	if err != nil {
		return nil, err
	}
	return struct {
		TaskARNs  []string `json:"taskArns"`
		NextToken string   `json:"nextToken,omitempty"`
	}{page, next}, nil
}

// tasksAnswer is what DescribeTasks and StartTask answer.
type tasksAnswer struct {
	Tasks    []describedTask `json:"tasks"`
	Failures []ecsFailure    `json:"failures"`
}

// describeTasks: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
func describeTasks(r *apiRequest) (any, error) {
	var in struct {
		Cluster string   `json:"cluster"`
		Tasks   []string `json:"tasks"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := r.findCluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	switch n := len(in.Tasks); {
	case n == 0:
		return nil, invalidParameter("Tasks cannot be empty.") // sil-org/ecs-deploy issue 63
	case n > maxDescribed:
		return nil, invalidParameter("Tasks must have at most %d entries, not %d.", maxDescribed, n)
	}
	out := tasksAnswer{[]describedTask{}, []ecsFailure{}}
	for _, id := range in.Tasks {
		if t := r.findTask(c, id); t != nil {
			out.Tasks = append(out.Tasks, t.describe(r.world.ecs.settled))
		} else {
			out.Failures = append(out.Failures, r.failure("task", id, "MISSING"))
		}
	}
	return out, nil
}

// stopTask: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html
func stopTask(r *apiRequest) (any, error) {
	var in struct {
		Cluster string `json:"cluster"`
		Task    string `json:"task"`
		Reason  string `json:"reason"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := r.findCluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	t := r.findTask(c, in.Task)
	if t == nil {
		return nil, invalidParameter("The referenced task was not found.") // wazuh/wazuh issue 25439
	}
	if in.Reason == "" {
		in.Reason = "Task stopped by user"
	}
	r.world.changeECS(func() { t.halt(r.world.ecs.settled, "UserInitiated", in.Reason) })
	return struct {
		Task describedTask `json:"task"`
	}{t.describe(r.world.ecs.settled)}, nil
}
