// Package autoscaling tells Amazon EC2 Auto Scaling about this instance.
package autoscaling

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"

	"github.com/ecsnode/ecsnode/agent/host/awsapi"
)

// Client is a client of the Auto Scaling API. It is safe for concurrent use.
//
// It keeps the method of the SDK's client that it calls and not the client, for
// the reason that package ec2 gives.
type Client struct {
	setHealth func(context.Context, *autoscaling.SetInstanceHealthInput, ...func(*autoscaling.Options)) (*autoscaling.SetInstanceHealthOutput, error)
	instances func(context.Context, *autoscaling.DescribeAutoScalingInstancesInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingInstancesOutput, error)
	hooks     func(context.Context, *autoscaling.DescribeLifecycleHooksInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeLifecycleHooksOutput, error)
	heartbeat func(context.Context, *autoscaling.RecordLifecycleActionHeartbeatInput, ...func(*autoscaling.Options)) (*autoscaling.RecordLifecycleActionHeartbeatOutput, error)
	complete  func(context.Context, *autoscaling.CompleteLifecycleActionInput, ...func(*autoscaling.Options)) (*autoscaling.CompleteLifecycleActionOutput, error)
}

// New returns a client that uses c, made by [awsapi.Config]. endpoint, a URL,
// takes the place of the region's own if it is not empty.
func New(c aws.Config, endpoint string) *Client {
	if endpoint != "" {
		c.BaseEndpoint = &endpoint
	}
	api := autoscaling.NewFromConfig(c)
	return &Client{
		setHealth: api.SetInstanceHealth, instances: api.DescribeAutoScalingInstances, hooks: api.DescribeLifecycleHooks,
		heartbeat: api.RecordLifecycleActionHeartbeat, complete: api.CompleteLifecycleAction,
	}
}

func in(region string) func(*autoscaling.Options) {
	return func(o *autoscaling.Options) { o.Region = region }
}

const setInstanceHealth = "autoscaling:SetInstanceHealth"

// ReportUnhealthy makes Auto Scaling replace the instance, whatever grace period
// its group has: the group need not wait for what this node knows already.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetInstanceHealth.html
//
// The error is facts.ErrRefused if the instance role does not allow
// autoscaling:SetInstanceHealth or the instance is in no group, and
// facts.ErrUnavailable if no usable answer came.
func (c *Client) ReportUnhealthy(ctx context.Context, region, instanceID string) error {
	ctx, cancel := awsapi.WithTimeout(ctx)
	defer cancel()
	_, err := c.setHealth(ctx, &autoscaling.SetInstanceHealthInput{
		InstanceId: &instanceID, HealthStatus: aws.String("Unhealthy"), ShouldRespectGracePeriod: aws.Bool(false),
	}, in(region))
	if err != nil {
		return fmt.Errorf("cannot report %s unhealthy: %w", instanceID, awsapi.Classify(ctx, err, setInstanceHealth))
	}
	return nil
}
