package iam_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/iam"
)

// role is that of nodes with these settings, in a place that is known.
func role(t *testing.T, yaml, more string) iam.Role {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{config.Path: yaml, config.Dir + "/conf.d/50.yaml": more} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	disk, err := fsx.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	l := config.Load(disk, config.Path)
	if len(l.Problems) > 0 {
		t.Fatal(l.Problems)
	}
	asks, err := l.Asks(disk)
	if err != nil {
		t.Fatal(err)
	}
	return iam.Role{Config: l.Config, Asks: asks, Region: "eu-west-1", Account: "123456789012", Clusters: []string{"web"}}
}

// grants are "ACTION on RESOURCE", each once.
func grants(p iam.Policy) map[string]iam.Statement {
	all := map[string]iam.Statement{}
	for _, s := range p.Statement {
		for _, action := range s.Action {
			for _, resource := range s.Resource {
				all[action+" on "+resource] = s
			}
		}
	}
	return all
}

const (
	alone  = "{readiness: {publish: false}, instance: {tag_source: imds}, drain: {lifecycle_hooks: []}}"
	ecsARN = "arn:aws:ecs:eu-west-1:123456789012:"
)

func TestWhatASettingAddsIsAllowedAndNothingElse(t *testing.T) {
	t.Parallel()
	without := slices.Sorted(maps.Keys(grants(iam.Least(role(t, alone, "")))))
	want := []string{
		"ecs:DescribeContainerInstances on " + ecsARN + "container-instance/web/*", "ecs:DescribeServices on " + ecsARN + "service/web/*",
		"ecs:DescribeTasks on " + ecsARN + "task/web/*", "ecs:ListContainerInstances on " + ecsARN + "cluster/web", "ecs:ListTasks on *",
		"ecs:StopTask on " + ecsARN + "task/web/*", "ecs:UpdateContainerInstancesState on " + ecsARN + "container-instance/web/*",
	}
	if !slices.Equal(without, want) {
		t.Errorf("a node without anything is allowed %q", without)
	}
	const starts = "ecs:StartTask on " + ecsARN + "task-definition/"
	for name, tc := range map[string]struct {
		yaml, want string
		set        func(*iam.Role)
	}{
		"tags by the API":        {"instance: {tag_source: auto}", "ec2:DescribeTags on *", nil},
		"readiness":              {"readiness: {publish: true}", "ecs:PutAttributes on " + ecsARN + "container-instance/web/*", nil},
		"attributes that follow": {"ecs_config: {put_attributes: true}", "ecs:PutAttributes on " + ecsARN + "container-instance/web/*", nil},
		"a node that gives up": {
			"boot: {unhealthy_after: 30m}",
			"autoscaling:SetInstanceHealth on arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:*:autoScalingGroupName/workers",
			func(r *iam.Role) { r.Groups = []string{"workers"} },
		},
		"a lifecycle hook": {
			"drain: {lifecycle_hooks: [x]}",
			"autoscaling:CompleteLifecycleAction on arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:*:autoScalingGroupName/workers, " +
				"autoscaling:DescribeAutoScalingInstances on *, autoscaling:DescribeLifecycleHooks on *, " +
				"autoscaling:RecordLifecycleActionHeartbeat on arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:*:autoScalingGroupName/workers",
			func(r *iam.Role) { r.Groups = []string{"workers"} },
		},
		"bundles": {
			"bundle: {source: 's3://acme/nodes', keys: [RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3], channels: [stable]}",
			"s3:GetObject on arn:aws:s3:::acme/nodes/bundles/*, s3:GetObject on arn:aws:s3:::acme/nodes/channels/stable, s3:ListBucket on arn:aws:s3:::acme", nil,
		},
		"records of drains": {"drain: {upload: {bucket: acme}}", "s3:PutObject on arn:aws:s3:::acme/drains/*", nil},
		"a lease": {
			"schedules: {leases: {bucket: acme}, items: {a: {cron: '@daily', command: [/bin/true], once_per: cluster}}}",
			"s3:GetObject on arn:aws:s3:::acme/leases/web/*, s3:PutObject on arn:aws:s3:::acme/leases/web/*", nil,
		},
		"a lease that nobody asks for": {"schedules: {leases: {bucket: acme}, items: {a: {cron: '@daily', command: [/bin/true]}}}", "", nil},
		"a task at set times": {
			"schedules: {items: {a: {cron: '@daily', task: {task_definition: 'bill:7'}}}}",
			starts + "bill:*, iam:PassRole on arn:aws:iam::123456789012:role/bill",
			func(r *iam.Role) { r.TaskRoles = []string{"arn:aws:iam::123456789012:role/bill"} },
		},
		"a node task": {
			"node_tasks: {tasks: {logs: {task_definition: 'logspout@newest'}}}",
			"ecs:DescribeCapacityProviders on " + ecsARN + "capacity-provider/*, ecs:DescribeTaskDefinition on *, " + starts + "logspout:*", nil,
		},
		"a node task that a service runs": {"node_tasks: {tasks: {logs: {task_definition: 'logspout:1', mode: service}}}", "", nil},
		"a role that nothing takes":       {"", "", func(r *iam.Role) { r.TaskRoles = []string{"arn:aws:iam::123456789012:role/bill"} }},
		"a parameter": {
			"ecs_config: {attributes: {a: '{{ ssm \"/app/a\" }}{{ \"b:3\" | ssm }}'}}",
			"ssm:GetParameters on arn:aws:ssm:eu-west-1:123456789012:parameter/app/a, ssm:GetParameters on arn:aws:ssm:eu-west-1:123456789012:parameter/b", nil,
		},
		"a parameter of another account": {
			"ecs_config: {attributes: {a: '{{ ssm \"arn:aws:ssm:eu-west-1:210987654321:parameter/app/a:3\" }}'}}",
			"ssm:GetParameters on arn:aws:ssm:eu-west-1:210987654321:parameter/app/a", nil,
		},
		"a parameter whose name is made": {
			"ecs_config: {attributes: {a: '{{ ssm (printf \"/%s/a\" (tag \"env\")) }}{{ ssm \"b\" }}'}}",
			"ssm:GetParameters on arn:aws:ssm:eu-west-1:123456789012:parameter/*", nil,
		},
		"a path": {
			"daemon_json: {settings: {labels: '[\"{{ range ssmTree `/app/` }}{{ . }}{{ end }}\"]'}}",
			"ssm:GetParametersByPath on arn:aws:ssm:eu-west-1:123456789012:parameter/app, ssm:GetParametersByPath on arn:aws:ssm:eu-west-1:123456789012:parameter/app/", nil,
		},
		"a secret, with a key of your own": {
			"files: {items: {/etc/x: {mode: '0600', content: '{{ secret \"db\" \"password\" }}'}}}",
			"kms:Decrypt on arn:aws:kms:eu-west-1:123456789012:key/1, secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-??????",
			func(r *iam.Role) { r.Keys = []string{"arn:aws:kms:eu-west-1:123456789012:key/1"} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := role(t, alone, tc.yaml)
			if tc.set != nil {
				tc.set(&r)
			}
			got := grants(iam.Least(r))
			for _, grant := range without {
				delete(got, grant)
			}
			if all := strings.Join(slices.Sorted(maps.Keys(got)), ", "); all != tc.want {
				t.Errorf("allowed is beside that\n%s\nwant\n%s", all, tc.want)
			}
		})
	}
}

