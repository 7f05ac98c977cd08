package ecs

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
)

// Members returns the container instances of a cluster that take work, each with
// the value of one attribute. It is for operators: on a node the cluster is none
// of its business. Errors are as of [Client.Find].
func (c *Client) Members(ctx context.Context, region, cluster, attribute string) ([]facts.Member, error) {
	members, err := c.members(ctx, region, cluster, attribute)
	if err != nil {
		return nil, fmt.Errorf("cannot list the nodes of cluster %s: %w", cluster, err)
	}
	return members, nil
}

// Both calls take, and give, a hundred at a time.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeContainerInstances.html
// A cluster has 5,000 container instances at most.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html
const (
	described         = 100
	maxMemberPages    = 60
	maxDescribedBytes = 8 << 20
)

func (c *Client) members(ctx context.Context, region, cluster, attribute string) (all []facts.Member, err error) {
	input := &ecs.ListContainerInstancesInput{
		Cluster: &cluster, Status: types.ContainerInstanceStatusActive, MaxResults: aws.Int32(described),
	}
	for range maxMemberPages {
		out, err := in(ctx, region, c.listInstances, input, listInstances, cluster)
		if err != nil {
			return nil, err
		}
		if out.ContainerInstanceArns == nil {
			return nil, errNoList
		}
		for arns := range slices.Chunk(out.ContainerInstanceArns, described) {
			some, err := c.describeMembers(ctx, region, cluster, attribute, arns)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		if aws.ToString(out.NextToken) == "" {
			return all, nil
		}
		input.NextToken = out.NextToken
	}
	return nil, errTooManyPages
}

// describeMembers leaves out what has gone meanwhile, of which the answer says
// MISSING.
func (c *Client) describeMembers(ctx context.Context, region, cluster, attribute string, arns []string) (all []facts.Member, err error) {
	input := &ecs.DescribeContainerInstancesInput{Cluster: &cluster, ContainerInstances: arns}
	out, err := in(ctx, region, c.describeInstances, input, describeInstances, cluster,
		func(o *ecs.Options) { o.HTTPClient = awsapi.WithMaxAnswer(o.HTTPClient, maxDescribedBytes) })
	if err != nil {
		return nil, err
	}
	if out.ContainerInstances == nil {
		return nil, errNoList
	}
	for _, ci := range out.ContainerInstances {
		m := facts.Member{InstanceID: aws.ToString(ci.Ec2InstanceId)}
		for _, a := range ci.Attributes {
			if aws.ToString(a.Name) == attribute {
				m.Attribute = aws.ToString(a.Value)
			}
		}
		all = append(all, m)
	}
	return all, nil
}
