package ecs

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/ecsnode/ecsnode/agent/facts"
)

const describeServices = "ecs:DescribeServices"

// maxServices is how many services ECS describes in one call.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
const maxServices = 10

// Services returns services of the container instance's cluster, in the order
// of their names. One that ECS does not know is left out, and no names are no
// call.
//
// The error is facts.ErrAbsent if there is no such cluster, facts.ErrRefused if
// the instance role does not allow ecs:DescribeServices, and
// facts.ErrUnavailable if no usable answer came.
func (c *Client) Services(ctx context.Context, on facts.ContainerInstance, names []string) ([]facts.Service, error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	services, err := c.services(ctx, on, names)
	if err != nil {
		return nil, fmt.Errorf("cannot describe %d services of cluster %s: %w", len(names), on.Cluster, err)
	}
	return services, nil
}

func (c *Client) services(ctx context.Context, on facts.ContainerInstance, names []string) ([]facts.Service, error) {
	region, err := regionOf(on)
	if err != nil {
		return nil, err
	}
	var services []facts.Service
	for batch := range slices.Chunk(names, maxServices) {
		out, err := in(ctx, region, c.describeServices, &ecs.DescribeServicesInput{Cluster: &on.Cluster, Services: batch}, describeServices, on.Cluster)
		if err != nil {
			return nil, err
		}
		for _, f := range out.Failures {
			if aws.ToString(f.Reason) != failureMissing {
				return nil, failed(f)
			}
		}
		if len(out.Services)+len(out.Failures) != len(batch) {
			return nil, fmt.Errorf("%w: the answer is about %d services, not %d", facts.ErrUnavailable, len(out.Services)+len(out.Failures), len(batch))
		}
		for _, name := range batch {
			if i := slices.IndexFunc(out.Services, func(s types.Service) bool { return aws.ToString(s.ServiceName) == name }); i >= 0 {
				services = append(services, service(out.Services[i]))
			}
		}
	}
	return services, nil
}

// service fills what an answer leaves out with ECS's defaults.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
func service(s types.Service) facts.Service {
	found := facts.Service{
		Name: aws.ToString(s.ServiceName), Desired: int(s.DesiredCount), Running: int(s.RunningCount),
		Active:                aws.ToString(s.Status) == facts.StatusActive,
		MinimumHealthyPercent: 100, MaximumPercent: 200,
	}
	if family, revision := definitionOf(aws.ToString(s.TaskDefinition)); revision > 0 {
		found.Definition = fmt.Sprintf("%s:%d", family, revision)
	}
	if s.SchedulingStrategy == types.SchedulingStrategyDaemon {
		found.Daemon, found.MinimumHealthyPercent, found.MaximumPercent = true, 0, 100
	}
	if c := s.DeploymentConfiguration; c != nil {
		if c.MinimumHealthyPercent != nil {
			found.MinimumHealthyPercent = int(*c.MinimumHealthyPercent)
		}
		if c.MaximumPercent != nil {
			found.MaximumPercent = int(*c.MaximumPercent)
		}
	}
	return found
}
