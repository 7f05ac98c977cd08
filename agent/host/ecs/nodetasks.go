package ecs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

const (
	startTask          = "ecs:StartTask"
	describeDefinition = "ecs:DescribeTaskDefinition"
	describeProviders  = "ecs:DescribeCapacityProviders"
)

// maxOverrides is how many characters of JSON overrides may have.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html
const maxOverrides = 8192

// StartTask starts a task on the container instance, by one request: who asks
// again must know what became of the first.
//
// The error is a *facts.TaskRefused if ECS has no way to start it there,
// facts.ErrRefused if the instance role does not allow it, facts.ErrTaskDefinition
// if it is the task definition's fault, facts.ErrAbsent if there is no such cluster, and
// facts.ErrThrottled: nothing was started then. facts.ErrUnavailable leaves open
// whether it was.
func (c *Client) StartTask(ctx context.Context, on facts.ContainerInstance, t facts.TaskStart) (facts.Task, error) {
	task, err := c.start(ctx, on, t)
	if err != nil {
		return facts.Task{}, fmt.Errorf("cannot start %s: %w", t.Definition, err)
	}
	return task, nil
}

func (c *Client) start(ctx context.Context, on facts.ContainerInstance, t facts.TaskStart) (facts.Task, error) {
	region, err := regionOf(on)
	if err != nil {
		return facts.Task{}, err
	}
	input := &ecs.StartTaskInput{Cluster: &on.Cluster, ContainerInstances: []string{on.ARN}, TaskDefinition: &t.Definition}
	if t.StartedBy != "" {
		input.StartedBy = &t.StartedBy
	}
	if input.Overrides, err = overrides(t.Environment); err != nil {
		return facts.Task{}, err
	}
	once := func(o *ecs.Options) { o.Retryer = aws.NopRetryer{} }
	out, err := in(ctx, region, c.startTask, input, startTask, on.Cluster, once)
	switch {
	case errors.Is(err, facts.ErrRefused) && strings.Contains(err.Error(), "TaskDefinition"):
		// Its words in all cases: not found, inactive, no such container.
		return facts.Task{}, facts.ForTaskDefinition(err)
	case err != nil:
		return facts.Task{}, err
	case len(out.Tasks) == 1 && aws.ToString(out.Tasks[0].TaskArn) != "" && aws.ToString(out.Tasks[0].ContainerInstanceArn) == on.ARN:
		return taskOf(out.Tasks[0]), nil
	case len(out.Tasks) == 0 && len(out.Failures) > 0:
		f := out.Failures[0]
		return facts.Task{}, &facts.TaskRefused{Reason: httpx.Excerpt(aws.ToString(f.Reason)), Detail: httpx.Excerpt(aws.ToString(f.Detail))}
	}
	return facts.Task{}, fmt.Errorf("%w: the answer has neither the task nor a failure", facts.ErrUnavailable)
}

// overrides sets variables, in the order of their names; nil: there are none.
func overrides(environment map[string]map[string]string) (*types.TaskOverride, error) {
	type variable struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	type container struct {
		Name        string     `json:"name"`
		Environment []variable `json:"environment"`
	}
	// As it is sent, to be measured.
	var sent struct {
		ContainerOverrides []container `json:"containerOverrides"`
	}
	o := &types.TaskOverride{}
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		if len(environment[name]) == 0 {
			continue
		}
		one, short := types.ContainerOverride{Name: &name}, container{Name: name}
		for _, key := range slices.Sorted(maps.Keys(environment[name])) {
			value := environment[name][key]
			one.Environment = append(one.Environment, types.KeyValuePair{Name: &key, Value: &value})
			short.Environment = append(short.Environment, variable{key, value})
		}
		o.ContainerOverrides = append(o.ContainerOverrides, one)
		sent.ContainerOverrides = append(sent.ContainerOverrides, short)
	}
	if len(o.ContainerOverrides) == 0 {
		return nil, nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(sent); err != nil {
		return nil, fmt.Errorf("%w: the environment is no JSON: %w", facts.ErrRefused, err)
	}
	if n := utf8.RuneCount(bytes.TrimSpace(text.Bytes())); n > maxOverrides {
		return nil, fmt.Errorf("%w: the environment takes %d characters of JSON, of which ECS takes %d", facts.ErrRefused, n, maxOverrides)
	}
	return o, nil
}