func TestNobodyMayPutAChannel(t *testing.T) {
	t.Parallel()
	r := role(t, everything(t), "")
	for grant := range grants(iam.Least(r)) {
		action, resource, _ := strings.Cut(grant, " on ")
		writes := !strings.HasPrefix(action, "s3:Get") && !strings.HasPrefix(action, "s3:List") && strings.HasPrefix(action, "s3:")
		if writes && (!strings.HasSuffix(resource, "/*") || strings.Contains(resource, "nodes") || strings.HasSuffix(resource, ":::acme/*")) {
			t.Errorf("%s is allowed", grant)
		}
	}
}

// everything has every setting that asks AWS for something.
func everything(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/everything/etc/ecsnode/ecsnode.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func everythingOn(t *testing.T) iam.Role {
	t.Helper()
	r := role(t, everything(t), "")
	r.TaskRoles = []string{"arn:aws:iam::123456789012:role/bill"}
	r.Keys = []string{"arn:aws:kms:eu-west-1:123456789012:key/1"}
	return r
}

// TestThePolicyIsOneThatIAMTakes: the grammar is that of
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
// and the size of
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
func TestThePolicyIsOneThatIAMTakes(t *testing.T) {
	t.Parallel()
	p := iam.Least(everythingOn(t))
	text, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var read iam.Policy
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if again, _ := read.JSON(); string(again) != string(text) {
		t.Error("what is read is not what was printed")
	}
	if size := len(strings.Join(strings.Fields(string(text)), "")); size > 6144 {
		t.Errorf("%d characters, of which a managed policy takes 6144", size)
	}
	seen := map[string]bool{}
	for _, s := range p.Statement {
		if seen[s.Sid] || strings.Trim(s.Sid, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" || s.Effect != "Allow" {
			t.Errorf("statement %+v", s)
		}
		seen[s.Sid] = true
		if !slices.IsSorted(s.Action) || !slices.IsSorted(s.Resource) || len(s.Action) == 0 {
			t.Errorf("not in order, or empty: %+v", s)
		}
		for _, a := range s.Action {
			if strings.Contains(a, "*") {
				t.Errorf("%s is more than one action", a)
			}
		}
	}
	for _, action := range []string{"ecs:StartTask", "ecs:StopTask", "ecs:UpdateContainerInstancesState", "ecs:ListTasks", "iam:PassRole", "kms:Decrypt"} {
		limited := false
		for grant, s := range grants(p) {
			limited = limited || strings.HasPrefix(grant, action+" on ") && len(s.Condition) > 0
		}
		if !limited {
			t.Errorf("%s has no condition", action)
		}
	}
	var actions, all []string
	for grant := range grants(p) {
		action, _, _ := strings.Cut(grant, " on ")
		actions = append(actions, action)
	}
	for _, need := range iam.Needs() {
		all = append(all, need.Action)
	}
	slices.Sort(actions)
	slices.Sort(all)
	if got, want := slices.Compact(actions), slices.Compact(all); !slices.Equal(got, want) {
		t.Errorf("with everything on, %q are allowed, of %q", got, want)
	}
}

func TestTheREADMESaysTheSame(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	actions := map[string][]string{}
	for _, need := range iam.Needs() {
		if actions[need.When.Text] == nil {
			order = append(order, need.When.Text)
		}
		actions[need.When.Text] = append(actions[need.When.Text], "`"+need.Action+"`")
	}
	table := "| action | when |\n|---|---|\n"
	for _, when := range order {
		table += fmt.Sprintf("| %s | %s |\n", strings.Join(actions[when], ", "), when)
	}
	if !strings.Contains(string(readme), "\n\n"+table+"\n") {
		t.Errorf("README.md must have this table:\n\n%s", table)
	}
}

func TestArgumentsThatAreWrong(t *testing.T) {
	t.Parallel()
	for text, r := range map[string]iam.Role{
		`"a b" is neither a name nor an ARN`:                     {Region: "a b"},
		`"role" is no ARN`:                                       {TaskRoles: []string{"role"}},
		`"alias/x" is no ARN`:                                    {Keys: []string{"alias/x"}},
		`"arn:aws:ecs:::cluster/web" is an ARN: expected a name`: {Clusters: []string{"arn:aws:ecs:::cluster/web"}},
	} {
		if err := r.Check(); err == nil || err.Error() != text {
			t.Errorf("%v, want %s", err, text)
		}
	}
	fine := iam.Role{Region: "${AWS::Region}", Account: "123456789012", TaskRoles: []string{"${Role.Arn}", "arn:aws:iam::*:role/a"}, Clusters: []string{"web-1"}}
	if err := fine.Check(); err != nil {
		t.Error(err)
	}
}
