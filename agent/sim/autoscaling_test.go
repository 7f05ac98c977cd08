package sim_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// autoscaling is the SDK's client with credentials from IMDS, at AWS's own endpoint.
func (b bubble) autoscaling() *autoscaling.Client {
	return autoscaling.New(autoscaling.Options{
		Region: "eu-west-1", HTTPClient: b.http, Retryer: aws.NopRetryer{},
		Credentials: aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = b.imds() })),
	})
}

// grouped is a scenario's state: a group with hooks.
const grouped = `
state:
  group: web
  lifecycle_hooks:
    - {name: first, heartbeat_timeout: 2m}
    - {name: second, heartbeat_timeout: 5m, default_result: ABANDON}
    - {name: third}
    - {name: launch, launching: true, heartbeat_timeout: 30s}
`

func applied(t *testing.T, w *sim.World, text string) {
	t.Helper()
	s, err := sim.ParseScenario([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Apply(s.State); err != nil {
		t.Fatal(err)
	}
}

// stand is how each action stands, by hook, and how long after began the
// instance ended.
func stand(w *sim.World, began time.Time) string {
	actions, ended := w.Termination()
	var all []string
	for _, a := range actions {
		all = append(all, fmt.Sprintf("%s=%s", a.Hook, a.Result))
	}
	if !ended.IsZero() {
		all = append(all, ended.Sub(began).String())
	}
	return strings.Join(all, " ")
}

func TestLifecycleActions(t *testing.T) {
	t.Parallel()
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		applied(t, b.World, grouped)
		api, id := b.autoscaling(), b.World.Instance().ID
		complete := func(hook, result string) error {
			_, err := api.CompleteLifecycleAction(t.Context(), &autoscaling.CompleteLifecycleActionInput{
				AutoScalingGroupName: aws.String("web"), LifecycleHookName: &hook, InstanceId: &id, LifecycleActionResult: &result,
			})
			return err
		}
		state := func() string {
			out, err := api.DescribeAutoScalingInstances(t.Context(), &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{id}})
			if err != nil {
				t.Fatal(err)
			}
			if len(out.AutoScalingInstances) == 0 {
				return ""
			}
			return *out.AutoScalingInstances[0].LifecycleState
		}
		b.World.SetTargetLifecycleState("Standby")
		if got := state(); got != "Standby" {
			t.Errorf("it is %s, want Standby", got)
		}
		b.World.SetTargetLifecycleState("InService")
		if got := stand(b.World, time.Now()); got != "" || state() != "InService" {
			t.Errorf("it has not begun: %q", got)
		}

		applied(t, b.World, "state: {terminate: true}\n")
		began := time.Now()
		if got := stand(b.World, began); got != "first= second= third=" || b.World.State().TargetLifecycleState != "Terminated" || state() != "Terminating:Wait" {
			t.Errorf("%q", got)
		}
		time.Sleep(time.Minute)
		applied(t, b.World, "state: {terminate: true}\n") // nothing new
		wantCode(t, complete("first", "STOP"), "ValidationError", 400)
		wantCode(t, complete("launch", "CONTINUE"), "ValidationError", 400)
		wantCode(t, complete("no-such", "CONTINUE"), "ValidationError", 400)
		if err := complete("third", "CONTINUE"); err != nil {
			t.Error(err)
		}
		if got := stand(b.World, began); got != "first= second= third=CONTINUE" {
			t.Errorf("%q", got)
		}
		time.Sleep(time.Hour)
		if got := stand(b.World, began); got != "first=timed out second=timed out third=CONTINUE 5m0s" {
			t.Errorf("%q", got)
		}
		if got := state(); got != "" {
			t.Errorf("what has ended is %s", got)
		}
		b.World.SetGroup("web")
		if got := stand(b.World, began); got != "" || state() != "Terminated" {
			t.Errorf("joined anew: %q", got)
		}
	})
}