// taskOf is what an answer says of a task.
func taskOf(t types.Task) facts.Task {
	family, revision := definitionOf(aws.ToString(t.TaskDefinitionArn))
	return facts.Task{
		ARN: aws.ToString(t.TaskArn), Family: family, Revision: revision, Group: aws.ToString(t.Group),
		StartedBy: aws.ToString(t.StartedBy), Last: aws.ToString(t.LastStatus), Desired: aws.ToString(t.DesiredStatus),
		Created: aws.ToTime(t.CreatedAt), StoppedReason: stoppedReason(t),
	}
}

// stoppedReason is why a task stops: ECS's words and, once it is STOPPED, those
// about a container that did not end well: the one with the name of the family if
// it is among them, as the answer does not tell which are essential.
func stoppedReason(t types.Task) string {
	reason := aws.ToString(t.StoppedReason)
	family, _ := definitionOf(aws.ToString(t.TaskDefinitionArn))
	ill := slices.DeleteFunc(slices.Clone(t.Containers), func(c types.Container) bool {
		return aws.ToInt32(c.ExitCode) == 0 && aws.ToString(c.Reason) == ""
	})
	if aws.ToString(t.LastStatus) != facts.TaskStopped || len(ill) == 0 {
		return httpx.Excerpt(reason)
	}
	main := ill[max(0, slices.IndexFunc(ill, func(c types.Container) bool { return aws.ToString(c.Name) == family }))]
	var parts []string
	if main.ExitCode != nil {
		parts = append(parts, fmt.Sprintf("exit code %d", *main.ExitCode))
	}
	if why := aws.ToString(main.Reason); why != "" && !strings.Contains(reason, why) {
		parts = append(parts, why)
	}
	if len(parts) == 0 {
		return httpx.Excerpt(reason)
	}
	return httpx.Excerpt(strings.TrimPrefix(fmt.Sprintf("%s: %s %s", reason, aws.ToString(main.Name), strings.Join(parts, ", ")), ": "))
}

// StartedBy returns the tasks of the container instance that somebody started
// and that are to run, and the others named, STOPPED ones too, in the order of
// their ARNs. Those that ECS has forgotten are left out, and those of another
// cluster are not asked for: ECS would refuse the whole question. ECS's lists are
// eventually consistent.
//
// ListTasks takes no other filter beside startedBy.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
//
// Errors are as of [Client.Tasks].
func (c *Client) StartedBy(ctx context.Context, on facts.ContainerInstance, startedBy string, also ...string) ([]facts.Task, error) {
	tasks, err := c.startedBy(ctx, on, startedBy, also)
	if err != nil {
		return nil, fmt.Errorf("cannot list the tasks started by %s: %w", startedBy, err)
	}
	return tasks, nil
}

func (c *Client) startedBy(ctx context.Context, on facts.ContainerInstance, startedBy string, also []string) ([]facts.Task, error) {
	region, err := regionOf(on)
	if err != nil {
		return nil, err
	}
	arns, err := c.pages(ctx, region, on.Cluster, &ecs.ListTasksInput{Cluster: &on.Cluster, StartedBy: &startedBy}, nil)
	if err != nil {
		return nil, err
	}
	for _, arn := range also {
		if strings.HasPrefix(arn, tasksOf(on)) {
			arns = append(arns, arn)
		}
	}
	slices.Sort(arns)
	var tasks []facts.Task
	for batch := range slices.Chunk(slices.Compact(arns), maxDescribed) {
		found, err := c.describe(ctx, region, on.Cluster, batch)
		if err != nil {
			return nil, err
		}
		for _, t := range found {
			if aws.ToString(t.ContainerInstanceArn) == on.ARN {
				tasks = append(tasks, taskOf(t))
			}
		}
	}
	return tasks, nil
}

