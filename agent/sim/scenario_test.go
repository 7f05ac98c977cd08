package sim_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

const story = `
state:
  instance: {type: m6i.xlarge, lifecycle: spot, region: eu-central-1}
  tags: {env: prod, cluster: web, old: x}
  registered: web
  throttle: false
steps:
  - at: 2m
    spot_interruption: {action: terminate, in: 2m}
  - at: 5s
    set_tags: {env: staging}
    delete_tags: [old]
  - at: 10s
    faults:
      imds/meta-data: {kind: status, status: 503, count: 2}
      ec2: {kind: hang, latency: 1s}
    deny: [ec2:DescribeTags]
  - at: 1m
    clear_all_faults: true
    rebalance_recommendation: true
    target_lifecycle_state: Terminated
    container_instance_status: DRAINING
    allow: [ec2:DescribeTags]
  - at: 3m
    instance: {id: i-0fedcba9876543210}
    scheduled_events: [{code: system-reboot, event_id: e-1, state: active, not_before: 2026-11-02T10:30:00Z}]
    rates: {ec2/non-mutating: {burst: 1, per_second: 0.5}}
    throttle: true
    registered: ""
    imds: false
`

func TestScenario(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := sim.ParseScenario([]byte(story))
		if err != nil {
			t.Fatal(err)
		}
		w := sim.New(sim.Options{})
		if err := w.Apply(s.State); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		ended := make(chan error)
		var played []time.Duration
		go func() { ended <- w.Play(t.Context(), s, func(step sim.Step) { played = append(played, step.At) }) }()
		after := func(d time.Duration, check func(sim.State) bool) {
			t.Helper()
			time.Sleep(time.Until(start.Add(d)))
			synctest.Wait()
			if s := w.State(); !check(s) {
				t.Errorf("after %s: %+v", d, s)
			}
		}
		after(0, func(s sim.State) bool {
			return s.Instance.Type == "m6i.xlarge" && s.Instance.ID == "i-0123456789abcdef0" && s.Instance.Zone == "eu-central-1a" &&
				len(s.Tags) == 3 && s.ContainerInstance.Status == "ACTIVE" && !s.Throttled && s.IMDS
		})
		after(5*time.Second, func(s sim.State) bool { return s.Tags["env"] == "staging" && len(s.Tags) == 2 })
		after(10*time.Second, func(s sim.State) bool {
			return s.Faults["ec2"] == sim.Fault{Kind: sim.FaultHang, Latency: time.Second} && len(s.Faults) == 2 && s.Denied[0] == "ec2:DescribeTags"
		})
		after(time.Minute, func(s sim.State) bool {
			return len(s.Faults) == 0 && len(s.Denied) == 0 && s.RebalanceRecommendation.Equal(time.Now()) &&
				s.TargetLifecycleState == "Terminated" && s.ContainerInstance.Status == "DRAINING"
		})
		after(2*time.Minute, func(s sim.State) bool {
			return s.SpotAction == "terminate" && s.SpotTime.Equal(time.Now().Add(2*time.Minute))
		})
		after(3*time.Minute, func(s sim.State) bool {
			return s.Instance.ID == "i-0fedcba9876543210" && s.Instance.Type == "m6i.large" && len(s.ScheduledEvents) == 1 &&
				s.Rates["ec2/non-mutating"].Burst == 1 && s.Throttled && s.ContainerInstance == nil && !s.IMDS
		})
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want := []time.Duration{5 * time.Second, 10 * time.Second, time.Minute, 2 * time.Minute, 3 * time.Minute}
		if diff := cmp.Diff(want, played); diff != "" {
			t.Error(diff)
		}
	})
}

func TestScenarioErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "state:\n  tags: {a: b}\n  colour: red\n", `[3:3] unknown field "colour"`},
		{"unknown key in a step", "steps:\n  - at: 5s\n    set_tag: {a: b}\n", `[3:5] unknown field "set_tag"`},
		{"unknown key of a fault", "state:\n  faults:\n    imds: {kindd: hang}\n", `[3:12] unknown field "kindd"`},
		{"repeated key", "state:\n  lifecycle: spot\n  lifecycle: spot\n", `[3:3] mapping key "lifecycle" already defined`},
		{"wrong type", "steps:\n  - at: 5s\n    set_tags: [a]\n", "[3:15]"},
		{"no duration", "steps:\n  - at: soon\n", "soon"},
		{"not YAML", "state: {", "[1:8]"},
		{"fault without kind", "steps:\n- at: 0s\n- at: 1s\n  faults: {ec2: {count: 1}}\n", "steps[1]: faults: ec2: neither a kind nor a latency"},
		{"fault in the state", "state: {faults: {ec2: {kind: x}}}\n", `state: faults: ec2: unknown kind "x"`},
		{"before the start", "steps: [{at: -1s}]\n", "steps[0]: at: -1s is before the start"},
		{"spot action", "steps: [{at: 1s, spot_interruption: {action: explode}}]\n", `steps[0]: spot_interruption: unknown action "explode"`},
		{"bucket", "state: {rates: {ec2: {burst: 1}}}\n", `state: rates: unknown bucket "ec2"`},
	} {
		_, err := sim.ParseScenario([]byte(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
	if s, err := sim.ParseScenario(nil); err != nil || len(s.Steps) != 0 {
		t.Errorf("an empty scenario: %+v, %v", s, err)
	}
}

func TestPlayEndsEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := sim.ParseScenario([]byte("steps:\n  - at: 1s\n    set_tags: {a b: c}\n  - at: 1h\n"))
		if err != nil {
			t.Fatal(err)
		}
		w := sim.New(sim.Options{})
		if err := w.Play(t.Context(), s, nil); err == nil || !strings.HasPrefix(err.Error(), "cannot play the step at 1s: cannot tag ") {
			t.Errorf("a tag that IMDS cannot serve: %v", err)
		}
		s.Steps = s.Steps[1:]
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.Play(ctx, s, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted: %v", err)
		}
	})
}

func TestControl(t *testing.T) {
	t.Parallel()
	world := sim.New(sim.Options{})
	client, url := direct(t), onLoopback(t, world.Handler())
	do := func(method, path, body string) (int, string) {
		t.Helper()
		return send(t, client, method, url+path, body)
	}
	for _, tc := range []struct {
		method, path, body string
		status             int
		want               string // in the answer
	}{
		{"GET", "/_sim/", "", 200, "PUT    /_sim/tags/KEY"},
		{"PUT", "/_sim/tags/env", "it's $(x)\n", 204, ""},
		{"DELETE", "/_sim/tags/cluster", "", 204, ""},
		{"GET", "/_sim/tags", "", 200, `{"env":"it's $(x)\n"}`},
		{"PUT", "/_sim/tags/a%20b", "x", 400, `key "a b" cannot be served by IMDS`},
		{"PUT", "/_sim/faults/imds/meta-data/tags", `{"kind":"hang","latency":"2s","count":1}`, 204, ""},
		{"GET", "/_sim/faults", "", 200, `{"imds/meta-data/tags":{"kind":"hang","count":1,"latency":"2s"}}`},
		{"PUT", "/_sim/faults/ec2", "kind: nonsense", 400, "cannot set fault on ec2: unknown kind"},
		{"PUT", "/_sim/faults/ec2", "kindd: hang", 400, `unknown field "kindd"`},
		{"DELETE", "/_sim/faults/imds/meta-data/tags", "", 204, ""},
		{"GET", "/_sim/faults", "", 200, "{}"},
		{"POST", "/_sim/apply", "lifecycle: spot\nregistered: web\n", 204, ""},
		{"POST", "/_sim/apply", `{"nonsense": 1}`, 400, `unknown field "nonsense"`},
		{"GET", "/_sim/state", "", 200, `"lifecycle":"spot"`},
		{"GET", "/latest/meta-data/mac", "", 401, "401 - Unauthorized"},
		{"GET", "/2021-03-23/meta-data/mac", "", 401, "401 - Unauthorized"},
		{"GET", "/v1/metadata", "", 200, `"Cluster":"web"`},
		{"POST", "/", "", 501, "no such API"},
		{"GET", "/_sim/counts", "", 200, `{"imds/meta-data/mac":2,"introspection/v1/metadata":1,"unknown/":1}`},
		{"GET", "/_sim/counts?match=introspection", "", 200, `{"introspection/v1/metadata":1}`},
		{"GET", "/_sim/calls?match=imds&last=1", "", 200, `"path":"/2021-03-23/meta-data/mac","status":401`},
		{"GET", "/_sim/calls?last=x", "", 400, "last is not a number"},
		{"DELETE", "/_sim/calls", "", 204, ""},
		{"GET", "/_sim/calls", "", 200, "[]"},
		{"DELETE", "/_sim/faults", "", 204, ""},
		{"GET", "/_sim/nonsense", "", 404, ""},
	} {
		status, body := do(tc.method, tc.path, tc.body)
		if status != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("%s: %d %s, want %d %s", fmt.Sprint(tc.method, " ", tc.path), status, body, tc.status, tc.want)
		}
	}
}
