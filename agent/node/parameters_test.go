package node_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/sim"
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

// theParameter is of the simulator's account.
const theParameter = "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/url"
