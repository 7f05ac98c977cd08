package introspection_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/introspection"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// serve returns a client of h, or of nobody if h is nil; it is for use in a bubble.
func serve(t *testing.T, h http.Handler) *introspection.Client {
	t.Helper()
	n := sim.NewNetwork()
	t.Cleanup(func() { _ = n.Close() })
	if h != nil {
		if err := n.Serve("localhost:51678", h); err != nil {
			t.Fatal(err)
		}
	}
	return introspection.New(introspection.Options{Dial: n.DialContext})
}

func TestARegisteredNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sim.New(sim.Options{})
		arn := w.SetRegistered("web")
		got, err := serve(t, w.Introspection()).ContainerInstance(t.Context())
		want := facts.ContainerInstance{ARN: arn, Cluster: "web", AgentVersion: got.AgentVersion}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v, %s", err, diff)
		}
		if strings.Count(got.AgentVersion, ".") != 2 || strings.Trim(got.AgentVersion, "0123456789.") != "" {
			t.Errorf("version %q", got.AgentVersion)
		}
	})
}

func TestAnAgentThatIsNotRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sim.New(sim.Options{})
		w.SetAgentRunning(true)
		_, err := serve(t, w.Introspection()).ContainerInstance(t.Context())
		checkError(t, err, facts.ErrAbsent, "absent: it is not registered")
	})
}

func TestNobodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := serve(t, nil).ContainerInstance(t.Context())
		checkError(t, err, facts.ErrUnavailable, "unavailable: connection refused")
	})
}

func TestFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		fault sim.Fault
		says  string
	}{
		"an empty answer":    {sim.Fault{Kind: sim.FaultEmpty}, "unavailable: not an agent's answer: "},
		"a hang":             {sim.Fault{Kind: sim.FaultHang}, "unavailable: no answer within 2s"},
		"500":                {sim.Fault{Kind: sim.FaultStatus, Status: 500}, "unavailable: HTTP status 500"},
		"garbage":            {sim.Fault{Kind: sim.FaultGarbage}, "unavailable: not an agent's answer: …"},
		"a truncated answer": {sim.Fault{Kind: sim.FaultTruncate}, "unavailable: the answer was cut short"},
		"10 MB":              {sim.Fault{Kind: sim.FaultHuge, Size: 10 << 20}, "unavailable: the answer is longer than 64 KiB"},
		"a reset connection": {sim.Fault{Kind: sim.FaultReset}, "unavailable: connection reset by peer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := sim.New(sim.Options{})
				w.SetRegistered("web")
				if err := w.SetFault("introspection", tc.fault); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_, err := serve(t, w.Introspection()).ContainerInstance(t.Context())
				checkError(t, err, facts.ErrUnavailable, tc.says)
				if took := time.Since(start); took > introspection.DefaultTimeout {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestAnswers(t *testing.T) {
	const arn = "arn:aws-us-gov:ecs:us-gov-west-1:123456789012:container-instance/web/0123456789abcdef0123456789abcdef"
	for name, tc := range map[string]struct {
		body string
		want facts.ContainerInstance
		is   error
		says string
	}{
		"a cluster that is configured as an ARN is spelled so": {
			body: `{"Cluster":"arn:aws:ecs:eu-west-1:123456789012:cluster/web","ContainerInstanceArn":"` + arn + `","Version":"Amazon ECS Agent - v1.108.2 (*0a1b2c3d)"}`,
			want: facts.ContainerInstance{ARN: arn, Cluster: "arn:aws:ecs:eu-west-1:123456789012:cluster/web", AgentVersion: "1.108.2"},
		},
		"a version in another form": {
			body: `{"Cluster":"web","ContainerInstanceArn":"` + arn + `","Version":"dev"}`,
			want: facts.ContainerInstance{ARN: arn, Cluster: "web"},
		},
		"the list of commands that any other path is answered with": {
			body: `{"AvailableCommands":["/v1/metadata","/v1/tasks","/license"]}`,
			is:   facts.ErrUnavailable,
			says: `unavailable: not an agent's answer: {"AvailableCommands":["/v1/metadata","/v1/tasks","/license"]}`,
		},
		"no JSON":     {body: "<html>", is: facts.ErrUnavailable, says: "unavailable: not an agent's answer: <html>"},
		"null":        {body: "null", is: facts.ErrUnavailable, says: "unavailable: not an agent's answer: null"},
		"a null ARN":  {body: `{"Cluster":"web","ContainerInstanceArn":null,"Version":"x"}`, is: facts.ErrAbsent, says: "absent: it is not registered"},
		"another ARN": {body: `{"Cluster":"web","ContainerInstanceArn":"arn:aws:s3:::x"}`, is: facts.ErrUnavailable, says: `unavailable: its ContainerInstanceArn is malformed: "arn:aws:s3:::x"`},
		"an odd name": {body: `{"Cluster":"a b","ContainerInstanceArn":"` + arn + `"}`, is: facts.ErrUnavailable, says: `unavailable: its Cluster is malformed: "a b"`},
		"an ARN of another thing": {
			body: `{"Cluster":"arn:aws:ecs:eu-west-1:123456789012:service/web","ContainerInstanceArn":"` + arn + `"}`,
			is:   facts.ErrUnavailable, says: `unavailable: its Cluster is malformed: "arn:aws:ecs:eu-west-1:123456789012:service/web"`,
		},
		"a path":          {body: `{"Cluster":"../web","ContainerInstanceArn":"` + arn + `"}`, is: facts.ErrUnavailable, says: `unavailable: its Cluster is malformed: "../web"`},
		"a name too long": {body: `{"Cluster":"` + strings.Repeat("w", 401) + `","ContainerInstanceArn":"` + arn + `"}`, is: facts.ErrUnavailable, says: `unavailable: its Cluster is malformed: "www…`},
		"an ARN too long": {body: `{"Cluster":"web","ContainerInstanceArn":"` + arn + strings.Repeat("0", 400) + `"}`, is: facts.ErrUnavailable, says: `unavailable: its ContainerInstanceArn is malformed: "arn…`},
		"no name":         {body: `{"Version":"v1.2.3","ContainerInstanceArn":"` + arn + `"}`, is: facts.ErrUnavailable, says: `unavailable: its Cluster is malformed: ""`},
		"a wrong type":    {body: `{"Cluster":1}`, is: facts.ErrUnavailable, says: `unavailable: not an agent's answer: {"Cluster":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/v1/metadata" || r.Method != http.MethodGet {
						t.Errorf("%s %s", r.Method, r.URL.Path)
					}
					fmt.Fprint(w, tc.body)
				}))
				got, err := c.ContainerInstance(t.Context())
				if tc.is != nil {
					checkError(t, err, tc.is, tc.says)
				} else if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func checkError(t *testing.T, err, is error, says string) {
	t.Helper()
	checkErrorAt(t, "metadata", err, is, says)
}

func checkErrorAt(t *testing.T, path string, err, is error, says string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, class := range []error{facts.ErrAbsent, facts.ErrUnavailable, facts.ErrRefused} {
		if errors.Is(err, class) != (class == is) {
			t.Errorf("%v: errors.Is %q is %t", err, class, errors.Is(err, class))
		}
	}
	want := "cannot ask the ECS agent at http://localhost:51678/v1/" + path + ": " + says
	prefix, open := strings.CutSuffix(want, "…")
	if got := err.Error(); got != want && !(open && strings.HasPrefix(got, prefix)) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
