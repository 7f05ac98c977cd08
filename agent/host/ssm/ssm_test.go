package ssm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/host/ssm"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const (
	region = "eu-west-1"
	arns   = "arn:aws:ssm:eu-west-1:123456789012:parameter"
	key    = "arn:aws:kms:eu-west-1:123456789012:key/k1"
)

// against runs a test of a client against a world, in virtual time.
func against(t *testing.T, f func(t *testing.T, w *sim.World, c *ssm.Client)) {
	t.Helper()
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
		f(t, w, ssm.New(config, "http://ssm.eu-west-1.amazonaws.com"))
	})
}

func put(t *testing.T, w *sim.World, parameters ...sim.Parameter) {
	t.Helper()
	for _, p := range parameters {
		if err := w.SetParameter(p); err != nil {
			t.Fatal(err)
		}
	}
}

// told is a result as one line: the value, with a ! if it is secret, or the error.
func told(r facts.ParameterResult) string {
	switch {
	case r.Err != nil:
		return r.Err.Error()
	case r.Parameter.Secret:
		return "!" + r.Parameter.Value
	}
	return r.Parameter.Value
}

func toldAll(results map[string]facts.ParameterResult) map[string]string {
	all := map[string]string{}
	for name, r := range results {
		all[name] = told(r)
	}
	return all
}

// numbered are n names of one parameter each.
func numbered(t *testing.T, w *sim.World, n int) []string {
	t.Helper()
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("/n/%03d", i))
		put(t, w, sim.Parameter{Name: names[i], Value: fmt.Sprint(i)})
	}
	return names
}

func fault(t *testing.T, w *sim.World, f sim.Fault) {
	t.Helper()
	if err := w.SetFault("ssm", f); err != nil {
		t.Fatal(err)
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		arrange func(w *sim.World)
		ask     []string
		want    map[string]string
		calls   int
	}{
		"nothing": {ask: nil, want: map[string]string{}},
		"each type, and one that is not there": {
			ask:   []string{"/db/host", "/db/password", "/db/ports", "plain", "/db/none"},
			calls: 1,
			want: map[string]string{
				"/db/host": "new", "/db/password": "!hunter2", "/db/ports": "1,2", "plain": "p",
				"/db/none": "cannot read parameter /db/none: absent: there is no such parameter in eu-west-1",
			},
		},
		"by version, label and ARN": {
			ask:   []string{"/db/host:1", "/db/host:first", arns + "/db/host", arns + "/db/host:1", arns + "/plain", "/db/host:7"},
			calls: 1,
			want: map[string]string{
				"/db/host:1": "old", "/db/host:first": "old", arns + "/db/host": "new", arns + "/db/host:1": "old", arns + "/plain": "p",
				"/db/host:7": "cannot read parameter /db/host:7: absent: there is no such parameter in eu-west-1",
			},
		},
		"one twice":        {ask: []string{"plain", "plain"}, calls: 1, want: map[string]string{"plain": "p"}},
		"with key allowed": {ask: []string{"/db/keyed"}, calls: 1, want: map[string]string{"/db/keyed": "!k"}},
		"without kms:Decrypt, only what has a key of one's own": {
			arrange: func(w *sim.World) { w.Deny("kms:Decrypt on " + key) },
			ask:     []string{"/db/host", "/db/password", "/db/keyed"}, calls: 4,
			want: map[string]string{
				"/db/host": "new", "/db/password": "!hunter2",
				"/db/keyed": "cannot read parameter /db/keyed: refused: the instance role must allow kms:Decrypt on " + key + " (AccessDeniedException)",
			},
		},
		"one denied does not keep the others": {
			arrange: func(w *sim.World) { w.Deny("ssm:GetParameters on *parameter/db/p*") },
			ask:     []string{"/db/host", "/db/password", "/db/none"}, calls: 4,
			want: map[string]string{
				"/db/host":     "new",
				"/db/password": "cannot read parameter /db/password: refused: the instance role must allow ssm:GetParameters on " + arns + "/db/password (AccessDeniedException)",
				"/db/none":     "cannot read parameter /db/none: absent: there is no such parameter in eu-west-1",
			},
		},
		"all denied": {
			arrange: func(w *sim.World) { w.Deny("ssm:GetParameters") },
			ask:     []string{"plain"}, calls: 1,
			want: map[string]string{
				"plain": "cannot read parameter plain: refused: the instance role must allow ssm:GetParameters on " + arns + "/plain (AccessDeniedException)",
			},
		},
		"a name that is none does not keep the others": {
			ask: []string{"plain", "b@d", "db/host"}, calls: 3,
			want: map[string]string{
				"plain": "p",
				"b@d": `cannot read parameter b@d: refused: ValidationException: Parameter name: can't be prefixed with "ssm" (case-insensitive). ` +
					`If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be…`,
				"db/host": "cannot read parameter db/host: refused: a name with a / in it begins with one",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			against(t, func(t *testing.T, w *sim.World, client *ssm.Client) {
				put(t, w,
					sim.Parameter{Name: "/db/host", Value: "old", Labels: []string{"first"}}, sim.Parameter{Name: "/db/host", Value: "new"},
					sim.Parameter{Name: "/db/password", Type: "SecureString", Value: "hunter2"},
					sim.Parameter{Name: "/db/keyed", Type: "SecureString", Value: "k", Key: "k1"},
					sim.Parameter{Name: "/db/ports", Type: "StringList", Value: "1,2"},
					sim.Parameter{Name: "plain", Value: "p"})
				if c.arrange != nil {
					c.arrange(w)
				}
				if diff := cmp.Diff(c.want, toldAll(client.Parameters(t.Context(), region, c.ask))); diff != "" {
					t.Error(diff)
				}
				if n := w.Count("ssm"); n != c.calls {
					t.Errorf("%d calls, want %d", n, c.calls)
				}
			})
		})
	}
}

