package autoscaling

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/smithy-go"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
)

// Group returns the name of the Auto Scaling group that the instance is in. The
// error is facts.ErrAbsent if it is in none.
func (c *Client) Group(ctx context.Context, region, instanceID string) (string, error) {
	ctx, cancel := awsapi.WithTimeout(ctx)
	defer cancel()
	out, err := c.instances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{instanceID}}, in(region))
	if err != nil {
		return "", fmt.Errorf("cannot find the Auto Scaling group of %s: %w", instanceID,
			awsapi.Classify(ctx, err, "autoscaling:DescribeAutoScalingInstances"))
	}
	for _, i := range out.AutoScalingInstances {
		if aws.ToString(i.InstanceId) == instanceID && aws.ToString(i.AutoScalingGroupName) != "" {
			return *i.AutoScalingGroupName, nil
		}
	}
	return "", fmt.Errorf("cannot find the Auto Scaling group of %s: %w", instanceID, facts.ErrAbsent)
}

// HookTimeout returns how long a lifecycle hook waits without a heartbeat. The
// error is facts.ErrAbsent if the group has no such hook for a termination.
func (c *Client) HookTimeout(ctx context.Context, region, group, hook string) (time.Duration, error) {
	ctx, cancel := awsapi.WithTimeout(ctx)
	defer cancel()
	what := fmt.Sprintf("cannot look at lifecycle hook %s of %s", hook, group)
	out, err := c.hooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &group, LifecycleHookNames: []string{hook}}, in(region))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, awsapi.Classify(ctx, err, "autoscaling:DescribeLifecycleHooks"))
	}
	for _, h := range out.LifecycleHooks {
		terminating := strings.HasSuffix(aws.ToString(h.LifecycleTransition), "EC2_INSTANCE_TERMINATING")
		if aws.ToString(h.LifecycleHookName) == hook && terminating && aws.ToInt32(h.HeartbeatTimeout) > 0 {
			return time.Duration(*h.HeartbeatTimeout) * time.Second, nil
		}
	}
	return 0, fmt.Errorf("%s: %w", what, facts.ErrAbsent)
}

// Heartbeat makes a lifecycle action wait for its hook's time-out again. The
// error is facts.ErrAbsent if none of that hook waits for the instance.
func (c *Client) Heartbeat(ctx context.Context, region, group, hook, instanceID string) error {
	ctx, cancel := awsapi.WithTimeout(ctx)
	defer cancel()
	_, err := c.heartbeat(ctx, &autoscaling.RecordLifecycleActionHeartbeatInput{
		AutoScalingGroupName: &group, LifecycleHookName: &hook, InstanceId: &instanceID,
	}, in(region))
	return action(ctx, err, "keep waiting", hook, "autoscaling:RecordLifecycleActionHeartbeat")
}

// Complete ends the wait of a lifecycle action with CONTINUE: ABANDON would end
// that of other hooks too. The error is facts.ErrAbsent if none of that hook
// waits for the instance.
func (c *Client) Complete(ctx context.Context, region, group, hook, instanceID string) error {
	ctx, cancel := awsapi.WithTimeout(ctx)
	defer cancel()
	_, err := c.complete(ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: &group, LifecycleHookName: &hook, InstanceId: &instanceID, LifecycleActionResult: aws.String("CONTINUE"),
	}, in(region))
	return action(ctx, err, "complete", hook, "autoscaling:CompleteLifecycleAction")
}

func action(ctx context.Context, err error, verb, hook, permission string) error {
	if err == nil {
		return nil
	}
	// The API has no error of its own for it.
	var answer smithy.APIError
	if errors.As(err, &answer) && answer.ErrorCode() == "ValidationError" && strings.Contains(answer.ErrorMessage(), "No active Lifecycle Action") {
		return fmt.Errorf("cannot %s lifecycle hook %s: %w: it does not wait for this instance", verb, hook, facts.ErrAbsent)
	}
	return fmt.Errorf("cannot %s lifecycle hook %s: %w", verb, hook, awsapi.Classify(ctx, err, permission))
}
