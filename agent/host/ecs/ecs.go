// Package ecs asks the ECS API about this node, and changes what it says.
package ecs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// Client is a client of the ECS API. It is safe for concurrent use.
//
// It keeps the method of the SDK's client that it calls and not the client, for
// the reason that package ec2 gives.
type Client struct {
	put               call[ecs.PutAttributesInput, ecs.PutAttributesOutput]
	setState          call[ecs.UpdateContainerInstancesStateInput, ecs.UpdateContainerInstancesStateOutput]
	describeInstances call[ecs.DescribeContainerInstancesInput, ecs.DescribeContainerInstancesOutput]
	listInstances     call[ecs.ListContainerInstancesInput, ecs.ListContainerInstancesOutput]
	listTasks         call[ecs.ListTasksInput, ecs.ListTasksOutput]
	describeTasks     call[ecs.DescribeTasksInput, ecs.DescribeTasksOutput]
	stopTask          call[ecs.StopTaskInput, ecs.StopTaskOutput]
	describeServices  call[ecs.DescribeServicesInput, ecs.DescribeServicesOutput]

	startTask          call[ecs.StartTaskInput, ecs.StartTaskOutput]
	describeDefinition call[ecs.DescribeTaskDefinitionInput, ecs.DescribeTaskDefinitionOutput]
	describeProviders  call[ecs.DescribeCapacityProvidersInput, ecs.DescribeCapacityProvidersOutput]
}

// call is a method of the SDK's client.
type call[In, Out any] func(context.Context, *In, ...func(*ecs.Options)) (*Out, error)

// New returns a client that uses c, made by [awsapi.Config]. endpoint, a URL,
// takes the place of the region's own if it is not empty.
func New(c aws.Config, endpoint string) *Client {
	if endpoint != "" {
		c.BaseEndpoint = &endpoint
	}
	api := ecs.NewFromConfig(c)
	return &Client{
		put:               api.PutAttributes,
		setState:          api.UpdateContainerInstancesState,
		describeInstances: api.DescribeContainerInstances,
		listInstances:     api.ListContainerInstances,
		listTasks:         api.ListTasks,
		describeTasks:     api.DescribeTasks,
		stopTask:          api.StopTask,
		describeServices:  api.DescribeServices,

		startTask:          api.StartTask,
		describeDefinition: api.DescribeTaskDefinition,
		describeProviders:  api.DescribeCapacityProviders,
	}
}

// in makes a call in a region, with the time that one call may take. action is
// the IAM action that it needs, and cluster the one that it names.
func in[In, Out any](ctx context.Context, region string, c call[In, Out], input *In, action, cluster string, options ...func(*ecs.Options)) (*Out, error) {
	ctx, cancel := awsapi.WithTimeout(ctx)
	defer cancel()
	out, err := c(ctx, input, append(options, func(o *ecs.Options) { o.Region = region })...)
	if err != nil {
		return nil, classify(ctx, err, action, cluster)
	}
	return out, nil
}

func classify(ctx context.Context, err error, action, cluster string) error {
	var noCluster *types.ClusterNotFoundException
	var noTarget *types.TargetNotFoundException
	var invalid *types.InvalidParameterException
	switch {
	case errors.As(err, &noCluster):
		return fmt.Errorf("%w: there is no cluster %s", facts.ErrAbsent, cluster)
	case errors.As(err, &noTarget):
		return fmt.Errorf("%w: the container instance is not registered in %s", facts.ErrAbsent, cluster)
	case errors.As(err, &invalid) && strings.Contains(invalid.ErrorMessage(), "task was not found"):
		return errGone
	}
	return awsapi.Classify(ctx, err, passedRole(err, action))
}

var passRole = pattern.New(`iam:PassRole( on resource: (arn:[^\s]+))?`)

// passedRole is the action that the caller may not do: for its own one, it must
// be allowed to pass the roles of a task.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
func passedRole(err error, action string) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return action
	}
	m := passRole.FindStringSubmatch(api.ErrorMessage())
	switch {
	case m == nil:
		return action
	case m[2] == "":
		return "iam:PassRole for " + action
	}
	return "iam:PassRole of " + httpx.Excerpt(m[2]) + " for " + action
}

// errGone is a task that ECS has forgotten. Of what has its code it is told by
// its words, "The referenced task was not found" (wazuh/wazuh issue 25439).
var errGone = fmt.Errorf("%w: the task is gone", facts.ErrAbsent)

// regionOf returns the region of a container instance.
func regionOf(of facts.ContainerInstance) (string, error) {
	target, err := arn.Parse(of.ARN)
	if err != nil {
		return "", fmt.Errorf("%w: no ARN of a container instance", facts.ErrRefused)
	}
	return target.Region, nil
}

// MaxAttributes is how many custom attributes ECS takes in one call, and has
// room for on one resource.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutAttributes.html
const MaxAttributes = 10

const putAttributes = "ecs:PutAttributes"

// PutAttributes sets attributes of a registered container instance and leaves
// its other ones alone. An empty value is an attribute without one, and no
// attributes is no call.
//
// The error is facts.ErrRefused if the instance role does not allow
// ecs:PutAttributes or ECS does not take the attributes, facts.ErrAbsent if the
// cluster or the container instance does not exist, and facts.ErrUnavailable if
// no usable answer came.
func (c *Client) PutAttributes(ctx context.Context, on facts.ContainerInstance, attributes map[string]string) error {
	if len(attributes) == 0 {
		return nil
	}
	if err := c.putAttributes(ctx, on, attributes); err != nil {
		return fmt.Errorf("cannot set %d attributes of %s: %w", len(attributes), on.ARN, err)
	}
	return nil
}

func (c *Client) putAttributes(ctx context.Context, on facts.ContainerInstance, attributes map[string]string) error {
	if len(attributes) > MaxAttributes {
		return fmt.Errorf("%w: ECS takes %d at most", facts.ErrRefused, MaxAttributes)
	}
	region, err := regionOf(on)
	if err != nil {
		return err
	}
	input := &ecs.PutAttributesInput{Cluster: &on.Cluster}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		a := types.Attribute{Name: &name, TargetId: &on.ARN, TargetType: types.TargetTypeContainerInstance}
		if value := attributes[name]; value != "" {
			a.Value = &value
		}
		input.Attributes = append(input.Attributes, a)
	}
	_, err = in(ctx, region, c.put, input, putAttributes, on.Cluster)
	return err
}
