package autoscaling_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/autoscaling"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const region, group = "eu-west-1", "web"

func inGroup(t *testing.T, f func(t *testing.T, w *sim.World, c *autoscaling.Client)) {
	synctest.Test(t, func(t *testing.T) {
		w, n := sim.New(sim.Options{}), sim.NewNetwork()
		defer n.Close()
		if err := w.Connect(n); err != nil {
			t.Fatal(err)
		}
		config, err := awsapi.Config(awsapi.Options{Metadata: imds.New(imds.Options{Dial: n.DialContext}), Dial: n.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		w.SetGroup(group)
		w.SetLifecycleHooks(
			sim.LifecycleHook{Name: "ecsnode-drain", HeartbeatTimeout: 5 * time.Minute},
			sim.LifecycleHook{Name: "other", HeartbeatTimeout: time.Minute},
			sim.LifecycleHook{Name: "launch", Launching: true, HeartbeatTimeout: time.Minute},
		)
		f(t, w, autoscaling.New(config, "http://autoscaling.eu-west-1.amazonaws.com"))
	})
}

func TestALifecycleActionWaitsForHeartbeatsAndIsCompleted(t *testing.T) {
	inGroup(t, func(t *testing.T, w *sim.World, c *autoscaling.Client) {
		id := w.Instance().ID
		if got, err := c.Group(t.Context(), region, id); err != nil || got != group {
			t.Fatalf("%q, %v", got, err)
		}
		if got, err := c.HookTimeout(t.Context(), region, group, "ecsnode-drain"); err != nil || got != 5*time.Minute {
			t.Errorf("%v, %v", got, err)
		}
		if err := c.Heartbeat(t.Context(), region, group, "ecsnode-drain", id); !errors.Is(err, facts.ErrAbsent) {
			t.Errorf("before it terminates: %v", err)
		}
		w.Terminate()
		for range 3 {
			time.Sleep(4 * time.Minute)
			if err := c.Heartbeat(t.Context(), region, group, "ecsnode-drain", id); err != nil {
				t.Fatal(err)
			}
		}
		if _, ended := w.Termination(); !ended.IsZero() {
			t.Fatal("it has not waited")
		}
		if err := c.Complete(t.Context(), region, group, "ecsnode-drain", id); err != nil {
			t.Fatal(err)
		}
		if err := c.Complete(t.Context(), region, group, "ecsnode-drain", id); !errors.Is(err, facts.ErrAbsent) {
			t.Errorf("a second time: %v", err)
		}
		if err := c.Heartbeat(t.Context(), region, group, "other", id); !errors.Is(err, facts.ErrAbsent) {
			t.Errorf("one that has timed out: %v", err)
		}
		actions, ended := w.Termination()
		if !ended.Equal(time.Now()) || len(actions) != 2 || actions[0].Result != "CONTINUE" || actions[0].Beats != 3 || actions[1].Result != "timed out" {
			t.Errorf("%+v, ended %v", actions, ended)
		}
	})
}

func TestAHookThatNobodyFeedsTimesOut(t *testing.T) {
	inGroup(t, func(t *testing.T, w *sim.World, _ *autoscaling.Client) {
		w.Terminate()
		began := time.Now()
		time.Sleep(10 * time.Minute)
		if _, ended := w.Termination(); ended.Sub(began) != 5*time.Minute {
			t.Errorf("ended after %v", ended.Sub(began))
		}
	})
}

func TestWhatIsNotThereIsAbsentAndWhatIsNotAllowedRefused(t *testing.T) {
	inGroup(t, func(t *testing.T, w *sim.World, c *autoscaling.Client) {
		if _, err := c.HookTimeout(t.Context(), region, group, "no-such"); !errors.Is(err, facts.ErrAbsent) {
			t.Errorf("no such hook: %v", err)
		}
		if _, err := c.HookTimeout(t.Context(), region, group, "launch"); !errors.Is(err, facts.ErrAbsent) {
			t.Errorf("a launch hook: %v", err)
		}
		w.Terminate()
		w.Deny("autoscaling:CompleteLifecycleAction", "autoscaling:DescribeAutoScalingInstances")
		if err := c.Complete(t.Context(), region, group, "ecsnode-drain", w.Instance().ID); !errors.Is(err, facts.ErrRefused) {
			t.Errorf("not allowed: %v", err)
		}
		if _, err := c.Group(t.Context(), region, w.Instance().ID); !errors.Is(err, facts.ErrRefused) {
			t.Errorf("not allowed: %v", err)
		}
		w.Allow("autoscaling:DescribeAutoScalingInstances")
		w.SetGroup("")
		if _, err := c.Group(t.Context(), region, w.Instance().ID); !errors.Is(err, facts.ErrAbsent) {
			t.Errorf("in no group: %v", err)
		}
	})
}

func TestARefusalNamesThePermissionAndNoAnswerIsNoAbsence(t *testing.T) {
	calls := map[string]func(t *testing.T, c *autoscaling.Client, id string) error{
		"autoscaling:DescribeAutoScalingInstances": func(t *testing.T, c *autoscaling.Client, id string) error {
			_, err := c.Group(t.Context(), region, id)
			return err
		},
		"autoscaling:DescribeLifecycleHooks": func(t *testing.T, c *autoscaling.Client, _ string) error {
			_, err := c.HookTimeout(t.Context(), region, group, "ecsnode-drain")
			return err
		},
		"autoscaling:RecordLifecycleActionHeartbeat": func(t *testing.T, c *autoscaling.Client, id string) error {
			return c.Heartbeat(t.Context(), region, group, "ecsnode-drain", id)
		},
		"autoscaling:CompleteLifecycleAction": func(t *testing.T, c *autoscaling.Client, id string) error {
			return c.Complete(t.Context(), region, group, "ecsnode-drain", id)
		},
	}
	for action, call := range calls {
		t.Run(action, func(t *testing.T) {
			inGroup(t, func(t *testing.T, w *sim.World, c *autoscaling.Client) {
				w.Terminate()
				id := w.Instance().ID
				w.Deny(action)
				if err := call(t, c, id); !errors.Is(err, facts.ErrRefused) || !strings.Contains(err.Error(), "the instance role must allow "+action) {
					t.Errorf("not allowed: %v", err)
				}
				w.Allow(action)
				for name, f := range map[string]sim.Fault{
					"503":       {Kind: sim.FaultStatus, Status: 503},
					"throttled": {Kind: sim.FaultThrottle},
					"garbage":   {Kind: sim.FaultGarbage},
					"no answer": {Kind: sim.FaultHang},
				} {
					if err := w.SetFault("autoscaling", f); err != nil {
						t.Fatal(err)
					}
					if err := call(t, c, id); !errors.Is(err, facts.ErrUnavailable) || !strings.HasPrefix(err.Error(), "cannot ") {
						t.Errorf("%s: %v", name, err)
					}
				}
				w.ClearFaults()
				if err := call(t, c, id); err != nil {
					t.Errorf("all is well: %v", err)
				}
			})
		})
	}
}
