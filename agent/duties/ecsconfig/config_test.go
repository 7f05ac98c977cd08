package ecsconfig

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/agent/when"
)

func problems(c Config) []string {
	var all []string
	c.Validate(func(path, message string) { all = append(all, path+": "+message) })
	return all
}

func TestGoodConfigurations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{"default": Default(), "everything": everything()} {
		if p := problems(c); p != nil {
			t.Errorf("%s: %q", name, p)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	c := Default()
	c.Path = "etc/ecs.config"
	c.ContainerStopTimeout = ptr(when.Duration(500 * time.Millisecond))
	c.ReservedMemory = ptr(1 << 16)
	c.LogDrivers = []LogDriver{"syslog", "none", "syslog"}
	c.Attributes = map[string]render.Text{
		"a.b":  render.NewText(`x\y`),
		"c d":  render.NewText("x"),
		"fine": render.NewText(`{{ tag "env" }}`),
	}
	for i := range 10 {
		c.Attributes[fmt.Sprint("n", i)] = render.NewText("x")
	}
	c.Settings = map[string]render.Text{
		"ECS_A":                render.NewText(`"x"`),
		"ECS_CLUSTER":          render.NewText("web"),
		"ECS_ENGINE_AUTH_DATA": render.NewText("{}"),
		"ECS_ENGINE_AUTH_TYPE": render.NewText("docker"),
		"ecs_b":                render.NewText("1"),
		"ECS_TAG":              render.NewText(`{{ tag "env" }}\`),
	}
	want := []string{
		`path: "etc/ecs.config" is no file: expected an absolute path such as /etc/ecs/ecs.config`,
		`attributes."a.b": the value has a backslash, which ecs.config cannot hold`,
		`attributes."c d": "c d" is no name of an attribute: expected 1 to 128 letters, digits and -_./`,
		`attributes: there are 12: a container instance has at most 10`,
		`container_stop_timeout: 500ms is too short: expected at least 1s`,
		`reserved_memory: 65536 is out of range: expected 0 to 65535 MiB`,
		`log_drivers[2]: syslog is in the list already`,
		`settings.ECS_A: the value begins with a quote, which the readers of ecs.config take differently`,
		`settings.ECS_CLUSTER: ECS_CLUSTER has a setting of its own: cluster`,
		`settings.ECS_ENGINE_AUTH_DATA: ECS_ENGINE_AUTH_DATA is a secret, which has no place in this configuration: take it from where secrets are kept, by {{ secret "NAME" }} or {{ ssm "NAME" }}`,
		`settings.ecs_b: "ecs_b" is no variable of the agent: expected ECS_ and capitals, digits and underscores`,
	}
	if diff := cmp.Diff(want, problems(c)); diff != "" {
		t.Error(diff)
	}
}

// Every key that the block can hold by a setting of its own is refused under
// settings.
func TestOwnSettingsCannotBeRepeated(t *testing.T) {
	t.Parallel()
	d := decide(everything(), node{in: render.Inputs{Instance: spot()}}, nil)
	for key := range inBlock(t, d.file) {
		_, free := everything().Settings[key]
		if own := ownSetting(key) != ""; own == free {
			t.Errorf("%s: own %v", key, own)
		}
	}
}

func TestClusterProblem(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"":                        "",
		"web":                     "",
		`{{ tag "cluster" }}`:     "",
		"{{ `x y` }}":             `"x y" is no cluster`,
		"a b":                     `"a b" is no cluster: a cluster is 1 to 255 letters`,
		strings.Repeat("x", 256):  "is no cluster",
		"{{ `` }}":                "empty",
		"arn:aws:ecs:eu-west-1:1": "is no cluster",
		"arn:aws-us-gov:ecs:us-gov-west-1:123456789012:cluster/web": `write the name of the cluster, "web"`,
	} {
		got := ClusterProblem(render.NewText(setting))
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", setting, got, want)
		}
	}
}

func TestLogDriver(t *testing.T) {
	t.Parallel()
	var d LogDriver
	for _, name := range d.Enum() {
		if err := d.UnmarshalText([]byte(name)); err != nil || string(d) != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := d.UnmarshalText([]byte("json")); err == nil || !strings.Contains(d.Expected(), "json-file") {
		t.Errorf("%v, %s", err, d.Expected())
	}
}