func TestAbandoningOneActionEndsTheWaitOfAll(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after time.Duration
		call  bool
		want  string
	}{
		"by a call":              {time.Minute, true, "first=ABANDON second=skipped third=skipped 1m0s"},
		"by default, timed out":  {time.Hour, false, "first=timed out second=timed out third=skipped 5m0s"},
		"not by one of CONTINUE": {3 * time.Minute, false, "first=timed out second= third="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				applied(t, b.World, grouped)
				b.World.Terminate()
				began := time.Now()
				time.Sleep(c.after)
				if c.call {
					if _, err := b.autoscaling().CompleteLifecycleAction(t.Context(), &autoscaling.CompleteLifecycleActionInput{
						AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("first"),
						InstanceId: aws.String(b.World.Instance().ID), LifecycleActionResult: aws.String("ABANDON"),
					}); err != nil {
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff(c.want, stand(b.World, began)); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestHeartbeatsKeepAnActionWaitingForSoLong(t *testing.T) {
	t.Parallel()
	for timeout, most := range map[time.Duration]time.Duration{30 * time.Second: 50 * time.Minute, time.Hour: 48 * time.Hour} {
		inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
			b.World.SetGroup("web")
			b.World.SetLifecycleHooks(sim.LifecycleHook{Name: "drain", HeartbeatTimeout: timeout})
			b.World.Terminate()
			began, api := time.Now(), b.autoscaling()
			for {
				_, err := api.RecordLifecycleActionHeartbeat(t.Context(), &autoscaling.RecordLifecycleActionHeartbeatInput{
					AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("drain"), InstanceId: aws.String(b.World.Instance().ID),
				})
				if err != nil {
					wantCode(t, err, "ValidationError", 400)
					break
				}
				time.Sleep(timeout * 2 / 3)
			}
			if _, ended := b.World.Termination(); ended.Sub(began) != most {
				t.Errorf("with a time-out of %v it waits for %v, want %v", timeout, ended.Sub(began), most)
			}
		})
	}
}

func TestWhatNoLifecycleActionIsFor(t *testing.T) {
	t.Parallel()
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		applied(t, b.World, grouped)
		b.World.Terminate()
		id := b.World.Instance().ID
		for _, c := range []struct{ group, instance, token, want string }{
			{"web", "i-00000000000000000", "", "No active Lifecycle Action found with instance ID i-00000000000000000"},
			{"web", id, "f66c3d47-e602-4af0-8edd-d4e4d2fe4620", "No active Lifecycle Action found with token f66c3d47-e602-4af0-8edd-d4e4d2fe4620"},
			{"other", id, "", "AutoScalingGroup name not found"},
		} {
			in := &autoscaling.CompleteLifecycleActionInput{
				AutoScalingGroupName: &c.group, LifecycleHookName: aws.String("first"), InstanceId: &c.instance, LifecycleActionResult: aws.String("CONTINUE"),
			}
			if c.token != "" {
				in.LifecycleActionToken = &c.token
			}
			_, err := b.autoscaling().CompleteLifecycleAction(t.Context(), in)
			wantCode(t, err, "ValidationError", 400)
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		}
	})
}

func TestDescribeLifecycleHooks(t *testing.T) {
	t.Parallel()
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		applied(t, b.World, grouped)
		out, err := b.autoscaling().DescribeLifecycleHooks(t.Context(), &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: aws.String("web")})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range out.LifecycleHooks {
			_, transition, _ := strings.Cut(*h.LifecycleTransition, "autoscaling:EC2_INSTANCE_")
			got = append(got, fmt.Sprint(*h.LifecycleHookName, " ", transition, " ", *h.HeartbeatTimeout, " ", *h.GlobalTimeout, " ", *h.DefaultResult))
		}
		want := []string{
			"first TERMINATING 120 12000 CONTINUE", "second TERMINATING 300 30000 ABANDON",
			"third TERMINATING 3600 172800 CONTINUE", "launch LAUNCHING 30 3000 CONTINUE",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestHooksThatAutoScalingWouldNotTake(t *testing.T) {
	t.Parallel()
	for hook, want := range map[string]string{
		"{heartbeat_timeout: 1m}":            "state: lifecycle_hooks[0]: a hook without a name",
		"{name: a, heartbeat_timeout: 29s}":  "state: lifecycle_hooks[0]: a: a heartbeat_timeout of 29s, want 30s to 2h",
		"{name: a, default_result: TRY}":     `state: lifecycle_hooks[0]: a: unknown default_result "TRY"`,
		"{name: a, heartbeat_timeout: 121m}": "want 30s to 2h",
	} {
		_, err := sim.ParseScenario([]byte("state: {lifecycle_hooks: [" + hook + "]}\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", hook, err, want)
		}
	}
}
