package iam

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/duties/instance"
	"github.com/ecsnode/ecsnode/agent/duties/nodetasks"
	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// Need is one action that ecsnode must be allowed.
type Need struct {
	Action string
	When   When
	// For is the action for which AWS itself looks for this one: nobody calls it.
	For string

	on scope
}

// When is when an action is needed, in the words of the README, and whether that
// is so for a role.
type When struct {
	Text  string
	holds func(Role) bool
}

// scope is what an action is on. One statement has all actions on the same.
type scope struct {
	sid       string
	resources func(Role) []string
	condition func(Role) map[string]map[string][]string
}

var (
	tagsByAPI     = When{"tags are not enabled in instance metadata", func(r Role) bool { return r.Config.Instance.TagSource != instance.FromIMDS }}
	attributes    = When{"unless `readiness.publish` is off; `ecs_config.put_attributes` is set", putsAttributes}
	unhealthy     = When{"`boot.unhealthy_after` is set", func(r Role) bool { return r.Config.Boot.UnhealthyAfter > 0 }}
	draining      = When{"the node drains", always}
	agentSilent   = When{"the node drains and its ECS agent does not answer", always}
	terminated    = When{"the node drains because its group terminates it", func(r Role) bool { return len(r.Config.Drain.LifecycleHooks) > 0 }}
	bundles       = When{"`bundle.source` is set", func(r Role) bool { return r.Config.Bundle.Source != "" }}
	uploads       = When{"`drain.upload` is set", func(r Role) bool { return r.Config.Drain.Upload.Bucket != "" }}
	oncePer       = When{"something runs once per cluster", leases}
	scheduledTask = When{"a task runs at set times", runsTasks}
	nodeTasks     = When{"`node_tasks` has tasks", func(r Role) bool { return len(r.Config.NodeTasks.Tasks) > 0 }}
	nodeStarts    = When{"ecsnode starts one of them", startsTasks}
	nodeServices  = When{"a service runs one of them (`mode: service`)", func(r Role) bool { return anyTask(r, nodetasks.Service) }}
	asksSSM       = When{"templates call `ssm`", func(r Role) bool { return asks(r, facts.SSMParameter) }}
	asksTrees     = When{"templates call `ssmTree`", func(r Role) bool { return asks(r, facts.SSMTree) }}
	asksSecrets   = When{"templates call `secret`", func(r Role) bool { return asks(r, facts.ASecret) }}
	decrypts      = When{"what ecsnode reads is encrypted with a key of your own", reads}
	encrypts      = When{"what ecsnode puts into S3 is encrypted with a key of your own", func(r Role) bool { return uploads.holds(r) || oncePer.holds(r) }}
)

// Needs is the table. Which resources and condition keys an action knows is said by
// the Service Authorization Reference:
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
// An action that knows no resource is on anything.
func Needs() []Need {
	return []Need{
		{Action: "ec2:DescribeTags", When: tagsByAPI, on: anything},

		{Action: "ecs:PutAttributes", When: attributes, on: containerInstances},
		{Action: "ecs:UpdateContainerInstancesState", When: draining, on: containerInstances},
		{Action: "ecs:DescribeContainerInstances", When: draining, on: containerInstances},
		{Action: "ecs:ListTasks", When: draining, on: tasksOfClusters},
		{Action: "ecs:DescribeTasks", When: draining, on: tasks},
		{Action: "ecs:StopTask", When: draining, on: tasks},
		{Action: "ecs:DescribeServices", When: draining, on: services},
		{Action: "ecs:ListContainerInstances", When: agentSilent, on: clusters},

		{Action: "autoscaling:SetInstanceHealth", When: unhealthy, on: groups},
		{Action: "autoscaling:DescribeAutoScalingInstances", When: terminated, on: anything},
		{Action: "autoscaling:DescribeLifecycleHooks", When: terminated, on: anything},
		{Action: "autoscaling:RecordLifecycleActionHeartbeat", When: terminated, on: groups},
		{Action: "autoscaling:CompleteLifecycleAction", When: terminated, on: groups},

		{Action: "s3:GetObject", When: bundles, on: bundleObjects},
		{Action: "s3:ListBucket", When: bundles, on: bundleBucket, For: "s3:GetObject"}, // or what is missing looks refused
		{Action: "s3:PutObject", When: uploads, on: records},
		{Action: "s3:PutObject", When: oncePer, on: leaseObjects},
		{Action: "s3:GetObject", When: oncePer, on: leaseObjects},

		{Action: "ecs:StartTask", When: scheduledTask, on: definitions},
		{Action: "iam:PassRole", When: scheduledTask, on: roles, For: "ecs:StartTask"},
		{Action: "ecs:ListTasks", When: scheduledTask, on: tasksOfClusters},
		{Action: "ecs:DescribeTasks", When: scheduledTask, on: tasks},
		{Action: "ecs:StopTask", When: scheduledTask, on: tasks},

		{Action: "ecs:DescribeContainerInstances", When: nodeTasks, on: containerInstances},
		{Action: "ecs:ListTasks", When: nodeTasks, on: tasksOfClusters},
		{Action: "ecs:DescribeTasks", When: nodeTasks, on: tasks},
		{Action: "ecs:StopTask", When: nodeTasks, on: tasks},
		{Action: "ecs:DescribeCapacityProviders", When: nodeStarts, on: capacityProviders},
		{Action: "ecs:DescribeTaskDefinition", When: nodeStarts, on: anything},
		{Action: "ecs:StartTask", When: nodeStarts, on: definitions},
		{Action: "iam:PassRole", When: nodeStarts, on: roles, For: "ecs:StartTask"},
		{Action: "ecs:DescribeServices", When: nodeServices, on: services},

		{Action: "ssm:GetParameters", When: asksSSM, on: parameters},
		{Action: "ssm:GetParametersByPath", When: asksTrees, on: paths},
		{Action: "secretsmanager:GetSecretValue", When: asksSecrets, on: secrets},
		{Action: "kms:Decrypt", When: decrypts, on: keys, For: "ssm:GetParameters"},
		// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
		{Action: "kms:GenerateDataKey", When: encrypts, on: keys, For: "s3:PutObject"},
	}
}

