package node_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/sim"
	"github.com/ecsnode/ecsnode/agent/status"
)

const asking = `cluster: '{{ ssm "/ecs/cluster" }}'
node_config:
  files:
    node.config:
      values:
        URL: {value: '{{ ssm (printf "/%s/url" (tag "env")) }}'}
        LEVEL: {value: '{{ ssm "/level" "info" }}'}
ecs_config:
  settings:
    ECS_ENGINE_AUTH_TYPE: dockercfg
    ECS_ENGINE_AUTH_DATA: '{{ secret "registry" }}'
files:
  items:
    /etc/app: {directory: true}
    /etc/app/env:
      mode: "0640"
      content: |
        {{ range $name, $value := ssmTree "/app/" }}{{ $name | upper }}={{ $value | envfilequote }}
        {{ end }}PASSWORD={{ secret "db" "password" }}
`

// stores fills Parameter Store and Secrets Manager.
func (r *rig) stores() {
	r.t.Helper()
	for _, p := range []sim.Parameter{
		{Name: "/ecs/cluster", Type: "String", Value: "web"},
		{Name: "/prod/url", Type: "String", Value: "https://prod.example"},
		{Name: "/app/port", Type: "String", Value: "8080"},
		{Name: "/app/token", Type: "SecureString", Value: "hunter1"},
	} {
		if err := r.world.SetParameter(p); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, s := range []sim.Secret{{Name: "registry", Value: `{"https://r.example/v1/":{"auth":"hunter2"}}`}, {Name: "db", Value: `{"password":"hunter3"}`}} {
		if err := r.world.SetSecret(s); err != nil {
			r.t.Fatal(err)
		}
	}
}

func inAskingNode(t *testing.T, f func(*testing.T, *rig)) {
	t.Helper()
	inNode(t, asking, func(t *testing.T, r *rig) {
		if err := os.MkdirAll(filepath.Join(r.root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		r.stores()
		f(t, r)
	})
}

const (
	appEnv = "/etc/app/env"
	// The most that a node asks at its start: GetParameters, by path, two secrets.
	callsOfAStart = 4
)

func TestParametersReachTheirFilesAndNothingElse(t *testing.T) {
	inAskingNode(t, func(t *testing.T, r *rig) {
		stop := r.daemon()
		r.pass(10 * time.Second)
		r.want(nodeConfig, "URL='https://prod.example'", "LEVEL='info'", "NODE_CLUSTER='web'")
		r.want(ecsConfig, "ECS_CLUSTER=web", `ECS_ENGINE_AUTH_DATA={"https://r.example/v1/":{"auth":"hunter2"}}`)
		r.want(appEnv, "PORT=8080\n", "TOKEN=hunter1\n", "PASSWORD=hunter3\n")
		for name, want := range map[string]os.FileMode{ecsConfig: 0o600, appEnv: 0o640, "/var/lib/ecsnode/parameters.json": 0o600} {
			if info, err := os.Stat(filepath.Join(r.root, name)); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
		calls := r.world.Count("ssm") + r.world.Count("secretsmanager")
		r.pass(3 * time.Hour)
		if more := r.world.Count("ssm") + r.world.Count("secretsmanager") - calls; more > 3*4*callsOfAStart || more < 3*4 {
			t.Errorf("%d calls in three hours, after %d", more, calls)
		}
		stop()
		shown := r.log.String() + r.read(status.Path) + r.read(nodeConfig)
		p := r.node().Plan(t.Context())
		var b strings.Builder
		p.Diff(&b)
		asJSON, err := json.Marshal(p)
		if err != nil || !p.Empty() {
			t.Errorf("the plan is not empty: %v, %s", err, &b)
		}
		if shown += string(asJSON) + b.String(); strings.Contains(shown, "hunter") {
			t.Errorf("a secret is shown:\n%s", shown)
		}
	})
}

func TestAPlanHidesSecretsAndSaysThatTheyChange(t *testing.T) {
	inAskingNode(t, func(t *testing.T, r *rig) {
		if _, err := r.node().Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, s := range []sim.Secret{{Name: "registry", Value: `{"https://r.example/v1/":{"auth":"hunter4"}}`}, {Name: "db", Value: `{"password":"hunter5"}`}} {
			if err := r.world.SetSecret(s); err != nil {
				t.Fatal(err)
			}
		}
		r.pass(time.Hour)
		p := r.node().Plan(t.Context())
		var b strings.Builder
		p.Diff(&b)
		asJSON, err := json.Marshal(p)
		if err != nil || len(p.Files) != 2 {
			t.Errorf("%v, %s", err, &b)
		}
		if text := b.String() + string(asJSON); strings.Contains(text, "hunter") || strings.Count(b.String(), "+(what is not shown differs)") != 2 {
			t.Errorf("%s", text)
		}
		if !strings.Contains(string(asJSON), `"path":"/etc/app/env","kind":"file","change":"changed"`) {
			t.Errorf("%s", asJSON)
		}
	})
}

func TestParametersOutOfReach(t *testing.T) {
	inAskingNode(t, func(t *testing.T, r *rig) {
		r.world.Deny("secretsmanager:GetSecretValue")
		stop := r.daemon()
		r.pass(30 * time.Second)
		r.want(nodeConfig, "URL='https://prod.example'")
		if rec := r.state("parameters"); rec.State != duty.Failing || !strings.Contains(rec.Err, "secretsmanager:GetSecretValue") {
			t.Errorf("%+v", rec)
		}
		if rec := r.state("files"); rec.State != duty.Waiting || !strings.Contains(rec.Err, `secret "db"`) {
			t.Errorf("%+v", rec)
		}
		if r.read(appEnv) != "" || strings.Contains(r.read(ecsConfig), "AUTH_DATA=") {
			t.Error("something was written without its secret")
		}
		r.world.Allow("secretsmanager:GetSecretValue")
		r.pass(5*time.Minute + 10*time.Second)
		r.want(appEnv, "PASSWORD=hunter3")
		r.want(ecsConfig, "hunter2")
		stop()
		// A reboot while nothing answers: what was read stays in use.
		r.world.SetFault("ssm", sim.Fault{Kind: sim.FaultStatus, Status: 503})
		r.world.SetFault("secretsmanager", sim.Fault{Kind: sim.FaultHang})
		for _, name := range []string{nodeConfig, ecsConfig, appEnv} {
			if err := os.Remove(filepath.Join(r.root, name)); err != nil {
				t.Fatal(err)
			}
		}
		stop = r.daemon()
		r.pass(time.Hour)
		r.want(nodeConfig, "URL='https://prod.example'")
		r.want(ecsConfig, "hunter2")
		r.want(appEnv, "PASSWORD=hunter3")
		if rec := r.state("parameters"); rec.State != duty.Failing || !strings.Contains(rec.Err, "stays in use") {
			t.Errorf("%+v", rec)
		}
		stop()
	})
}

// theParameter is of the simulator's account.
const theParameter = "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/url"

func TestAParameterThatIsDeniedNamesWhatIsMissingAndCostsNothingElse(t *testing.T) {
	inAskingNode(t, func(t *testing.T, r *rig) {
		stop := r.daemon()
		r.pass(10 * time.Second)
		if err := r.world.SetParameter(sim.Parameter{Name: "/prod/url", Value: "https://new.example"}); err != nil {
			t.Fatal(err)
		}
		if err := r.world.SetParameter(sim.Parameter{Name: "/app/port", Value: "9090"}); err != nil {
			t.Fatal(err)
		}
		r.world.Deny("ssm:GetParameters on " + theParameter)
		r.pass(time.Hour)
		rec := r.state("parameters")
		for _, says := range []string{"ssm:GetParameters on " + theParameter, "stays in use"} {
			if rec.State != duty.Failing || !strings.Contains(rec.Err, says) {
				t.Errorf("it does not say %q: %+v", says, rec)
			}
		}
		r.want(nodeConfig, "URL='https://prod.example'") // as before
		r.want(appEnv, "PORT=9090\n")                    // unrelated
		if rec := r.state("nodeconfig"); rec.State != duty.OK {
			t.Errorf("%+v", rec)
		}
		r.world.Allow("ssm:GetParameters on " + theParameter)
		r.pass(time.Hour)
		r.want(nodeConfig, "URL='https://new.example'")
		if rec := r.state("parameters"); rec.State != duty.OK {
			t.Errorf("%+v", rec)
		}
		stop()
	})
}

func TestParametersOutliveThrottling(t *testing.T) {
	inAskingNode(t, func(t *testing.T, r *rig) {
		stop := r.daemon()
		r.pass(10 * time.Second)
		if err := r.world.SetParameter(sim.Parameter{Name: "/prod/url", Value: "https://new.example"}); err != nil {
			t.Fatal(err)
		}
		r.world.SetFault("ssm", sim.Fault{Kind: sim.FaultThrottle})
		calls := r.world.Count("ssm")
		r.pass(time.Hour)
		if rec := r.state("parameters"); rec.State != duty.Failing || !strings.Contains(rec.Err, "stays in use") {
			t.Errorf("%+v", rec)
		}
		r.want(nodeConfig, "URL='https://prod.example'")
		// Two operations, each every five minutes and at first more often, and the SDK
		// tries up to three times.
		if n := r.world.Count("ssm") - calls; n > 2*3*(60/5+8) {
			t.Errorf("%d calls of SSM in an hour of throttling", n)
		}
		r.world.ClearFaults()
		r.pass(30 * time.Minute)
		r.want(nodeConfig, "URL='https://new.example'")
		if rec := r.state("parameters"); rec.State != duty.OK {
			t.Errorf("%+v", rec)
		}
		stop()
	})
}
