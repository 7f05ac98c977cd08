package migrate

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/config/strict"
	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/templates"
)

func someFacts() render.Inputs {
	return render.Inputs{Cluster: "web", Instance: facts.Instance{
		ID: "i-0123456789abcdef0", Type: "m6i.large", Region: "eu-west-1", Zone: "eu-west-1a", AccountID: "123456789012", Lifecycle: "spot",
		Architecture: "x86_64", PlacementPart: "1",
		Tags: facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{
			"env": "prod", "Team": "payments", "app:tier": "front", "a": "1", "one": "twin", "two": "twin", `od"d`: "quoted", "cluster": "web",
		}},
	}}
}

func TestWhereAValueComesFrom(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ variable, value, template, note string }{
		"a tag of its name":                 {"TEAM", "payments", `{{ tag "Team" }}`, ""},
		"a tag of its name, in other words": {"APP_TIER", "front", `{{ tag "app:tier" }}`, ""},
		"a tag that is part of its name":    {"MY_ENVIRONMENT", "prod", `{{ tag "env" }}`, ""},
		"a tag of its name, another value":  {"TEAM", "other", "other", "the same on every node"},
		"the region":                        {"AWS_DEFAULT_REGION", "eu-west-1", `{{ node "region" }}`, ""},
		"the zone":                          {"ZONE", "eu-west-1a", `{{ node "availability_zone" }}`, ""},
		"the cluster, by its tag":           {"CLUSTER", "web", `{{ tag "cluster" }}`, ""},
		"what the instance is, by name too": {"INSTANCE_LIFECYCLE", "spot", `{{ node "lifecycle" }}`, ""},
		"a word that may be chance":         {"COLOUR", "spot", "spot", "the same on every node"},
		"a number that may be chance":       {"REPLICAS", "1", "1", `the same on every node; the tag "a" has this value too`},
		"a tag that only has its value":     {"COLOUR", "payments", "payments", `the same on every node; the tag "Team" has this value too`},
		"nothing":                           {"EMPTY", "", `{{ "" }}`, "the same on every node"},
		"a template of another program":     {"FORMAT", "{{.Name}}", `{{ "{{.Name}}" }}`, "the same on every node"},
		"bytes that are no text":            {"BYTES", "\xff\n'", `{{ "\xff\n'" }}`, "the same on every node"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if s := sourceOf(c.variable, c.value, someFacts()); s.template != c.template || s.note != c.note {
				t.Errorf("%q, %q", s.template, s.note)
			}
		})
	}
}

// rendered is node.config as ecsnode makes it from a draft, and the draft.
func rendered(t *testing.T, n node) (nodeconfig.Rendered, draft) {
	t.Helper()
	d := n.write()
	loaded := config.Merge([]strict.Layer{{Name: "draft", Data: []byte(d.yaml)}})
	if len(loaded.Problems) > 0 {
		t.Fatalf("%v in\n%s", loaded.Problems, d.yaml)
	}
	source := templates.NodeConfig()
	if d.template != "" {
		source = d.template
	}
	r, err := nodeconfig.Render(loaded.Config.NodeConfig.Files["node.config"], source, n.in)
	if err != nil {
		t.Fatalf("%v in\n%s", err, d.yaml)
	}
	return r, d
}

func FuzzDraft(f *testing.F) {
	f.Add("MY_ENVIRONMENT=prod\nexport TEAM='payments'\nREGION=eu-west-1\n")
	f.Add("null='{{ x'\nY=\"\"\nno=1\nA=' # : [ {'\nTWICE=1\nTWICE=2\n")
	f.Add("NODE_REGION=eu-west-1\nB='\xff\t'\nexport C='it'\\''s'\n")
	f.Fuzz(func(t *testing.T, text string) {
		before, err := nodeconfig.Assignments(text)
		if err != nil || len(before) == 0 {
			return
		}
		for _, a := range before {
			if nodeconfig.RefuseValue(a.Name) != "" {
				return // said, and a difference
			}
		}
		r, d := rendered(t, node{in: someFacts(), nodeConfig: "/etc/container_config/node.config", before: before, templateAt: "/etc/ecsnode/node.config.tmpl"})
		after, err := nodeconfig.Assignments(string(r.Body))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range compare(before, after) {
			if v.Differs() {
				t.Errorf("%s is %s in\n%s", v.Name, v.State, d.yaml)
			}
		}
	})
}