func TestManyParametersTakeACallForEachTen(t *testing.T) {
	t.Parallel()
	against(t, func(t *testing.T, w *sim.World, c *ssm.Client) {
		names := numbered(t, w, 43)
		results := c.Parameters(t.Context(), region, names)
		for i, name := range names {
			if told(results[name]) != fmt.Sprint(i) {
				t.Errorf("%s: %s", name, told(results[name]))
			}
		}
		if n := w.Count("ssm/GetParameters"); n != 5 || len(results) != 43 {
			t.Errorf("%d calls, %d results", n, len(results))
		}
	})
}

func TestRefusedCallsAreTakenApartOnlySoFar(t *testing.T) {
	t.Parallel()
	against(t, func(t *testing.T, w *sim.World, c *ssm.Client) {
		names := numbered(t, w, 50)
		w.Deny("ssm:GetParameters on *5") // one in each ten
		results := c.Parameters(t.Context(), region, names)
		had := 0
		for name, r := range results {
			if r.Err == nil {
				had++
			} else if !errors.Is(r.Err, facts.ErrRefused) {
				t.Errorf("%s: %v", name, r.Err)
			}
		}
		if n := w.Count("ssm"); n != 5+30 || had != 27 || len(results) != 50 {
			t.Errorf("%d calls, %d of %d were had", n, had, len(results))
		}
		const want = "cannot read parameter /n/041: asked for with 9 others: refused: the instance role must allow ssm:GetParameters on " + arns + "/n/045 (AccessDeniedException)"
		if got := told(results["/n/041"]); got != want {
			t.Error(got)
		}
	})
}

// what can go wrong with a call, and what is said of it.
var illnesses = map[string]struct {
	fault sim.Fault
	says  string
}{
	"throttled":    {sim.Fault{Kind: sim.FaultThrottle}, "unavailable: throttled (ThrottlingException)"},
	"out of order": {sim.Fault{Kind: sim.FaultStatus, Status: 503}, "unavailable: ServiceUnavailableException (HTTP status 503)"},
	"hanging":      {sim.Fault{Kind: sim.FaultHang}, "unavailable: no answer within 10s"},
	"garbage":      {sim.Fault{Kind: sim.FaultGarbage}, "unavailable: the answer makes no sense (HTTP status 200)"},
	"cut short":    {sim.Fault{Kind: sim.FaultTruncate}, "unavailable: "},
	"empty":        {sim.Fault{Kind: sim.FaultEmpty}, "unavailable: the answer "},
	"huge":         {sim.Fault{Kind: sim.FaultHuge}, "unavailable: "},
	"reset":        {sim.Fault{Kind: sim.FaultReset}, "unavailable: "},
}

func TestNothingIsKnownWithoutAUsableAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range illnesses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			against(t, func(t *testing.T, w *sim.World, client *ssm.Client) {
				names, began := numbered(t, w, 25), time.Now()
				fault(t, w, c.fault)
				for name, r := range client.Parameters(t.Context(), region, names) {
					if want := "cannot read parameter " + name + ": " + c.says; !errors.Is(r.Err, facts.ErrUnavailable) || !strings.HasPrefix(r.Err.Error(), want) {
						t.Errorf("%v, want %s", r.Err, want)
					}
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("it took %v", took)
				}
				if n := w.Count("ssm"); n > 2 {
					t.Errorf("asked on, with %d calls", n)
				}
				_, err := client.Tree(t.Context(), region, "/n")
				if want := "cannot read the parameters below /n: " + c.says; !errors.Is(err, facts.ErrUnavailable) || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("%v, want %s", err, want)
				}
			})
		})
	}
}

func TestWhatWasHadBeforeTheServiceFellIllIsKept(t *testing.T) {
	t.Parallel()
	against(t, func(t *testing.T, w *sim.World, c *ssm.Client) {
		names := numbered(t, w, 30)
		w.SetRate(sim.BucketSSMParameters, sim.Rate{Burst: 1})
		results := c.Parameters(t.Context(), region, names)
		for i, name := range names {
			if had := results[name].Err == nil; had != (i < 10) || !had && !errors.Is(results[name].Err, facts.ErrThrottled) {
				t.Errorf("%s: %v", name, results[name].Err)
			}
		}
	})
}

func TestAPassingThrottleIsRiddenOut(t *testing.T) {
	t.Parallel()
	against(t, func(t *testing.T, w *sim.World, c *ssm.Client) {
		put(t, w, sim.Parameter{Name: "a", Value: "1"})
		fault(t, w, sim.Fault{Kind: sim.FaultThrottle, Count: 1})
		if got := told(c.Parameters(t.Context(), region, []string{"a"})["a"]); got != "1" {
			t.Error(got)
		}
	})
}

func TestACallThatIsCancelledEnds(t *testing.T) {
	t.Parallel()
	against(t, func(t *testing.T, w *sim.World, c *ssm.Client) {
		names := numbered(t, w, 20)
		fault(t, w, sim.Fault{Kind: sim.FaultHang})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		results := c.Parameters(ctx, region, names)
		if took := time.Since(began); took != time.Second || len(results) != 20 || !errors.Is(results["/n/019"].Err, facts.ErrUnavailable) {
			t.Errorf("after %v: %v", took, results["/n/019"].Err)
		}
	})
}
