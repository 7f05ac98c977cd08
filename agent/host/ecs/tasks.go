package ecs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/ecsnode/ecsnode/agent/facts"
)

const (
	listTasks     = "ecs:ListTasks"
	describeTasks = "ecs:DescribeTasks"
	stopTask      = "ecs:StopTask"
)

// maxDescribed is how many tasks ECS describes in one call.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
const maxDescribed = 100

// Tasks returns the tasks of the container instance that are not STOPPED yet,
// in the order of their ARNs: those that are to run, and those that are on
// their way out. ECS's lists are eventually consistent, so that a task of the
// last seconds may be missing.
//
// The error is facts.ErrAbsent if there is no such cluster, facts.ErrRefused if
// the instance role does not allow ecs:ListTasks or ecs:DescribeTasks, or ECS
// does not know the container instance, and facts.ErrUnavailable if no usable
// answer came.
func (c *Client) Tasks(ctx context.Context, on facts.ContainerInstance) ([]facts.Task, error) {
	tasks, err := c.tasks(ctx, on)
	if err != nil {
		return nil, fmt.Errorf("cannot list the tasks of %s: %w", on.ARN, err)
	}
	return tasks, nil
}

// tasks lists those that are to run first: one that is told to stop meanwhile
// is in both lists, not in none.
func (c *Client) tasks(ctx context.Context, on facts.ContainerInstance) ([]facts.Task, error) {
	region, err := regionOf(on)
	if err != nil {
		return nil, err
	}
	var arns []string
	for _, desired := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		if arns, err = c.listed(ctx, region, on, desired, arns); err != nil {
			return nil, err
		}
	}
	slices.Sort(arns)
	var tasks []facts.Task
	for batch := range slices.Chunk(slices.Compact(arns), maxDescribed) {
		if tasks, err = c.described(ctx, region, on, batch, tasks); err != nil {
			return nil, err
		}
	}
	return tasks, nil
}

// listed appends the ARNs of the tasks with a desired status.
func (c *Client) listed(ctx context.Context, region string, on facts.ContainerInstance, desired types.DesiredStatus, arns []string) ([]string, error) {
	input := &ecs.ListTasksInput{Cluster: &on.Cluster, ContainerInstance: &on.ARN, DesiredStatus: desired}
	for range maxPages {
		out, err := in(ctx, region, c.listTasks, input, listTasks, on.Cluster)
		if err != nil {
			return nil, err
		}
		if out.TaskArns == nil {
			return nil, errNoList
		}
		arns = append(arns, out.TaskArns...)
		if aws.ToString(out.NextToken) == "" {
			return arns, nil
		}
		input.NextToken = out.NextToken
	}
	return nil, errTooManyPages
}

// described appends the tasks with the ARNs, in their order, but for those that
// are STOPPED or that ECS has forgotten. The answer must account for each: a
// task must not seem to be gone because of an answer that is short.
func (c *Client) described(ctx context.Context, region string, on facts.ContainerInstance, arns []string, tasks []facts.Task) ([]facts.Task, error) {
	out, err := in(ctx, region, c.describeTasks, &ecs.DescribeTasksInput{Cluster: &on.Cluster, Tasks: arns}, describeTasks, on.Cluster)
	if err != nil {
		return nil, err
	}
	missing := map[string]bool{}
	for _, f := range out.Failures {
		if aws.ToString(f.Reason) != failureMissing {
			return nil, failed(f)
		}
		missing[aws.ToString(f.Arn)] = true
	}
	for _, arn := range arns {
		i := slices.IndexFunc(out.Tasks, func(t types.Task) bool { return aws.ToString(t.TaskArn) == arn })
		switch {
		case i < 0 && missing[arn]:
			continue
		case i < 0:
			return nil, fmt.Errorf("%w: the answer lacks a task", facts.ErrUnavailable)
		}
		t := out.Tasks[i]
		switch last := aws.ToString(t.LastStatus); {
		case last == "" || aws.ToString(t.ContainerInstanceArn) != on.ARN:
			return nil, fmt.Errorf("%w: the answer has a task without status or of another container instance", facts.ErrUnavailable)
		case last != facts.TaskStopped:
			tasks = append(tasks, facts.Task{
				ARN: arn, Family: familyOf(aws.ToString(t.TaskDefinitionArn)), Group: aws.ToString(t.Group),
				StartedBy: aws.ToString(t.StartedBy), Last: last, Desired: aws.ToString(t.DesiredStatus),
			})
		}
	}
	return tasks, nil
}

// familyOf returns the family of a task definition's ARN, which ends in
// task-definition/FAMILY:REVISION.
func familyOf(definition string) string {
	family, _, _ := strings.Cut(definition[strings.LastIndex(definition, "/")+1:], ":")
	return family
}

// StopTask tells a task of the container instance to stop, for a reason that
// DescribeTasks shows, and does not wait until it has. A task that is gone is no
// error.
//
// The error is facts.ErrAbsent if there is no such cluster, facts.ErrRefused if
// the instance role does not allow ecs:StopTask, and facts.ErrUnavailable if no
// usable answer came: whether the task was told is not known then.
func (c *Client) StopTask(ctx context.Context, on facts.ContainerInstance, arn, reason string) error {
	if err := c.stop(ctx, on, arn, reason); err != nil && !errors.Is(err, errGone) {
		return fmt.Errorf("cannot stop task %s: %w", arn, err)
	}
	return nil
}

func (c *Client) stop(ctx context.Context, on facts.ContainerInstance, arn, reason string) error {
	region, err := regionOf(on)
	if err != nil {
		return err
	}
	_, err = in(ctx, region, c.stopTask, &ecs.StopTaskInput{Cluster: &on.Cluster, Task: &arn, Reason: &reason}, stopTask, on.Cluster)
	return err
}
