package ssm_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/ssm"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestTree(t *testing.T) {
	t.Parallel()
	against(t, func(t *testing.T, w *sim.World, c *ssm.Client) {
		put(t, w, sim.Parameter{Name: "/app/a", Value: "1"}, sim.Parameter{Name: "/app/b/c", Type: "SecureString", Value: "hunter2"},
			sim.Parameter{Name: "/app", Value: "itself"}, sim.Parameter{Name: "/apple", Value: "other"}, sim.Parameter{Name: "plain", Value: "p"})
		for path, want := range map[string]map[string]facts.Parameter{
			"/app":   {"/app/a": {Value: "1"}, "/app/b/c": {Value: "hunter2", Secret: true}},
			"/app/":  {"/app/a": {Value: "1"}, "/app/b/c": {Value: "hunter2", Secret: true}},
			"/app/b": {"/app/b/c": {Value: "hunter2", Secret: true}},
			"/none":  {},
			"/": {
				"/app/a": {Value: "1"}, "/app/b/c": {Value: "hunter2", Secret: true},
				"/app": {Value: "itself"}, "/apple": {Value: "other"}, "plain": {Value: "p"},
			},
		} {
			got, err := c.Tree(t.Context(), region, path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", path, diff)
			}
		}
	})
}

func TestATreeOfManyPages(t *testing.T) {
	t.Parallel()
	for count, calls := range map[int]int{10: 1, 11: 2, 1000: 100} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			t.Parallel()
			against(t, func(t *testing.T, w *sim.World, c *ssm.Client) {
				w.EnableThrottle(false)
				numbered(t, w, count)
				tree, err := c.Tree(t.Context(), region, "/n")
				if err != nil || len(tree) != count {
					t.Errorf("%d parameters, %v", len(tree), err)
				}
				if n := w.Count("ssm/GetParametersByPath"); n != calls {
					t.Errorf("%d calls, want %d", n, calls)
				}
			})
		})
	}
}

func TestTreesThatCannotBeHad(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		arrange func(t *testing.T, w *sim.World)
		path    string
		is      error
		says    string
	}{
		"denied": {
			func(_ *testing.T, w *sim.World) { w.Deny("ssm:GetParametersByPath on *parameter/n") }, "/n", facts.ErrRefused,
			"cannot read the parameters below /n: refused: the instance role must allow ssm:GetParametersByPath on " + arns + "/n (AccessDeniedException)",
		},
		"without the key of one": {
			func(t *testing.T, w *sim.World) {
				put(t, w, sim.Parameter{Name: "/n/x", Type: "SecureString", Value: "x", Key: "k1"})
				w.Deny("kms:Decrypt")
			}, "/n", facts.ErrRefused,
			"cannot read the parameters below /n: refused: the instance role must allow kms:Decrypt on " + key + " (AccessDeniedException)",
		},
		"no path": {
			nil, "n", facts.ErrRefused,
			`cannot read the parameters below n: refused: ValidationException: The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "/"`,
		},
		"too many": {
			func(t *testing.T, w *sim.World) { w.EnableThrottle(false); numbered(t, w, 1001) }, "/n", facts.ErrRefused,
			"cannot read the parameters below /n: refused: there are more than 1000: name a path further down",
		},
		"too long": {
			func(t *testing.T, w *sim.World) {
				w.EnableThrottle(false)
				for i := range 200 {
					put(t, w, sim.Parameter{Name: fmt.Sprint("/n/", i), Value: strings.Repeat("x", 8192)})
				}
			}, "/n", facts.ErrRefused,
			"cannot read the parameters below /n: refused: they are longer than 1024 KiB: name a path further down",
		},
		"throttled on the way": {
			func(t *testing.T, w *sim.World) {
				numbered(t, w, 100)
				w.SetRate(sim.BucketSSMParameters, sim.Rate{Burst: 3})
			}, "/n", facts.ErrThrottled,
			"cannot read the parameters below /n: unavailable: throttled (ThrottlingException)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			against(t, func(t *testing.T, w *sim.World, client *ssm.Client) {
				if c.arrange != nil {
					c.arrange(t, w)
				}
				tree, err := client.Tree(t.Context(), region, c.path)
				if !errors.Is(err, c.is) || !strings.HasPrefix(err.Error(), c.says) || tree != nil {
					t.Errorf("%v, %v, want %s", tree, err, c.says)
				}
			})
		})
	}
}
