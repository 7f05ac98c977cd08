// Package ecs asks the ECS API about this node, and changes what it says.
package ecs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
)

// Client is a client of the ECS API. It is safe for concurrent use.
//
// It keeps the method of the SDK's client that it calls and not the client, for
// the reason that package ec2 gives.
type Client struct {
	put func(context.Context, *ecs.PutAttributesInput, ...func(*ecs.Options)) (*ecs.PutAttributesOutput, error)
}

// New returns a client that uses c, made by [awsapi.Config]. endpoint, a URL,
// takes the place of the region's own if it is not empty.
func New(c aws.Config, endpoint string) *Client {
	if endpoint != "" {
		c.BaseEndpoint = &endpoint
	}
	return &Client{ecs.NewFromConfig(c).PutAttributes}
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
	ctx, cancel := awsapi.WithTimeout(ctx)
	defer cancel()
	if err := c.putAttributes(ctx, on, attributes); err != nil {
		return fmt.Errorf("cannot set %d attributes of %s: %w", len(attributes), on.ARN, err)
	}
	return nil
}

func (c *Client) putAttributes(ctx context.Context, on facts.ContainerInstance, attributes map[string]string) error {
	if len(attributes) > MaxAttributes {
		return fmt.Errorf("%w: ECS takes %d at most", facts.ErrRefused, MaxAttributes)
	}
	target, err := arn.Parse(on.ARN)
	if err != nil {
		return fmt.Errorf("%w: no ARN of a container instance", facts.ErrRefused)
	}
	in := &ecs.PutAttributesInput{Cluster: &on.Cluster}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		a := types.Attribute{Name: &name, TargetId: &on.ARN, TargetType: types.TargetTypeContainerInstance}
		if value := attributes[name]; value != "" {
			a.Value = &value
		}
		in.Attributes = append(in.Attributes, a)
	}
	_, err = c.put(ctx, in, func(o *ecs.Options) { o.Region = target.Region })
	var noTarget *types.TargetNotFoundException
	var noCluster *types.ClusterNotFoundException
	switch {
	case err == nil:
		return nil
	case errors.As(err, &noTarget):
		return fmt.Errorf("%w: the container instance is not registered in %s", facts.ErrAbsent, on.Cluster)
	case errors.As(err, &noCluster):
		return fmt.Errorf("%w: there is no cluster %s", facts.ErrAbsent, on.Cluster)
	}
	return awsapi.Classify(ctx, err, putAttributes)
}