func TestADraftOfAllThereCanBe(t *testing.T) {
	t.Parallel()
	foreign, err := ecsconfig.Outside([]byte("ECS_CLUSTER=arn:aws:ecs:eu-west-1:123456789012:cluster/blue\nECS_CONTAINER_STOP_TIMEOUT=2m\nECS_RESERVED_MEMORY=many\n" +
		"ECS_AVAILABLE_LOGGING_DRIVERS=[\"json-file\",\"awslogs\"]\nECS_AWSVPC_BLOCK_IMDS=True\nECS_INSTANCE_ATTRIBUTES={\"stage\":\"prod\",\"rack\":\"a1\"}\n" +
		"ECS_LOGLEVEL='warn'\nECS_DATADIR=/data\nNO_PROXY=169.254.169.254\n# a=b\nECS_ENGINE_AUTH_TYPE=docker\nECS_DATADIR=/data/\n"))
	if err != nil {
		t.Fatal(err)
	}
	r, d := rendered(t, node{
		in: someFacts(), nodeConfig: "/etc/container_config/node.config", unread: errors.New("line 3: it\nruns"), dirMode: 0o777, foreign: foreign,
		there: &fsx.Exact{Mode: 0o640},
		tasks: []NodeTask{
			{Name: "logspout", Family: "logspout", Revision: "12", Asked: true},
			{Name: "datadog", Family: "dd", Service: "dd-daemon", Asked: true},
			{Name: "vector", Family: "vector"},
			{Name: "fluentd", Container: "f\n1", Image: "fluent/fluentd:v1"},
		},
		zone: "Europe/Berlin",
		jobs: []Job{
			{"/etc/crontab", 3, "it's: a\x1b job", "0 3 * * *", "root", "true # 'x'\u2028y"},
			{"/etc/crontab", 4, "prune", "0 3 * * *", "root", `docker image prune -f >>"$HOME/log" # it's`},
			{"/var/spool/cron/app", 1, "Prune", "@daily", "app", "true"},
			{"/etc/crontab", 5, "at boot", "@reboot", "root", "true"},
		},
	})
	want := `# Written by "ecsnode migrate" on i-0123456789abcdef0 from what it found there. Look it
# through: what says "literal" is the same on every node that this file is
# baked into. Then: ecsnode migrate, once more, and ecsnode migrate --cut-over.

cluster: 'blue' # literal

node_config:
  # The directory had mode 0777, which is not for what containers run.
  files:
    node.config:
      mode: "0640"
      values:
        # The file that is there does more than assign literal values, and is not
        # read: line 3: it
        # runs. Write its variables here, such as
        # MY_ENVIRONMENT: { value: '{{ tag "env" }}' }
        MY_ENVIRONMENT: null

# What ecs.config has outside of ecsnode's block stays there too, and may go
# once the block has it.
ecs_config:
  container_stop_timeout: 2m
  log_drivers: [json-file, awslogs]
  awsvpc_block_imds: true
  attributes:
    rack: 'a1' # literal: the same on every node
    stage: 'prod' # literal: the same on every node; the tag "env" has this value too
  settings:
    ECS_DATADIR: '/data/'

# What runs here and, as it seems, on every node. What runs already is adopted.
node_tasks:
  tasks:
    logspout:
      task_definition: 'logspout:12'
    datadog:
      task_definition: 'dd:'
      mode: service
      service: 'dd-daemon'
    vector:
      task_definition: 'vector@newest'
      # ECS was not asked whether a service runs it. If one does:
      # mode: service
    # The container f
    # 1 of fluent/fluentd:v1 is no task of ECS: register a task
    # definition for it. While the container runs, none is started:
    # fluentd:
    #   task_definition: 'fluentd@newest'
    #   recognise: { images: ['fluent/fluentd*'] }

# Jobs of cron that ansible set up. They stay in cron, where cut-over leaves them
# alone. As schedules they would be as follows; take their lines out of cron then.
# schedules:
#   items:
#     it-s-a-job: none can be made of /etc/crontab:3
#     prune: # /etc/crontab:4
#       cron: '0 3 * * *'
#       timezone: 'Europe/Berlin'
#       command: [/bin/sh, -c, 'docker image prune -f >>"$HOME/log" # it''s']
#     prune-2: # /var/spool/cron/app:1, of app
#       cron: '@daily'
#       timezone: 'Europe/Berlin'
#       command: [/usr/sbin/runuser, -u, 'app', --, /bin/sh, -c, 'true']
#     at-boot: none can be made of /etc/crontab:5
`
	want = strings.Replace(want, "'dd:'", "'dd@newest'", 1)
	if diff := cmp.Diff(want, d.yaml); diff != "" || d.mode != 0o600 || len(r.Variables) == 0 {
		t.Errorf("mode %v, %s", d.mode, diff)
	}
	// What is proposed in comments is a configuration without them.
	_, proposed, _ := strings.Cut(d.yaml, "\n# schedules:\n")
	var lines []string
	for line := range strings.Lines("# schedules:\n" + proposed) {
		if !strings.Contains(line, "none can be made of") {
			lines = append(lines, strings.TrimPrefix(line, "# "))
		}
	}
	loaded := config.Merge([]strict.Layer{{Name: "proposed", Data: []byte(strings.Join(lines, ""))}})
	if len(loaded.Problems) > 0 || len(loaded.Config.Schedules.Items) != 2 || len(loaded.Config.Schedules.Items["prune"].Command) != 3 {
		t.Errorf("%v, %+v", loaded.Problems, loaded.Config.Schedules)
	}
	var keys []string
	for _, k := range d.keys {
		keys = append(keys, k.Name+" > "+k.Setting)
	}
	if got := strings.Join(keys, "\n"); got != `ECS_CLUSTER > cluster
ECS_CONTAINER_STOP_TIMEOUT > ecs_config.container_stop_timeout
ECS_RESERVED_MEMORY > 
ECS_AVAILABLE_LOGGING_DRIVERS > ecs_config.log_drivers
ECS_AWSVPC_BLOCK_IMDS > ecs_config.awsvpc_block_imds
ECS_INSTANCE_ATTRIBUTES > ecs_config.attributes
ECS_LOGLEVEL > 
NO_PROXY > 
ECS_ENGINE_AUTH_TYPE > 
ECS_DATADIR > ecs_config.settings.ECS_DATADIR` {
		t.Errorf("got\n%s", got)
	}
}

