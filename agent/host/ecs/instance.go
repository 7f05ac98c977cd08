package ecs

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

const (
	updateState       = "ecs:UpdateContainerInstancesState"
	describeInstances = "ecs:DescribeContainerInstances"
	listInstances     = "ecs:ListContainerInstances"
)

// SetState sets the container instance facts.StatusActive or
// facts.StatusDraining. One that has that status already keeps it.
//
// The error is facts.ErrAbsent if ECS does not know the container instance or
// the cluster, or knows it as deregistered, facts.ErrRefused if the instance
// role does not allow ecs:UpdateContainerInstancesState or ECS does not do it,
// and facts.ErrUnavailable if no usable answer came: whether it has the status
// is not known then.
func (c *Client) SetState(ctx context.Context, of facts.ContainerInstance, status string) error {
	if err := c.updateState(ctx, of, status); err != nil {
		return fmt.Errorf("cannot set %s %s: %w", of.ARN, status, err)
	}
	return nil
}

// updateState: an answer of 200 may hold a failure, and says then that nothing
// was done.
func (c *Client) updateState(ctx context.Context, of facts.ContainerInstance, status string) error {
	region, err := regionOf(of)
	if err != nil {
		return err
	}
	input := &ecs.UpdateContainerInstancesStateInput{
		Cluster: &of.Cluster, ContainerInstances: []string{of.ARN}, Status: types.ContainerInstanceStatus(status),
	}
	out, err := in(ctx, region, c.setState, input, updateState, of.Cluster)
	if err != nil {
		return err
	}
	_, err = onlyInstance(of, out.ContainerInstances, out.Failures)
	return err
}

// State returns how ECS sees the container instance. A deregistered one is
// INACTIVE for a while before it is facts.ErrAbsent. Errors are as of SetState,
// with ecs:DescribeContainerInstances.
func (c *Client) State(ctx context.Context, of facts.ContainerInstance) (facts.InstanceState, error) {
	state, err := c.state(ctx, of)
	if err != nil {
		return facts.InstanceState{}, fmt.Errorf("cannot describe %s: %w", of.ARN, err)
	}
	return state, nil
}

func (c *Client) state(ctx context.Context, of facts.ContainerInstance) (facts.InstanceState, error) {
	found, err := c.instance(ctx, of)
	if err != nil {
		return facts.InstanceState{}, err
	}
	return facts.InstanceState{Status: aws.ToString(found.Status), AgentConnected: found.AgentConnected}, nil
}

func (c *Client) instance(ctx context.Context, of facts.ContainerInstance) (types.ContainerInstance, error) {
	region, err := regionOf(of)
	if err != nil {
		return types.ContainerInstance{}, err
	}
	input := &ecs.DescribeContainerInstancesInput{Cluster: &of.Cluster, ContainerInstances: []string{of.ARN}}
	out, err := in(ctx, region, c.describeInstances, input, describeInstances, of.Cluster)
	if err != nil {
		return types.ContainerInstance{}, err
	}
	return onlyInstance(of, out.ContainerInstances, out.Failures)
}

// onlyInstance takes what an answer says of the one container instance that was
// asked about.
func onlyInstance(of facts.ContainerInstance, all []types.ContainerInstance, failures []types.Failure) (types.ContainerInstance, error) {
	if len(failures) > 0 {
		return types.ContainerInstance{}, failed(failures[0])
	}
	if len(all) != 1 || aws.ToString(all[0].ContainerInstanceArn) != of.ARN || aws.ToString(all[0].Status) == "" {
		return types.ContainerInstance{}, fmt.Errorf("%w: the answer is not about this container instance", facts.ErrUnavailable)
	}
	return all[0], nil
}

// Reasons of failures that stand in an answer of 200.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
const (
	failureMissing  = "MISSING"
	failureInactive = "INACTIVE"
)

func failed(f types.Failure) error {
	reason, class := aws.ToString(f.Reason), facts.ErrRefused
	if reason == failureMissing || reason == failureInactive {
		class = facts.ErrAbsent
	}
	if detail := aws.ToString(f.Detail); detail != "" {
		reason += ": " + detail
	}
	return fmt.Errorf("%w: ECS says %s", class, httpx.Excerpt(reason))
}

var instanceID = pattern.New(`^i-[0-9a-f]{8,17}$`)

// Find returns the container instance that an instance is registered as in a
// cluster, which may be a name or an ARN, for when the agent does not tell. The
// error is facts.ErrAbsent if it is not registered or there is no such cluster,
// facts.ErrRefused if the instance role does not allow
// ecs:ListContainerInstances, and facts.ErrUnavailable if no usable answer
// came, or one with several.
func (c *Client) Find(ctx context.Context, region, cluster, instance string) (facts.ContainerInstance, error) {
	found, err := c.find(ctx, region, cluster, instance)
	if err != nil {
		return facts.ContainerInstance{}, fmt.Errorf("cannot find %s in cluster %s: %w", instance, cluster, err)
	}
	return found, nil
}

func (c *Client) find(ctx context.Context, region, cluster, instance string) (facts.ContainerInstance, error) {
	if !instanceID.MatchString(instance) {
		return facts.ContainerInstance{}, fmt.Errorf("%w: no id of an instance", facts.ErrRefused)
	}
	// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html
	input := &ecs.ListContainerInstancesInput{Cluster: &cluster, Filter: aws.String("ec2InstanceId == " + instance)}
	var arns []string
	for range maxPages {
		out, err := in(ctx, region, c.listInstances, input, listInstances, cluster)
		if err != nil {
			return facts.ContainerInstance{}, err
		}
		if out.ContainerInstanceArns == nil {
			return facts.ContainerInstance{}, errNoList
		}
		arns = append(arns, out.ContainerInstanceArns...)
		if aws.ToString(out.NextToken) == "" {
			return theOne(slices.Compact(arns), cluster)
		}
		input.NextToken = out.NextToken
	}
	return facts.ContainerInstance{}, errTooManyPages
}

func theOne(arns []string, cluster string) (facts.ContainerInstance, error) {
	if len(arns) == 0 {
		return facts.ContainerInstance{}, fmt.Errorf("%w: it is not registered", facts.ErrAbsent)
	}
	if len(arns) > 1 {
		return facts.ContainerInstance{}, fmt.Errorf("%w: it is registered as %d container instances", facts.ErrUnavailable, len(arns))
	}
	found := facts.ContainerInstance{ARN: arns[0], Cluster: cluster}
	_, err := regionOf(found)
	return found, err
}

// An answer has maxPages at most. Without the list that it is there for it is
// no answer: the SDK takes any object for one.
const maxPages = 20

var (
	errTooManyPages = fmt.Errorf("%w: the answer has more than %d pages", facts.ErrUnavailable, maxPages)
	errNoList       = fmt.Errorf("%w: the answer has no list", facts.ErrUnavailable)
)