var (
	anything = scope{sid: "Anything", resources: func(Role) []string { return []string{"*"} }}

	containerInstances = scope{"ContainerInstances", ofCluster("container-instance/%s/*"), inClusters}
	tasks              = scope{"Tasks", ofCluster("task/%s/*"), inClusters}
	services           = scope{"Services", ofCluster("service/%s/*"), inClusters}
	clusters           = scope{"Clusters", ofCluster("cluster/%s"), nil}
	// A list that names no container instance is on none.
	// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security_iam_id-based-policy-examples.html#IAM_task_policies
	tasksOfClusters   = scope{"TasksOfClusters", anything.resources, inClusters}
	capacityProviders = scope{"CapacityProviders", func(r Role) []string { return []string{r.arn("ecs", "capacity-provider/*")} }, nil}
	definitions       = scope{"TaskDefinitions", startedDefinitions, inClusters}
	roles             = scope{"RolesOfTasks", func(r Role) []string { return r.TaskRoles }, toTasks}

	groups = scope{"AutoScalingGroups", func(r Role) []string {
		return each(orAny(r.Groups...), func(name string) string { return r.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"+name) })
	}, nil}

	bundleObjects = scope{"Bundles", objectsOfBundles, nil}
	bundleBucket  = scope{"BucketOfBundles", func(r Role) []string { return []string{r.object(source(r).Bucket, "")} }, nil}
	records       = scope{"RecordsOfDrains", func(r Role) []string {
		u := r.Config.Drain.Upload
		return []string{r.object(u.Bucket, "/"+u.Prefix+"*")}
	}, nil}
	leaseObjects = scope{"Leases", func(r Role) []string {
		l := r.Config.Schedules.Leases
		return each(r.clusters(), func(name string) string { return r.object(l.Bucket, "/"+l.Prefix+name+"/*") })
	}, nil}

	parameters = scope{"Parameters", func(r Role) []string { return named(r, facts.SSMParameter, "ssm", "parameter/*", parameter) }, nil}
	paths      = scope{"PathsOfParameters", func(r Role) []string { return named(r, facts.SSMTree, "ssm", "parameter/*", path) }, nil}
	secrets    = scope{"Secrets", func(r Role) []string { return named(r, facts.ASecret, "secretsmanager", "secret:*", secret) }, nil}
	keys       = scope{"Keys", func(r Role) []string { return r.Keys }, throughServices}
)

func always(Role) bool { return true }

func putsAttributes(r Role) bool {
	return r.Config.Readiness.Publish || r.Config.ECSConfig.PutAttributes
}

func leases(r Role) bool {
	for _, s := range r.Config.Schedules.Items {
		if s.OncePer == schedules.PerCluster {
			return true
		}
	}
	return false
}

func runsTasks(r Role) bool {
	for _, s := range r.Config.Schedules.Items {
		if s.Task.Definition != "" {
			return true
		}
	}
	return false
}

func anyTask(r Role, mode nodetasks.Mode) bool {
	for _, t := range r.Config.NodeTasks.Tasks {
		if t.Mode == mode || t.Mode == "" && mode == nodetasks.StartTask {
			return true
		}
	}
	return false
}

func startsTasks(r Role) bool { return anyTask(r, nodetasks.StartTask) }

func asks(r Role, function string) bool {
	return slices.Contains(r.Asks.Unsaid, function) ||
		slices.ContainsFunc(r.Asks.Named, func(ref facts.ParameterRef) bool { return ref.Kind == function })
}

func reads(r Role) bool {
	return bundles.holds(r) || oncePer.holds(r) || asksSSM.holds(r) || asksTrees.holds(r) || asksSecrets.holds(r)
}

func orAny(names ...string) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "" })
	if len(names) == 0 {
		return []string{"*"}
	}
	return names
}

