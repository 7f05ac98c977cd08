package ecs

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
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
// facts.ErrRefused if the instance role does not allow it or there is no such
// task definition, facts.ErrAbsent if there is no such cluster, and
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
	input := &ecs.StartTaskInput{
		Cluster: &on.Cluster, ContainerInstances: []string{on.ARN}, TaskDefinition: &t.Definition, StartedBy: &t.StartedBy,
	}
	if input.Overrides, err = overrides(t.Environment); err != nil {
		return facts.Task{}, err
	}
	ctx, cancel := awsapi.WithTimeout(ctx)
	defer cancel()
	out, err := c.startTask(ctx, input, func(o *ecs.Options) { o.Region, o.Retryer = region, aws.NopRetryer{} })
	switch {
	case err != nil:
		return facts.Task{}, classify(ctx, err, startTask, on.Cluster)
	case len(out.Failures) > 0:
		f := out.Failures[0]
		return facts.Task{}, &facts.TaskRefused{Reason: aws.ToString(f.Reason), Detail: aws.ToString(f.Detail)}
	case len(out.Tasks) != 1 || aws.ToString(out.Tasks[0].TaskArn) == "":
		return facts.Task{}, fmt.Errorf("%w: the answer has %d tasks", facts.ErrUnavailable, len(out.Tasks))
	}
	return taskOf(out.Tasks[0]), nil
}

func overrides(environment map[string]map[string]string) (*types.TaskOverride, error) {
	if len(environment) == 0 {
		return nil, nil
	}
	o := &types.TaskOverride{}
	for _, container := range slices.Sorted(maps.Keys(environment)) {
		one := types.ContainerOverride{Name: &container}
		for _, name := range slices.Sorted(maps.Keys(environment[container])) {
			value := environment[container][name]
			one.Environment = append(one.Environment, types.KeyValuePair{Name: &name, Value: &value})
		}
		o.ContainerOverrides = append(o.ContainerOverrides, one)
	}
	if text, err := json.Marshal(o); err != nil || len(text) > maxOverrides {
		return nil, fmt.Errorf("%w: the environment is longer than the %d characters that ECS takes", facts.ErrRefused, maxOverrides)
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

// stoppedReason is why a task stops: ECS's words, and those about the container
// that it was because of.
func stoppedReason(t types.Task) string {
	reason := aws.ToString(t.StoppedReason)
	for _, c := range t.Containers {
		switch name := aws.ToString(c.Name); {
		case aws.ToString(c.Reason) != "":
			return strings.TrimPrefix(fmt.Sprintf("%s: %s: %s", reason, name, aws.ToString(c.Reason)), ": ")
		case aws.ToInt32(c.ExitCode) != 0:
			return strings.TrimPrefix(fmt.Sprintf("%s: %s: exit code %d", reason, name, *c.ExitCode), ": ")
		}
	}
	return reason
}

// StartedBy returns the tasks of the container instance that somebody started
// and that are to run, and the others named, STOPPED ones too, in the order of
// their ARNs. Those that ECS has forgotten are left out. ECS's lists are
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
	arns, err := c.pages(ctx, region, on.Cluster, &ecs.ListTasksInput{Cluster: &on.Cluster, StartedBy: &startedBy}, slices.Clone(also))
	if err != nil {
		return nil, err
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
// instance is one of. The error is facts.ErrAbsent if ECS does not know the
// container instance, facts.ErrRefused if the instance role does not allow
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
	case len(out.CapacityProviders) != 1:
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
