package ecs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	return c.pages(ctx, region, on.Cluster, &ecs.ListTasksInput{Cluster: &on.Cluster, ContainerInstance: &on.ARN, DesiredStatus: desired}, arns)
}

// pages appends what is listed, page by page.
func (c *Client) pages(ctx context.Context, region, cluster string, input *ecs.ListTasksInput, arns []string) ([]string, error) {
	for range maxPages {
		out, err := in(ctx, region, c.listTasks, input, listTasks, cluster)
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
// are STOPPED or that ECS has forgotten.
func (c *Client) described(ctx context.Context, region string, on facts.ContainerInstance, arns []string, tasks []facts.Task) ([]facts.Task, error) {
	found, err := c.describe(ctx, region, on.Cluster, arns)
	if err != nil {
		return nil, err
	}
	for _, t := range found {
		switch {
		case aws.ToString(t.ContainerInstanceArn) != on.ARN:
			return nil, fmt.Errorf("%w: the answer has a task of another container instance", facts.ErrUnavailable)
		case aws.ToString(t.LastStatus) != facts.TaskStopped:
			tasks = append(tasks, taskOf(t))
		}
	}
	return tasks, nil
}

// describe returns the tasks with the ARNs, in their order, but for those that
// ECS has forgotten. The answer must account for each: a task must not seem to be
// gone because of an answer that is short.
func (c *Client) describe(ctx context.Context, region, cluster string, arns []string) (tasks []types.Task, err error) {
	out, err := in(ctx, region, c.describeTasks, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: arns}, describeTasks, cluster)
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
		case i < 0:
			return nil, fmt.Errorf("%w: the answer lacks a task", facts.ErrUnavailable)
		case aws.ToString(out.Tasks[i].LastStatus) == "":
			return nil, fmt.Errorf("%w: the answer has a task without status", facts.ErrUnavailable)
		default:
			tasks = append(tasks, out.Tasks[i])
		}
	}
	return tasks, nil
}

// definitionOf takes a task definition's ARN apart, which ends in
// task-definition/FAMILY:REVISION. A revision that makes no sense is 0.
func definitionOf(definition string) (family string, revision int) {
	family, number, _ := strings.Cut(definition[strings.LastIndex(definition, "/")+1:], ":")
	revision, _ = strconv.Atoi(number)
	return family, revision
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
