package sim

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// LifecycleHook is a lifecycle hook of the node's Auto Scaling group.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
type LifecycleHook struct {
	Name             string        `yaml:"name"`
	Launching        bool          `yaml:"launching"`         // autoscaling:EC2_INSTANCE_LAUNCHING; else _TERMINATING
	HeartbeatTimeout time.Duration `yaml:"heartbeat_timeout"` // 0: 1 hour
	DefaultResult    string        `yaml:"default_result"`    // CONTINUE, also if "", or ABANDON: what a time-out comes to
}

// validate holds a hook to what PutLifecycleHook takes.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
func (h LifecycleHook) validate() error {
	switch d := h.HeartbeatTimeout; {
	case h.Name == "":
		return errors.New("a hook without a name")
	case d != 0 && (d < 30*time.Second || d > 2*time.Hour):
		return fmt.Errorf("%s: a heartbeat_timeout of %v, want 30s to 2h", h.Name, d)
	case h.DefaultResult != "" && h.DefaultResult != resultContinue && h.DefaultResult != resultAbandon:
		return fmt.Errorf("%s: unknown default_result %q, want %s or %s", h.Name, h.DefaultResult, resultContinue, resultAbandon)
	}
	return nil
}

func (h LifecycleHook) withDefaults() LifecycleHook {
	h.HeartbeatTimeout = cmp.Or(h.HeartbeatTimeout, time.Hour)
	h.DefaultResult = cmp.Or(h.DefaultResult, resultContinue)
	return h
}

// Results of a lifecycle action. The first two are the API's.
const (
	resultContinue = "CONTINUE"
	resultAbandon  = "ABANDON"
	resultTimedOut = "timed out"
	resultSkipped  = "skipped" // another one was abandoned
)

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
	Result string    // "" while it waits, CONTINUE, ABANDON, "timed out", or "skipped" since another was abandoned
	At     time.Time // when it got the result
}

type lifecycleAction struct {
	LifecycleAction
	hook  LifecycleHook
	began time.Time
	beat  time.Time
}

// end is when the action times out.
func (a *lifecycleAction) end() time.Time {
	end := a.beat.Add(a.hook.HeartbeatTimeout)
	if last := a.began.Add(min(maxLifecycleWait, maxLifecycleBeats*a.hook.HeartbeatTimeout)); end.After(last) {
		end = last
	}
	return end
}

// settle lets actions time out whose time is over, the earliest first.
func (n *Node) settle() {
	waiting := slices.DeleteFunc(slices.Clone(n.actions), func(a *lifecycleAction) bool { return a.Result != "" })
	slices.SortStableFunc(waiting, func(a, b *lifecycleAction) int { return a.end().Compare(b.end()) })
	for _, a := range waiting {
		if a.Result != "" || time.Now().Before(a.end()) {
			continue
		}
		a.Result, a.At = resultTimedOut, a.end()
		if a.hook.DefaultResult == resultAbandon {
			n.skip(a.At)
		}
	}
}

// skip ends the wait of all: abandoning one stops the others.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
func (n *Node) skip(at time.Time) {
	for _, a := range n.actions {
		if a.Result == "" {
			a.Result, a.At = resultSkipped, at
		}
	}
}

// SetLifecycleHooks replaces the hooks of the node's group.
func (n *Node) SetLifecycleHooks(hooks ...LifecycleHook) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.hooks = nil
	for _, h := range hooks {
		n.hooks = append(n.hooks, h.withDefaults())
	}
}

// Terminate makes the group terminate the instance: its target state is
// Terminated, and its termination hooks wait. A second time changes nothing.
func (n *Node) Terminate() {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if !n.terminating.IsZero() {
		return
	}
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
	ended = n.ended()
	for _, a := range n.actions {
		actions = append(actions, a.LifecycleAction)
	}
	return actions, ended
}

// ended is when the instance did, or zero.
func (n *Node) ended() time.Time {
	n.settle()
	ended := n.terminating
	for _, a := range n.actions {
		if a.Result == "" {
			return time.Time{}
		}
		if a.At.After(ended) {
			ended = a.At
		}
	}
	return ended
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
				h.Name, n.group, h.transition(), seconds, min(int(maxLifecycleWait/time.Second), maxLifecycleBeats*seconds), h.DefaultResult,
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
		if n.group == "" || len(ids) > 0 && !slices.Contains(ids, n.instance.ID) || !n.ended().IsZero() {
			continue
		}
		a.Instances = append(a.Instances, instance{n.instance.ID, n.group, n.instance.Zone, n.lifecycleState(), n.health})
	}
	return a, nil
}

// lifecycleState is the state that the instance has: the target, but for one
// that waits on its way there.
func (n *Node) lifecycleState() string {
	if !n.terminating.IsZero() {
		return "Terminating:Wait"
	}
	return cmp.Or(n.notices.target, "InService")
}

// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_RecordLifecycleActionHeartbeat.html
func recordLifecycleActionHeartbeat(r *apiRequest) (any, error) {
	_, a, err := r.lifecycleAction()
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
	n, a, err := r.lifecycleAction()
	if err != nil {
		return nil, err
	}
	result := r.form.Get("LifecycleActionResult")
	if result != resultContinue && result != resultAbandon {
		return nil, &apiError{http.StatusBadRequest, "ValidationError", "Lifecycle action result must be CONTINUE or ABANDON"}
	}
	a.Result, a.At = result, time.Now()
	if result == resultAbandon {
		n.skip(a.At)
	}
	return struct {
		Nothing string `xml:"-"`
	}{}, nil
}

// lifecycleAction finds the action that waits, and its node. Tokens of actions
// are announced to nobody here, so that none is known.
func (r *apiRequest) lifecycleAction() (*Node, *lifecycleAction, error) {
	// As in spacelift-io/terraform-aws-spacelift-workerpool-on-ec2 pull request
	// 197, and convox/rack issue 2432.
	none := func(of string) error {
		return &apiError{http.StatusBadRequest, "ValidationError", "No active Lifecycle Action found with " + of}
	}
	if token := r.form.Get("LifecycleActionToken"); token != "" {
		return nil, nil, none("token " + token)
	}
	group, id, hook := r.form.Get("AutoScalingGroupName"), r.form.Get("InstanceId"), r.form.Get("LifecycleHookName")
	if _, err := r.inGroup(func(n *Node) bool { return n.group == group }); err != nil {
		return nil, nil, err
	}
	for _, n := range r.world.nodes {
		if n.group != group || n.instance.ID != id {
			continue
		}
		n.settle()
		for _, a := range n.actions {
			if a.Hook == hook && a.Result == "" {
				return n, a, nil
			}
		}
	}
	return nil, nil, none("instance ID " + id)
}

func (r *apiRequest) inGroup(is func(*Node) bool) (*Node, error) {
	i := slices.IndexFunc(r.world.nodes, func(n *Node) bool { return n.group != "" && is(n) })
	if i < 0 {
		return nil, &apiError{http.StatusBadRequest, "ValidationError", fmt.Sprintf(
			"AutoScalingGroup name not found - null: AutoScalingGroup %s not found", r.form.Get("AutoScalingGroupName"))}
	}
	return r.world.nodes[i], nil
}