// tasksOf is what the ARNs of the tasks of a container instance's cluster begin
// with: in the long format they have the cluster's name in the same place.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html
func tasksOf(on facts.ContainerInstance) string {
	arn := strings.Replace(on.ARN, ":container-instance/", ":task/", 1)
	return arn[:strings.LastIndex(arn, "/")+1]
}

// Newest returns the newest ACTIVE revision of a family, or the revision of one
// named FAMILY:REVISION if that is ACTIVE. The error is facts.ErrAbsent if there
// is none, facts.ErrRefused if the instance role does not allow
// ecs:DescribeTaskDefinition, and facts.ErrUnavailable if no usable answer came.
func (c *Client) Newest(ctx context.Context, region, definition string) (revision int, err error) {
	revision, err = c.newest(ctx, region, definition)
	if err != nil {
		return 0, fmt.Errorf("cannot describe task definition %s: %w", definition, err)
	}
	return revision, nil
}

func (c *Client) newest(ctx context.Context, region, definition string) (int, error) {
	out, err := in(ctx, region, c.describeDefinition, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &definition}, describeDefinition, "")
	switch {
	case err != nil && strings.Contains(err.Error(), "Unable to describe task definition"): // its words: hashicorp/terraform-provider-aws issue 8739
		return 0, fmt.Errorf("%w: there is no such task definition", facts.ErrAbsent)
	case err != nil:
		return 0, err
	case out.TaskDefinition == nil || out.TaskDefinition.Revision == 0:
		return 0, fmt.Errorf("%w: the answer has no task definition", facts.ErrUnavailable)
	case out.TaskDefinition.Status != types.TaskDefinitionStatusActive:
		return 0, fmt.Errorf("%w: it is %s: register another revision", facts.ErrAbsent, out.TaskDefinition.Status)
	}
	return int(out.TaskDefinition.Revision), nil
}

// Capacity returns how the number of instances is managed that the container
// instance is one of; a capacity provider that is gone manages nothing. The error
// is facts.ErrAbsent if ECS does not know the container instance,
// facts.ErrRefused if the instance role does not allow
// ecs:DescribeContainerInstances or ecs:DescribeCapacityProviders, and
// facts.ErrUnavailable if no usable answer came.
func (c *Client) Capacity(ctx context.Context, on facts.ContainerInstance) (facts.Capacity, error) {
	found, err := c.capacity(ctx, on)
	if err != nil {
		return facts.Capacity{}, fmt.Errorf("cannot tell how the capacity of %s is managed: %w", on.ARN, err)
	}
	return found, nil
}

func (c *Client) capacity(ctx context.Context, on facts.ContainerInstance) (facts.Capacity, error) {
	instance, err := c.instance(ctx, on)
	if err != nil {
		return facts.Capacity{}, err
	}
	name := aws.ToString(instance.CapacityProviderName)
	if name == "" {
		return facts.Capacity{}, nil
	}
	region, err := regionOf(on)
	if err != nil {
		return facts.Capacity{}, err
	}
	out, err := in(ctx, region, c.describeProviders, &ecs.DescribeCapacityProvidersInput{CapacityProviders: []string{name}}, describeProviders, on.Cluster)
	switch {
	case err != nil:
		return facts.Capacity{}, err
	case len(out.Failures) > 0 && aws.ToString(out.Failures[0].Reason) == failureMissing:
		return facts.Capacity{Provider: name}, nil
	case len(out.Failures) > 0:
		return facts.Capacity{}, failed(out.Failures[0])
	case len(out.CapacityProviders) != 1 || aws.ToString(out.CapacityProviders[0].Name) != name:
		return facts.Capacity{}, fmt.Errorf("%w: the answer is not about capacity provider %s", facts.ErrUnavailable, name)
	}
	found := facts.Capacity{Provider: name}
	if p := out.CapacityProviders[0].AutoScalingGroupProvider; p != nil {
		found.ManagedScaling = p.ManagedScaling != nil && p.ManagedScaling.Status == types.ManagedScalingStatusEnabled
		found.TerminationProtection = p.ManagedTerminationProtection == types.ManagedTerminationProtectionEnabled
		found.ManagedDraining = p.ManagedDraining == types.ManagedDrainingEnabled
	}
	return found, nil
}
