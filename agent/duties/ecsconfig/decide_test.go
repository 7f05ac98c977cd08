package ecsconfig

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/agent/when"
)

var update = flag.Bool("update", false, "rewrite golden files")

func ptr[T any](v T) *T { return &v }

func spot() facts.Instance {
	return facts.Instance{
		ID: "i-0123456789abcdef0", Region: "eu-west-1", Lifecycle: facts.Spot,
		Tags: facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{
			"env": "prod", "cluster": "web", "empty": "", "odd": `a\b`, "long": strings.Repeat("x", 129), "name": "my cluster",
		}},
	}
}

// dark is a node whose tags nobody can read.
func dark() facts.Instance {
	i := spot()
	i.Tags = facts.Tags{Why: "imds: 503"}
	return i
}

// withCluster is the default configuration with a cluster.
func withCluster(cluster string) Config {
	c := Default()
	c.Cluster = render.NewText(cluster)
	return c
}

func everything() Config {
	c := withCluster(`{{ tag "cluster" }}`)
	c.Attributes["team"] = render.NewText("platform and web")
	c.Attributes["rack"] = render.NewText(`{{ tag "rack" "none" }}/{{ node "cluster" }}`)
	c.ContainerStopTimeout = ptr(when.Duration(2 * time.Minute))
	c.SpotInstanceDraining = ptr(false)
	c.ReservedMemory = ptr(256)
	c.AWSVPCBlockIMDS = ptr(true)
	c.ContainerMetadata = ptr(true)
	c.LogDrivers = []LogDriver{"json-file", "awslogs"}
	c.Settings = map[string]render.Text{
		"ECS_LOGLEVEL":                render.NewText("debug"),
		"ECS_CONTAINER_INSTANCE_TAGS": render.NewText(`{"env":"{{ tag "env" }}","a":"<b> & 'c'"}`),
	}
	return c
}

func TestGolden(t *testing.T) {
	t.Parallel()
	minimal := withCluster("web")
	minimal.Attributes = nil
	for name, c := range map[string]struct {
		cfg  Config
		file string
	}{
		"minimal":    {minimal, ""},
		"default":    {withCluster("web"), ""},
		"everything": {everything(), ""},
		"user-data":  {withCluster("web"), "ECS_CLUSTER=dev\nECS_ENGINE_AUTH_TYPE=dockercfg\nECS_ENGINE_AUTH_DATA={\"https://index.docker.io/v1/\":{}}"},
		"foreign":    {Default(), "\r\n# written by user data\r\nECS_CLUSTER=batch\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := decide(c.cfg, node{path: "/etc/ecs/ecs.config", in: render.Inputs{Instance: spot()}}, []byte(c.file))
			if d.fileErr != nil || len(d.errs) > 0 {
				t.Fatal(d.fileErr, d.errs)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, d.file, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(d.file)); diff != "" {
				t.Error(diff)
			}
			mustRead(t, d.file, []byte(c.file), mustParse(t, d.file).settings)
		})
	}
}

// inBlock returns the block of a file as a map.
func inBlock(t *testing.T, file []byte) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, s := range mustParse(t, file).settings {
		m[s.key] = s.value
	}
	return m
}

func onlyWaiting(errs []error) bool {
	for _, err := range errs {
		if !errors.Is(err, duty.ErrNotReady) {
			return false
		}
	}
	return len(errs) > 0
}

