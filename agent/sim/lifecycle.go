package sim

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// LifecycleHook is a lifecycle hook of the node's Auto Scaling group.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
type LifecycleHook struct {
	Name             string        `yaml:"name"`
	Launching        bool          `yaml:"launching"` // autoscaling:EC2_INSTANCE_LAUNCHING; else _TERMINATING
	HeartbeatTimeout time.Duration `yaml:"heartbeat_timeout"`
}

func (h LifecycleHook) transition() string {
	if h.Launching {
		return "autoscaling:EC2_INSTANCE_LAUNCHING"
	}
	return "autoscaling:EC2_INSTANCE_TERMINATING"
}

// Bounds of a wait: 48 hours, or 100 times the heartbeat time-out if that is less.
const (
	maxLifecycleWait  = 48 * time.Hour
	maxLifecycleBeats = 100
)

// LifecycleAction is how a hook stands in a termination.
type LifecycleAction struct {
	Hook   string
	Beats  int
	Result string    // "" while it waits, CONTINUE, ABANDON or "timed out"
	At     time.Time // when it got the result
}

type lifecycleAction struct {
	LifecycleAction
	hook  LifecycleHook
	began time.Time
	beat  time.Time
}

// settle lets the action time out if its time is over.
func (a *lifecycleAction) settle(now time.Time) {
	end := a.beat.Add(a.hook.HeartbeatTimeout)
	if last := a.began.Add(min(maxLifecycleWait, maxLifecycleBeats*a.hook.HeartbeatTimeout)); end.After(last) {
		end = last
	}
	if a.Result == "" && !now.Before(end) {
		a.Result, a.At = "timed out", end
	}
}

// SetLifecycleHooks replaces the hooks of the node's group.
func (n *Node) SetLifecycleHooks(hooks ...LifecycleHook) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.hooks = slices.Clone(hooks)
}

// Terminate makes the group terminate the instance: its target state is
// Terminated, and its termination hooks wait.
func (n *Node) Terminate() {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.notices.target, n.actions = "Terminated", nil
	now := time.Now()
	n.terminating = now
	for _, h := range n.hooks {
		if !h.Launching {
			n.actions = append(n.actions, &lifecycleAction{LifecycleAction: LifecycleAction{Hook: h.Name}, hook: h, began: now, beat: now})
		}
	}
}

// Termination tells how each hook of a termination stands, and when the
// instance ended: once none waits. The zero time: it has not.
func (n *Node) Termination() (actions []LifecycleAction, ended time.Time) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if n.terminating.IsZero() {
		return nil, time.Time{}
	}
	ended = n.terminating
	waiting := false
	for _, a := range n.actions {
		a.settle(time.Now())
		actions = append(actions, a.LifecycleAction)
		waiting = waiting || a.Result == ""
		if a.At.After(ended) {
			ended = a.At
		}
	}
	if waiting {
		return actions, time.Time{}
	}
	return actions, ended
}

type hookAnswer struct {
	Name    string `xml:"LifecycleHookName"`
	Group   string `xml:"AutoScalingGroupName"`
	Of      string `xml:"LifecycleTransition"`
	Timeout int    `xml:"HeartbeatTimeout"`
	Global  int    `xml:"GlobalTimeout"`
	Default string `xml:"DefaultResult"`
}

// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeLifecycleHooks.html
func describeLifecycleHooks(r *apiRequest) (any, error) {
	type answer struct {
		Hooks []hookAnswer `xml:"LifecycleHooks>member"`
	}
	n, err := r.inGroup(func(n *Node) bool { return n.group == r.form.Get("AutoScalingGroupName") })
	if err != nil {
		return nil, err
	}
	names := formList(r.form, "LifecycleHookNames.member", "")
	var a answer
	for _, h := range n.hooks {
		if len(names) == 0 || slices.Contains(names, h.Name) {
			seconds := int(h.HeartbeatTimeout / time.Second)
			a.Hooks = append(a.Hooks, hookAnswer{
				h.Name, n.group, h.transition(), seconds, min(int(maxLifecycleWait/time.Second), maxLifecycleBeats*seconds), "CONTINUE",
			})
		}
	}
	return a, nil
}

// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingInstances.html
func describeAutoScalingInstances(r *apiRequest) (any, error) {
	type instance struct {
		ID     string `xml:"InstanceId"`
		Group  string `xml:"AutoScalingGroupName"`
		Zone   string `xml:"AvailabilityZone"`
		State  string `xml:"LifecycleState"`
		Health string `xml:"HealthStatus"`
	}
	var a struct {
		Instances []instance `xml:"AutoScalingInstances>member"`
	}
	ids := formList(r.form, "InstanceIds.member", "")
	for _, n := range r.world.nodes {
		if n.group == "" || len(ids) > 0 && !slices.Contains(ids, n.instance.ID) {
			continue
		}
		state := "InService"
		if !n.terminating.IsZero() {
			state = "Terminating:Wait"
		}
		a.Instances = append(a.Instances, instance{n.instance.ID, n.group, n.instance.Zone, state, n.health})
	}
	return a, nil
}

// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_RecordLifecycleActionHeartbeat.html
func recordLifecycleActionHeartbeat(r *apiRequest) (any, error) {
	a, err := r.lifecycleAction()
	if err != nil {
		return nil, err
	}
	a.beat = time.Now()
	a.Beats++
	return struct {
		Nothing string `xml:"-"`
	}{}, nil
}

// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
func completeLifecycleAction(r *apiRequest) (any, error) {
	a, err := r.lifecycleAction()
	if err != nil {
		return nil, err
	}
	result := r.form.Get("LifecycleActionResult")
	if result != "CONTINUE" && result != "ABANDON" {
		return nil, &apiError{http.StatusBadRequest, "ValidationError", "Lifecycle action result must be CONTINUE or ABANDON"}
	}
	a.Result, a.At = result, time.Now()
	return struct {
		Nothing string `xml:"-"`
	}{}, nil
}

// lifecycleAction finds the action that waits.
func (r *apiRequest) lifecycleAction() (*lifecycleAction, error) {
	id, hook := r.form.Get("InstanceId"), r.form.Get("LifecycleHookName")
	n, err := r.inGroup(func(n *Node) bool { return n.instance.ID == id && n.group == r.form.Get("AutoScalingGroupName") })
	if err != nil {
		return nil, err
	}
	for _, a := range n.actions {
		if a.settle(time.Now()); a.Hook == hook && a.Result == "" {
			return a, nil
		}
	}
	// As in aws/aws-node-termination-handler issue 503.
	return nil, &apiError{http.StatusBadRequest, "ValidationError", "No active Lifecycle Action found with instance ID " + id}
}

func (r *apiRequest) inGroup(is func(*Node) bool) (*Node, error) {
	i := slices.IndexFunc(r.world.nodes, func(n *Node) bool { return n.group != "" && is(n) })
	if i < 0 {
		return nil, &apiError{http.StatusBadRequest, "ValidationError", fmt.Sprintf(
			"AutoScalingGroup name not found - null: AutoScalingGroup %s not found", r.form.Get("AutoScalingGroupName"))}
	}
	return r.world.nodes[i], nil
}