func each(names []string, f func(string) string) []string {
	made := make([]string, len(names))
	for i, name := range names {
		made[i] = f(name)
	}
	return made
}

func (r Role) partition() string {
	if r.Partition == "" {
		return "aws"
	}
	return r.Partition
}

func (r Role) arn(service, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", r.partition(), service, orAny(r.Region)[0], orAny(r.Account)[0], resource)
}

// object is a bucket, or objects in it: their ARNs have neither region nor account.
func (r Role) object(bucket, rest string) string {
	return fmt.Sprintf("arn:%s:s3:::%s%s", r.partition(), bucket, rest)
}

// clusters are the names that are known: a cluster that is a template is any.
func (r Role) clusters() []string {
	if configured := r.Config.Cluster.String(); len(r.Clusters) == 0 && !strings.Contains(configured, "{{") {
		return orAny(configured)
	}
	return orAny(r.Clusters...)
}

func ofCluster(format string) func(Role) []string {
	return func(r Role) []string {
		return each(r.clusters(), func(name string) string { return r.arn("ecs", fmt.Sprintf(format, name)) })
	}
}

func inClusters(r Role) map[string]map[string][]string {
	return map[string]map[string][]string{"ArnEquals": {"ecs:cluster": slices.Sorted(slices.Values(ofCluster("cluster/%s")(r)))}}
}

// toTasks: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
func toTasks(Role) map[string]map[string][]string {
	return map[string]map[string][]string{"StringEquals": {"iam:PassedToService": {"ecs-tasks.amazonaws.com"}}}
}

// throughServices: https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
func throughServices(r Role) map[string]map[string][]string {
	var via []string
	end := ""
	if r.partition() != "aws" {
		end = "*" // how these names end elsewhere is not said there
	}
	add := func(service string, is bool) {
		if is {
			via = append(via, service+"."+orAny(r.Region)[0]+".amazonaws.com"+end)
		}
	}
	add("s3", bundles.holds(r) || oncePer.holds(r) || uploads.holds(r))
	add("secretsmanager", asksSecrets.holds(r))
	add("ssm", asksSSM.holds(r) || asksTrees.holds(r))
	return map[string]map[string][]string{"StringLike": {"kms:ViaService": via}}
}

// startedDefinitions are whole families: a revision that does not stay up is taken
// back for the one before, and the next one is not to take a new policy.
func startedDefinitions(r Role) (arns []string) {
	add := func(definition string) {
		family, _, _ := strings.Cut(definition, ":")
		arns = append(arns, r.arn("ecs", "task-definition/"+family+":*"))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Config.NodeTasks.Tasks)) {
		if t := r.Config.NodeTasks.Tasks[name]; t.Mode != nodetasks.Service {
			add(t.Family())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Config.Schedules.Items)) {
		if t := r.Config.Schedules.Items[name].Task; t.Definition != "" {
			add(t.Definition)
		}
	}
	return arns
}

func source(r Role) bundle.Source {
	s, _ := bundle.ParseSource(r.Config.Bundle.Source) // as it has been checked
	return s
}

func objectsOfBundles(r Role) []string {
	s := source(r)
	keys := []string{"bundles/*"}
	for _, name := range orAny(r.Config.Bundle.Channels...) {
		keys = append(keys, bundle.ChannelKey(name))
	}
	return each(keys, func(key string) string { return r.object(s.Bucket, "/"+s.Prefix+key) })
}

// named are the ARNs of what templates ask for; all where a name is made later.
func named(r Role, function, service, all string, of func(Role, string) []string) (arns []string) {
	if slices.Contains(r.Asks.Unsaid, function) {
		return []string{r.arn(service, all)}
	}
	for _, ref := range r.Asks.Named {
		switch {
		case ref.Kind != function:
		case strings.HasPrefix(ref.Name, "arn:"):
			parts := strings.Split(ref.Name, ":")
			if service == "ssm" && len(parts) > 6 {
				parts = parts[:6] // without the version
			}
			arns = append(arns, strings.Join(parts, ":"))
		default:
			arns = append(arns, of(r, ref.Name)...)
		}
	}
	return arns
}

// parameter: access is to all versions of it.
func parameter(r Role, name string) []string {
	name, _, _ = strings.Cut(name, ":")
	return []string{r.arn("ssm", "parameter/"+strings.TrimPrefix(name, "/"))}
}

// path: it is the path itself that IAM looks for, and not what is below it: a role
// with parameter/app/* is refused "ssm:GetParametersByPath on resource:
// arn:...:parameter/app". What it is for a path that ends in a slash is not said.
func path(r Role, name string) []string {
	name = strings.Trim(name, "/")
	return []string{r.arn("ssm", "parameter/"+name), r.arn("ssm", strings.TrimSuffix("parameter/"+name, "/")+"/")}
}

// secret: the ARN of a secret ends in a hyphen and six characters.
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_iam-policies.html
func secret(r Role, name string) []string {
	return []string{r.arn("secretsmanager", "secret:"+name+"-??????")}
}
