package ecs_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/ecs"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// bubble runs f with a node registered in the cluster web, in virtual time.
func bubble(t *testing.T, f func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := sim.New(sim.Options{})
		n := sim.NewNetwork()
		t.Cleanup(func() { _ = n.Close() })
		if err := w.Connect(n); err != nil {
			t.Fatal(err)
		}
		config, err := awsapi.Config(awsapi.Options{Metadata: imds.New(imds.Options{Dial: n.DialContext}), Dial: n.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		on := facts.ContainerInstance{ARN: w.SetRegistered("web"), Cluster: "web"}
		f(t, w, ecs.New(config, "http://ecs.eu-west-1.amazonaws.com"), on)
	})
}

func custom(t *testing.T, w *sim.World) map[string]string {
	t.Helper()
	ci, ok := w.ContainerInstance()
	if !ok {
		t.Fatal("not registered")
	}
	for name := range ci.Attributes {
		if len(name) > 4 && name[:4] == "ecs." {
			delete(ci.Attributes, name)
		}
	}
	return ci.Attributes
}

func TestAttributesAreSetBesideOthers(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		for _, attributes := range []map[string]string{{"lifecycle": "spot", "flag": ""}, {"environment": "prod", "lifecycle": "on-demand"}, nil} {
			if err := c.PutAttributes(t.Context(), on, attributes); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]string{"lifecycle": "on-demand", "environment": "prod", "flag": ""}
		if diff := cmp.Diff(want, custom(t, w)); diff != "" {
			t.Error(diff)
		}
		if n := w.Count("ecs"); n != 2 {
			t.Errorf("%d calls, want 2: none for no attributes", n)
		}
	})
}

func TestFailuresAreToldApart(t *testing.T) {
	eleven := map[string]string{}
	for i := range 11 {
		eleven[fmt.Sprint("a", i)] = "x"
	}
	one := map[string]string{"lifecycle": "spot"}
	for name, tc := range map[string]struct {
		arrange    func(t *testing.T, w *sim.World, on *facts.ContainerInstance)
		attributes map[string]string
		is         error
		says       string
	}{
		"no permission": {
			arrange: func(_ *testing.T, w *sim.World, _ *facts.ContainerInstance) { w.Deny("ecs:PutAttributes") },
			is:      facts.ErrRefused,
			says:    "refused: the instance role must allow ecs:PutAttributes (AccessDeniedException)",
		},
		"a node that ECS has forgotten": {
			arrange: func(_ *testing.T, w *sim.World, _ *facts.ContainerInstance) { w.Deregister() },
			is:      facts.ErrAbsent,
			says:    "absent: the container instance is not registered in web",
		},
		"a cluster that is gone": {
			arrange: func(_ *testing.T, _ *sim.World, on *facts.ContainerInstance) { on.Cluster = "gone" },
			is:      facts.ErrAbsent,
			says:    "absent: there is no cluster gone",
		},
		"throttling": {
			arrange: func(_ *testing.T, w *sim.World, _ *facts.ContainerInstance) {
				w.SetRate(sim.BucketECSResourceModify, sim.Rate{})
			},
			is:   facts.ErrUnavailable,
			says: "unavailable: throttled (ThrottlingException)",
		},
		"500": {
			arrange: fault(sim.Fault{Kind: sim.FaultStatus, Status: 500}),
			is:      facts.ErrUnavailable,
			says:    "unavailable: ServerException (HTTP status 500)",
		},
		"garbage": {
			arrange: fault(sim.Fault{Kind: sim.FaultGarbage}),
			is:      facts.ErrUnavailable,
			says:    "unavailable: the answer makes no sense (HTTP status 200)",
		},
		"a truncated answer": {
			arrange: fault(sim.Fault{Kind: sim.FaultTruncate}),
			is:      facts.ErrUnavailable,
			says:    "unavailable: the answer was cut short",
		},
		"a hang": {
			arrange: fault(sim.Fault{Kind: sim.FaultHang}),
			is:      facts.ErrUnavailable,
			says:    "unavailable: no answer within 10s",
		},
		"a value that ECS does not take": {
			attributes: map[string]string{"lifecycle": "a=b"},
			is:         facts.ErrRefused,
			says:       `refused: InvalidParameterException: Attribute value "a=b" is invalid.`,
		},
		"more than fit": {
			attributes: eleven,
			is:         facts.ErrRefused,
			says:       "refused: ECS takes 10 at most",
		},
		"no ARN": {
			arrange: func(_ *testing.T, _ *sim.World, on *facts.ContainerInstance) { on.ARN = "web/0123" },
			is:      facts.ErrRefused,
			says:    "refused: no ARN of a container instance",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
				if tc.arrange != nil {
					tc.arrange(t, w, &on)
				}
				attributes := tc.attributes
				if attributes == nil {
					attributes = one
				}
				start := time.Now()
				err := c.PutAttributes(t.Context(), on, attributes)
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("took %v", took)
				}
				if err == nil {
					t.Fatal("no error")
				}
				for _, class := range []error{facts.ErrAbsent, facts.ErrUnavailable, facts.ErrRefused} {
					if errors.Is(err, class) != (class == tc.is) {
						t.Errorf("%v: errors.Is %q is %t", err, class, errors.Is(err, class))
					}
				}
				want := fmt.Sprintf("cannot set %d attributes of %s: %s", len(attributes), on.ARN, tc.says)
				if err.Error() != want {
					t.Errorf("got  %v\nwant %s", err, want)
				}
			})
		})
	}
}

func fault(f sim.Fault) func(*testing.T, *sim.World, *facts.ContainerInstance) {
	return func(t *testing.T, w *sim.World, _ *facts.ContainerInstance) {
		if err := w.SetFault("ecs/PutAttributes", f); err != nil {
			t.Fatal(err)
		}
	}
}