func TestTheClusterOfADraft(t *testing.T) {
	t.Parallel()
	outside := func(text string) []ecsconfig.Foreign {
		all, err := ecsconfig.Outside([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for name, c := range map[string]struct {
		node
		want string
	}{
		"a tag has it":                      {node{foreign: outside("ECS_CLUSTER=web\n")}, `cluster: '{{ tag "cluster" }}'`},
		"user data writes it":               {node{foreign: outside("ECS_CLUSTER=blue\n"), cluster: "/var/x"}, "# User data names the cluster"},
		"a literal":                         {node{foreign: outside("ECS_CLUSTER=blue\n")}, "cluster: 'blue' # literal"},
		"none but where it is registered":   {node{registered: "arn:aws:ecs:eu-west-1:123456789012:cluster/blue"}, "cluster: 'blue' # literal"},
		"none":                              {node{}, "# ecs.config names no cluster"},
		"what readers take differently: no": {node{foreign: outside("ECS_CLUSTER=\"blue\"\n")}, "# ecs.config names no cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.in, c.nodeConfig = someFacts(), "/etc/container_config/node.config"
			if got := c.write().yaml; !strings.Contains(got, "\n\n"+c.want) {
				t.Errorf("got\n%s", got)
			}
		})
	}
}

func TestVariablesAsAShellSeesThem(t *testing.T) {
	t.Parallel()
	read := func(text string) []nodeconfig.Assignment {
		all, err := nodeconfig.Assignments(text)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for name, c := range map[string]struct{ before, after, want string }{
		"quotes are no difference":      {`A="x y"`, `A='x y'`, "A same"},
		"the last one counts":           {"A=1\nA=2", "A=2", "A same"},
		"another value":                 {"A=1", "A=2", "A changed"},
		"gone":                          {"A=1\nB=2", "B=2", "A missing, B same"},
		"one more":                      {"A=1", "A=1\nB=2", "A same, B added"},
		"no longer exported":            {"export A=1", "A=1", "A not exported"},
		"exported too":                  {"A=1", "export A=1", "A same"},
		"exported once, assigned later": {"export A=1\nA=2", "A=2", "A not exported"},
		"empty is not gone":             {"A=", "B=", "A missing, B added"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, v := range compare(read(c.before), read(c.after)) {
				got = append(got, v.Name+" "+v.State)
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestContainersThatEveryNodeRuns(t *testing.T) {
	t.Parallel()
	container := func(name, image, family, arn string) facts.Container {
		c := facts.Container{Name: name, Image: image}
		if family != "" {
			c.Labels = map[string]string{facts.LabelFamily: family, facts.LabelTaskARN: arn, facts.LabelRevision: "3", facts.LabelContainerName: name}
		}
		return c
	}
	all, others := nodeTasks([]facts.Container{
		container("web-1", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/web:9", "web", "arn:web"),
		container("ecs-dd", "public.ecr.aws/datadog/agent:7", "datadog", "arn:dd"),
		container("dd-trace", "public.ecr.aws/datadog/agent:7", "datadog", "arn:dd"),
		container("logspout", "gliderlabs/logspout:v3.2.14@sha256:00", "", ""),
		container("build", "buildkite/agent:3", "build", "arn:b"),
		container("~internal~ecs~pause", "amazon/amazon-ecs-pause", "datadog", "arn:dd"),
		container("x", "localhost:5000/team/vector", "log-shipper", "arn:v"),
	}, []facts.Task{{ARN: "arn:dd", Group: "service:dd-daemon"}, {ARN: "arn:v", Group: "family:log-shipper"}}, true)
	want := []NodeTask{
		{Name: "datadog", Container: "dd-trace", Image: "public.ecr.aws/datadog/agent:7", Family: "datadog", Revision: "3", Service: "dd-daemon", Asked: true},
		{Name: "logspout", Container: "logspout", Image: "gliderlabs/logspout:v3.2.14@sha256:00", Asked: true},
		{Name: "vector", Container: "x", Image: "localhost:5000/team/vector", Family: "log-shipper", Revision: "3", Asked: true},
	}
	if diff := cmp.Diff(want, all); diff != "" || others != 2 {
		t.Errorf("%d others, %s", others, diff)
	}
}