func TestTheCluster(t *testing.T) {
	t.Parallel()
	old := beginLine + "ECS_CLUSTER=old\n" + endLine
	for name, c := range map[string]struct {
		setting    string
		instance   facts.Instance
		registered string
		file       string
		cluster    string // effective
		write      string // in the block
		err        string
		waiting    bool
		warning    string
	}{
		"configured":                               {setting: "web", cluster: "web", write: "web"},
		"from a tag":                               {setting: `{{ tag "cluster" }}`, cluster: "web", write: "web"},
		"default, and meant":                       {setting: "default", cluster: "default", write: "default"},
		"from an absent tag":                       {setting: `{{ tag "team" }}`, err: `cannot tell the cluster: tag "team" is absent (tags read from imds): set that`},
		"from an absent tag, known before":         {setting: `{{ tag "team" }}`, file: old, write: "old", err: `tag "team" is absent`},
		"from an unavailable tag":                  {setting: `{{ tag "cluster" }}`, instance: dark(), err: `the cluster: tag "cluster" is not known (imds: 503)`, waiting: true},
		"unavailable, known before":                {setting: `{{ tag "cluster" }}`, instance: dark(), file: old, write: "old", err: "not known", waiting: true},
		"from an empty tag":                        {setting: `{{ tag "empty" }}`, err: "cannot use the setting cluster: the value is empty: a cluster is 1 to 255"},
		"with a space":                             {setting: `{{ tag "name" }}`, err: `"my cluster" is no cluster`},
		"an ARN":                                   {setting: "arn:aws:ecs:eu-west-1:123456789012:cluster/web", err: `is an ARN: write the name of the cluster, "web"`},
		"changed before registration":              {setting: "web", file: old, cluster: "web", write: "web"},
		"not set":                                  {err: `no cluster is set and the node would join "default": set cluster, or cluster: default`},
		"not set, and set to nothing":              {file: "ECS_CLUSTER=\n", err: `would join "default"`},
		"not set, and exported":                    {file: "A=1\nexport ECS_CLUSTER=web\n", err: `(line 2 of ecs.config looks like it, but is none of the form ECS_CLUSTER=NAME)`},
		"not set, and in a comment":                {file: "#ECS_CLUSTER=web\n", err: `would join "default": set cluster, or cluster: default if that is meant`},
		"registered as an ARN, user data names it": {file: "ECS_CLUSTER=web\n", registered: "arn:aws:ecs:eu-west-1:123456789012:cluster/web", cluster: "web", write: "arn:aws:ecs:eu-west-1:123456789012:cluster/web", warning: "also set outside"},
		"from user data":                           {file: "ECS_CLUSTER=dev\nECS_CLUSTER=batch\r\n", cluster: "batch"},
		"from user data, as an ARN":                {file: "ECS_CLUSTER=arn:aws-cn:ecs:cn-north-1:123456789012:cluster/batch\n", cluster: "batch"},
		"from user data, in quotes":                {file: "\nECS_CLUSTER=\"batch\"\n", err: `cannot tell the cluster from /etc/ecs/ecs.config: line 2: ecs-init reads ECS_CLUSTER as "\"batch\"", and systemd as "batch": write it as ECS_CLUSTER=NAME`},
		"from user data, with spaces":              {file: "ECS_CLUSTER = batch\n", err: `line 1: ecs-init reads ECS_CLUSTER as nothing, and systemd as "batch"`},
		"from user data, no cluster":               {file: "ECS_CLUSTER=a.b\n", err: `line 1: ECS_CLUSTER is "a.b": a cluster is 1 to 255`},
		"configured over user data":                {setting: "web", file: "ECS_CLUSTER=\"dev\"\n", cluster: "web", write: "web", warning: `ECS_CLUSTER is also set outside the block (line 1, value "\"dev\""): ecsnode's value "web" wins`},
		"registered there":                         {setting: "web", registered: "web", cluster: "web", write: "web"},
		"registered there, as an ARN":              {setting: "web", registered: "arn:aws:ecs:eu-west-1:123456789012:cluster/web", cluster: "web", write: "arn:aws:ecs:eu-west-1:123456789012:cluster/web"},
		"registered elsewhere":                     {setting: "batch", registered: "web", cluster: "web", write: "web", err: `cannot change ECS_CLUSTER from "web" to "batch": this node is registered in "web", and a container instance cannot change its cluster. Replace the instance; or stop ecs, remove /var/lib/ecs/data/agent.db`},
		"registered, user data says another":       {file: "ECS_CLUSTER=batch\n", registered: "web", cluster: "web", write: "web", err: "cannot change ECS_CLUSTER", warning: `value "batch"): ecsnode's value "web" wins`},
		"registered, user data says the same":      {file: "ECS_CLUSTER=web\n", registered: "web", cluster: "web"},
		"registered, nobody says":                  {registered: "web", cluster: "web", write: "web", warning: `no cluster is set: ecs.config keeps "web", where this node is registered`},
		"registered, tag unavailable":              {setting: `{{ tag "cluster" }}`, instance: dark(), registered: "web", cluster: "web", write: "web", err: "not known", waiting: true},
		"registered, user data in quotes":          {file: "ECS_CLUSTER='web'\n", registered: "web", cluster: "web", write: "web", err: "write it as ECS_CLUSTER=NAME", warning: "also set outside"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := withCluster(c.setting)
			cfg.Attributes = nil
			if c.instance.ID == "" {
				c.instance = spot()
			}
			d := decide(cfg, node{"/etc/ecs/ecs.config", render.Inputs{Instance: c.instance}, c.registered}, []byte(c.file))
			if d.fileErr != nil {
				t.Fatal(d.fileErr)
			}
			if d.cluster != c.cluster || inBlock(t, d.file)[clusterKey] != c.write {
				t.Errorf("cluster %q, in the block %q", d.cluster, inBlock(t, d.file)[clusterKey])
			}
			if got := errors.Join(d.errs...); (got == nil) != (c.err == "") || got != nil && !strings.Contains(got.Error(), c.err) {
				t.Errorf("errs = %v, want %s", d.errs, c.err)
			}
			if onlyWaiting(d.errs) != c.waiting {
				t.Errorf("waiting: %v", d.errs)
			}
			if got := strings.Join(d.warnings, "\n"); (got == "") != (c.warning == "") || !strings.Contains(got, c.warning) {
				t.Errorf("warnings = %q, want %s", got, c.warning)
			}
		})
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	old := beginLine + "ECS_CLUSTER=web\n" + endLine
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"none":               {"ECS_LOGLEVEL=debug\nOTHER=1\n", nil},
		"the same value":     {"ECS_CLUSTER=web\n", nil},
		"another value":      {"\n\nECS_CLUSTER=dev\n", []string{`ECS_CLUSTER is also set outside the block (line 3, value "dev"): ecsnode's value "web" wins`}},
		"twice":              {"ECS_CLUSTER=a\nECS_CLUSTER=b\n", []string{`ECS_CLUSTER is also set outside the block (line 2, value "b"): ecsnode's value "web" wins`}},
		"after the block":    {old + "ECS_CLUSTER=dev\n", []string{`ECS_CLUSTER is also set outside the block (line 1, value "dev"): ecsnode's value "web" wins`}},
		"quoted but same":    {"ECS_CLUSTER=\"web\"\n", []string{`ECS_CLUSTER is also set outside the block (line 1, value "\"web\""): ecsnode's value "web" wins`}},
		"systemd alone":      {"ECS_CLUSTER = dev\n", []string{`ECS_CLUSTER is also set outside the block (line 1, value "dev"): ecsnode's value "web" wins`}},
		"nobody's":           {"export ECS_CLUSTER=dev\n# ECS_CLUSTER=x\n", nil},
		"a secret":           {"ECS_MY_TOKEN=hunter2\n", []string{"ECS_MY_TOKEN is also set outside the block (line 1, value not shown): ecsnode's value not shown wins"}},
		"two keys":           {"ECS_X=2\nECS_CLUSTER=dev\n", []string{`ECS_CLUSTER is also set outside the block (line 2, value "dev"): ecsnode's value "web" wins`, `ECS_X is also set outside the block (line 1, value "2"): ecsnode's value "1" wins`}},
		"before and between": {"ECS_X=2\n" + old + "OTHER=1\n", []string{`ECS_X is also set outside the block (line 1, value "2"): ecsnode's value "1" wins`}},
		"a long value":       {"ECS_X=" + strings.Repeat("é", 100) + "\n", []string{`ECS_X is also set outside the block (line 1, value "` + strings.Repeat("é", 40) + `" and more): ecsnode's value "1" wins`}},
		"an open quote that swallows a secret": {"ECS_X =\"1\nECS_ENGINE_AUTH_DATA=hunter2\nX=\"\n", []string{
			`ECS_X is also set outside the block (line 1, value "1" and more): ecsnode's value "1" wins`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := withCluster("web")
			cfg.Attributes = nil
			cfg.Settings = map[string]render.Text{"ECS_X": render.NewText("1"), "ECS_MY_TOKEN": render.NewText("s3cret")}
			d := decide(cfg, node{in: render.Inputs{Instance: spot()}}, []byte(c.file))
			if d.fileErr != nil || len(d.errs) > 0 {
				t.Fatal(d.fileErr, d.errs)
			}
			if diff := cmp.Diff(c.want, d.warnings); diff != "" {
				t.Error(diff)
			}
			for _, w := range d.warnings {
				if strings.Contains(w, "hunter2") || strings.Contains(w, "s3cret") {
					t.Errorf("a secret is shown: %s", w)
				}
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for _, n := range strings.Split("a b c d e f g h i", " ") {
		many[n] = "x"
	}
	old := beginLine + attributesKey + `={"was":"1"}` + "\n" + endLine
	for name, c := range map[string]struct {
		more     map[string]string
		instance facts.Instance
		want     string
		err      string
		waiting  bool
		warning  string
	}{
		"the defaults":            {want: `{"environment":"prod","lifecycle":"spot"}`},
		"sorted, nothing escaped": {more: map[string]string{"a.b/c": "x@y: z", "Z": "1"}, want: `{"Z":"1","a.b/c":"x@y: z","environment":"prod","lifecycle":"spot"}`},
		"one dropped":             {more: map[string]string{"environment": ""}, want: `{"lifecycle":"spot"}`},
		"all dropped":             {more: map[string]string{"environment": "", "lifecycle": ""}, warning: "ECS_INSTANCE_ATTRIBUTES is removed from the block: nothing sets it any more"},
		"absent":                  {more: map[string]string{"team": `{{ tag "team" }}`}, want: `{"environment":"prod","lifecycle":"spot"}`, warning: `attribute team is left out: tag "team" is absent (tags read from imds)`},
		"a template that fails":   {more: map[string]string{"f": `{{ slice (tag "empty") 1 }}`}, want: `{"was":"1"}`, err: "cannot set attribute f: "},
		"an empty tag":            {more: map[string]string{"e": `{{ tag "empty" }}`}, want: `{"environment":"prod","lifecycle":"spot"}`, warning: "attribute e is left out: its value is empty"},
		"unavailable":             {instance: dark(), want: `{"was":"1"}`, err: `attribute environment: tag "env" is not known (imds: 503)`, waiting: true},
		"a backslash":             {more: map[string]string{"o": `{{ tag "odd" }}`}, want: `{"was":"1"}`, err: "cannot set attribute o: the value has a backslash, which ecs.config cannot hold"},
		"a quote":                 {more: map[string]string{"q": `"`}, want: `{"was":"1"}`, err: `the value "\"" is not allowed: expected 1 to 128 letters`},
		"too long":                {more: map[string]string{"l": `{{ tag "long" }}`}, want: `{"was":"1"}`, err: "expected 1 to 128 letters"},
		"a space at its end":      {more: map[string]string{"s": "x "}, want: `{"was":"1"}`, err: "begins or ends with a space"},
		"a bad name":              {more: map[string]string{"a b": "x"}, want: `{"was":"1"}`, err: `"a b" is no name of an attribute`},
		"a name with a backslash": {more: map[string]string{`a\b`: "x"}, want: `{"was":"1"}`, err: "the name has a backslash"},
		"eleven":                  {more: many, want: `{"was":"1"}`, err: "cannot set 11 attributes: a container instance has at most 10"},
		"bad and unavailable":     {more: map[string]string{"q": `"`}, instance: dark(), want: `{"was":"1"}`, err: "is not allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := withCluster("web")
			for k, v := range c.more {
				cfg.Attributes[k] = render.NewText(v)
			}
			if c.instance.ID == "" {
				c.instance = spot()
			}
			d := decide(cfg, node{in: render.Inputs{Instance: c.instance}}, []byte(old))
			got := inBlock(t, d.file)
			if got[attributesKey] != c.want || got[clusterKey] != "web" {
				t.Errorf("block %q", got)
			}
			if (d.attributes == nil) != (c.err != "") {
				t.Errorf("attributes %v", d.attributes)
			}
			if err := errors.Join(d.errs...); (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("errs = %v, want %s", d.errs, c.err)
			}
			if onlyWaiting(d.errs) != c.waiting {
				t.Errorf("waiting: %v", d.errs)
			}
			if diff := cmp.Diff(c.warning, strings.Join(d.warnings, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestASettingThatCannotBeWrittenKeepsItsValue(t *testing.T) {
	t.Parallel()
	old := beginLine + "ECS_A=1\nECS_B=2\nECS_C=3\n" + endLine
	cfg := withCluster("web")
	cfg.Attributes = nil
	cfg.Settings = map[string]render.Text{
		"ECS_A":                render.NewText(`{{ tag "odd" }}`),
		"ECS_B":                render.NewText(`{{ tag "nope" }}`),
		"ECS_D":                render.NewText("4"),
		"ECS_E":                render.NewText(" x"),
		"ECS_F":                render.NewText(`{{ slice (tag "empty") 1 }}`),
		"ECS_RESERVED_MEMORY":  render.NewText("1"),
		"ECS_ENGINE_AUTH_DATA": render.NewText("{}"),
		"A=B":                  render.NewText("1"),
	}
	d := decide(cfg, node{in: render.Inputs{Instance: spot()}}, []byte(old))
	want := map[string]string{"ECS_CLUSTER": "web", "ECS_A": "1", "ECS_B": "2", "ECS_D": "4"}
	if diff := cmp.Diff(want, inBlock(t, d.file)); diff != "" {
		t.Error(diff)
	}
	msg := errors.Join(d.errs...).Error()
	for _, part := range []string{
		"cannot set ECS_A: the value has a backslash",
		`cannot set ECS_B: tag "nope" is absent (tags read from imds): set that, or give the template a default`,
		"cannot set ECS_E: the value begins or ends with white space",
		"cannot set ECS_F: ",
		"ECS_RESERVED_MEMORY has a setting of its own: ecs_config.reserved_memory",
		"ECS_ENGINE_AUTH_DATA is a secret, which has no place in this configuration",
		`"A=B" is no variable of the agent`,
	} {
		if !strings.Contains(msg, part) {
			t.Errorf("%q lacks %q", msg, part)
		}
	}
}

func TestAttributesFromOutsideTheBlock(t *testing.T) {
	t.Parallel()
	nine := `{"a":"x","b":"x","c":"x","d":"x","e":"x","f":"x","g":"x","h":"x","i":"x"}`
	for name, c := range map[string]struct {
		line     string
		drop     bool // the configuration drops lifecycle
		secret   bool // and has an api-token
		want     string
		err      string
		warnings []string
	}{
		"another name":  {line: `{"rack":"a1"}`, want: `{"environment":"prod","lifecycle":"spot","rack":"a1"}`},
		"the same":      {line: `{"environment":"prod"}`, want: `{"environment":"prod","lifecycle":"spot"}`},
		"a conflict":    {line: `{"environment":"dev","rack":"a1"}`, want: `{"environment":"prod","lifecycle":"spot","rack":"a1"}`, warnings: []string{`attribute environment is also set outside the block (line 2, value "dev"): ecsnode's value "prod" wins`}},
		"a secret":      {line: `{"api-token":"hunter2"}`, secret: true, want: `{"api-token":"s3cret","environment":"prod","lifecycle":"spot"}`, warnings: []string{`attribute api-token is also set outside the block (line 2, value not shown): ecsnode's value not shown wins`}},
		"one we drop":   {line: `{"lifecycle":"x"}`, drop: true, want: `{"environment":"prod"}`, warnings: []string{`attribute lifecycle is also set outside the block (line 2, value "x"): ecsnode's value "" wins`}},
		"in quotes":     {line: `'{"rack":"a1"}'`, want: `{"environment":"prod","lifecycle":"spot"}`, warnings: []string{`the attributes that line 2 sets outside the block are not taken over: the agent cannot read them either: expected JSON such as {"rack":"a1"}, without quotes around it`}},
		"a bad value":   {line: `{"rack":"","r k":"1"}`, want: `{"environment":"prod","lifecycle":"spot"}`, warnings: []string{`attribute r k, set outside the block (line 2), is not taken over: "r k" is no name of an attribute: expected 1 to 128 letters, digits and -_./`, "attribute rack, set outside the block (line 2), is not taken over: its value is empty"}},
		"too many":      {line: nine, err: "cannot set 11 attributes, 9 of them from outside the block: a container instance has at most 10"},
		"nothing in it": {line: "", want: `{"environment":"prod","lifecycle":"spot"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := withCluster("web")
			if c.drop {
				cfg.Attributes["lifecycle"] = render.Text{}
			}
			if c.secret {
				cfg.Attributes["api-token"] = render.NewText("s3cret")
			}
			file := "# user data\n" + attributesKey + "=" + c.line + "\n"
			d := decide(cfg, node{in: render.Inputs{Instance: spot()}}, []byte(file))
			if got := inBlock(t, d.file)[attributesKey]; got != c.want {
				t.Errorf("block %s, want %s", got, c.want)
			}
			if diff := cmp.Diff(c.warnings, d.warnings); diff != "" {
				t.Error(diff)
			}
			if err := errors.Join(d.errs...); (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
				t.Errorf("%v, want %s", err, c.err)
			}
			if !strings.HasPrefix(string(d.file), file) {
				t.Errorf("the outside was changed: %q", d.file)
			}
			again := decide(cfg, node{in: render.Inputs{Instance: spot()}}, d.file)
			if diff := cmp.Diff(string(d.file), string(again.file)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatOthersWriteIntoTheBlock(t *testing.T) {
	t.Parallel()
	cfg := withCluster("web")
	cfg.Attributes = nil
	const clean = beginLine + "ECS_CLUSTER=web\n" + endLine
	for name, c := range map[string]struct {
		lines string // within the block
		after string // of the block, once the pass is done
		said  []string
	}{
		"another program's variable": {"HTTP_PROXY=http://p\n", "HTTP_PROXY=http://p\n", []string{"HTTP_PROXY was written into the block by others: moved behind it, where it is kept"}},
		"a secret":                   {"ECS_ENGINE_AUTH_DATA={\"hunter2\":{}}\n", "", []string{"ECS_ENGINE_AUTH_DATA is removed from the block: nothing sets it any more"}},
		"what could be ours":         {"ECS_LOGLEVEL=debug\n", "", []string{"ECS_LOGLEVEL is removed from the block: nothing sets it any more"}},
		"a comment":                  {"# be careful\n", "", nil},
		"both":                       {"ECS_LOGLEVEL=debug\n  A=1\n", "  A=1\n", []string{"A was written into the block by others: moved behind it, where it is kept", "ECS_LOGLEVEL is removed from the block: nothing sets it any more"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := "B=2\n" + beginLine + "ECS_CLUSTER=web\n" + c.lines + endLine + "C=3\n"
			d := decide(cfg, node{in: render.Inputs{Instance: spot()}}, []byte(file))
			if want := "B=2\n" + clean + c.after + "C=3\n"; string(d.file) != want {
				t.Errorf("%q, want %q", d.file, want)
			}
			if diff := cmp.Diff(c.said, d.warnings); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(Redact(file), "hunter2") || strings.Count(Redact(file), "\n") != strings.Count(file, "\n") {
				t.Errorf("shown to people: %q", Redact(file))
			}
			if again := decide(cfg, node{in: render.Inputs{Instance: spot()}}, d.file); string(again.file) != string(d.file) || len(again.warnings) > 0 {
				t.Errorf("again: %q, %q", again.file, again.warnings)
			}
		})
	}
}

func TestABlockAtTheBeginningThatSaysItHasABreakBeforeIt(t *testing.T) {
	t.Parallel()
	cfg := withCluster("web")
	cfg.Attributes = nil
	d := decide(cfg, node{in: render.Inputs{Instance: spot()}}, []byte(beginLine+breakLine+"ECS_CLUSTER=dev\n"+endLine))
	if want := beginLine + "ECS_CLUSTER=web\n" + endLine; string(d.file) != want || d.fileErr != nil {
		t.Errorf("%q, %v", d.file, d.fileErr)
	}
}

// A value that somebody broke is not kept for the sake of one that is not known.
func TestABrokenValueIsNotKept(t *testing.T) {
	t.Parallel()
	cfg := withCluster("web")
	cfg.Attributes = nil
	cfg.Settings = map[string]render.Text{"ECS_X": render.NewText(`{{ tag "env" }}`)}
	d := decide(cfg, node{in: render.Inputs{Instance: dark()}}, []byte(beginLine+"ECS_CLUSTER=web\nECS_X=\"open\n"+endLine))
	if got := inBlock(t, d.file); d.fileErr != nil || len(got) != 1 || got[clusterKey] != "web" {
		t.Errorf("%v, %v", got, d.fileErr)
	}
}

func TestALineThatLooksAsIfItNamedTheCluster(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"export ECS_CLUSTER=web": true,
		"# ECS_CLUSTER=web":      false,
		"; ECS_CLUSTER=web":      false,
		"ECS_CLUSTER=":           false,
		"":                       false,
	} {
		cfg := Default()
		d := decide(cfg, node{in: render.Inputs{Instance: spot()}}, []byte("A=1\n"+line+"\n"))
		if got := strings.Contains(errors.Join(d.errs...).Error(), "line 2 of ecs.config looks like it"); got != want {
			t.Errorf("%q: %v", line, d.errs)
		}
	}
}

func TestAnAgentThatDrainsByItselfForSpotIsTold(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for name, c := range map[string]struct {
		setting *bool
		file    string
		told    bool
	}{
		"not set":                        {nil, "", false},
		"by ecsnode's setting":           {&yes, "", true},
		"by user data":                   {nil, "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true\n", true},
		"by user data, and set to false": {&no, "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true\n", false},
		"false":                          {nil, "ECS_ENABLE_SPOT_INSTANCE_DRAINING=false\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := withCluster("web")
			cfg.SpotInstanceDraining = c.setting
			d := decide(cfg, node{path: "/etc/ecs/ecs.config", in: render.Inputs{Instance: spot()}}, []byte(c.file))
			told := slices.ContainsFunc(d.warnings, func(w string) bool { return strings.Contains(w, "ecsnode drains without it") })
			if told != c.told {
				t.Errorf("%q", d.warnings)
			}
		})
	}
}

func TestCredentialsOfARegistry(t *testing.T) {
	t.Parallel()
	const data = `{"https://registry.example/v1/":{"auth":"aHVudGVyMg=="}}`
	cfg := withCluster("web")
	cfg.Attributes = nil
	cfg.Settings = map[string]render.Text{
		"ECS_ENGINE_AUTH_TYPE": render.NewText("dockercfg"),
		"ECS_ENGINE_AUTH_DATA": render.NewText(`{{ secret "registry" }}`),
		"ECS_LEAK":             render.NewText(`{{ secret "registry" }}`),
	}
	ref := facts.ParameterRef{Kind: facts.ASecret, Name: "registry"}
	in := render.Inputs{Instance: spot(), Parameters: facts.Parameters{ref: {
		Presence: facts.Present, Values: map[string]facts.Parameter{"": {Value: data, Secret: true}},
	}}}
	d := decide(cfg, node{in: in}, nil)
	want := map[string]string{"ECS_CLUSTER": "web", "ECS_ENGINE_AUTH_TYPE": "dockercfg", "ECS_ENGINE_AUTH_DATA": data}
	if diff := cmp.Diff(want, inBlock(t, d.file)); diff != "" || !d.secret {
		t.Errorf("%s, a secret: %v", diff, d.secret)
	}
	if err := errors.Join(d.errs...); !errors.Is(err, render.ErrSecret) || strings.Contains(err.Error(), "aHVud") {
		t.Errorf("a secret in another variable: %v", err)
	}
	if shown := Redact(string(d.file)); strings.Contains(shown, "aHVud") || !strings.Contains(shown, "ECS_ENGINE_AUTH_DATA=(hidden)\n") {
		t.Errorf("shown to people: %s", shown)
	}
	// Secrets Manager is out of reach after that.
	in.Parameters[ref] = facts.ParameterAnswer{Why: "503"}
	if again := decide(cfg, node{in: in}, d.file); inBlock(t, again.file)["ECS_ENGINE_AUTH_DATA"] != data || !again.secret {
		t.Errorf("what was known is not kept: %s", Redact(string(again.file)))
	}
}
