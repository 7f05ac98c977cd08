package sim

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// ecsAPI is the part of ECS that a node's agent uses. Inputs, outputs and
// errors: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/
func ecsAPI() *api {
	modify, read := drawsFrom(BucketECSResourceModify), drawsFrom(BucketECSResourceRead)
	return &api{
		name:     "ecs",
		protocol: jsonProtocol{target: "AmazonEC2ContainerServiceV20141113"},
		operations: map[string]operation{
			"DescribeContainerInstances":    {bucket: read, resource: anyContainerInstance, handle: describeContainerInstances},
			"ListAttributes":                {bucket: read, resource: clusterARN, handle: listAttributes},
			"ListContainerInstances":        {bucket: read, resource: clusterARN, handle: listContainerInstances},
			"PutAttributes":                 {bucket: modify, resource: anyContainerInstance, handle: putAttributes},
			"UpdateContainerInstancesState": {bucket: modify, resource: anyContainerInstance, handle: updateContainerInstancesState},

			"DescribeTasks": {bucket: read, resource: anyTask, handle: describeTasks},
			"ListTasks":     {bucket: read, resource: anyContainerInstance, handle: listTasks},
			"StartTask":     {bucket: modify, resource: askedDefinition, handle: startTask},
			"StopTask":      {bucket: modify, resource: anyTask, handle: stopTask},
			// In AWS these draw from other buckets.
			"DescribeCapacityProviders": {bucket: read, resource: anyCapacityProvider, handle: describeCapacityProviders},
			"DescribeServices":          {bucket: read, resource: anyService, handle: describeServices},
			"DescribeTaskDefinition":    {bucket: read, resource: anything, handle: describeTaskDefinition},
			"DeregisterTaskDefinition":  {bucket: modify, resource: anything, handle: deregisterTaskDefinition},
		},
	}
}

// ecsAttribute is an attribute on the wire.
type ecsAttribute struct {
	Name       string `json:"name"`
	Value      string `json:"value,omitempty"`
	TargetType string `json:"targetType,omitempty"`
	TargetID   string `json:"targetId,omitempty"`
}

// ecsFailure is an entry of failures[].
type ecsFailure struct {
	ARN    string `json:"arn"`
	Reason string `json:"reason"`
}

func clientError(code, message string) *apiError {
	return &apiError{http.StatusBadRequest, code, message}
}

func invalidParameter(format string, args ...any) *apiError {
	return clientError("InvalidParameterException", fmt.Sprintf(format, args...))
}

// findCluster finds a cluster by name or ARN; "" is the cluster "default".
func (r *apiRequest) findCluster(name string) (*cluster, error) {
	name = cmp.Or(name[strings.LastIndex(name, "/")+1:], "default")
	c := r.world.clusters[name]
	if c == nil {
		return nil, clientError("ClusterNotFoundException", "Cluster not found.")
	}
	return c, nil
}

// find finds a container instance by id or ARN.
func (c *cluster) find(id string) *containerInstance {
	i := slices.IndexFunc(c.instances, func(ci *containerInstance) bool { return id == ci.id || id == ci.arn() })
	if i < 0 {
		return nil
	}
	return c.instances[i]
}

// clusterARN and anyContainerInstance are the resources refusals name. Shapes:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
func clusterARN(r *apiRequest) string { return r.ecsARN("cluster", "") }

func anyContainerInstance(r *apiRequest) string { return r.ecsARN("container-instance", "/*") }

func anyTask(r *apiRequest) string { return r.ecsARN("task", "/*") }

// anything is the resource of actions that know no other.
func anything(*apiRequest) string { return "*" }

func anyService(r *apiRequest) string { return r.ecsARN("service", "/*") }

// askedDefinition is the task definition that a call names, by its revision: of a
// family, that is the newest.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StartTask.html
func askedDefinition(r *apiRequest) string {
	var in struct {
		TaskDefinition string `json:"taskDefinition"`
	}
	_ = r.decode(&in) // refused later
	name := in.TaskDefinition[strings.LastIndex(in.TaskDefinition, "/")+1:]
	if d, known := r.world.findDefinition(in.TaskDefinition); known {
		name = d.name()
	}
	account := strings.Split(r.caller.principal, ":")[4]
	return fmt.Sprintf("arn:aws:ecs:%s:%s:task-definition/%s", r.caller.region, account, name)
}

// withoutCluster are the actions here that do not know the condition key
// ecs:cluster. The page is that above.
var withoutCluster = []string{"DescribeCapacityProviders", "DescribeTaskDefinition", "DeregisterTaskDefinition", "ListContainerInstances"}

func (r *apiRequest) ecsARN(kind, rest string) string {
	var in struct {
		Cluster string `json:"cluster"`
	}
	_ = r.decode(&in)
	name := cmp.Or(in.Cluster[strings.LastIndex(in.Cluster, "/")+1:], "default")
	account := strings.Split(r.caller.principal, ":")[4]
	return fmt.Sprintf("arn:aws:ecs:%s:%s:%s/%s%s", r.caller.region, account, kind, name, rest)
}

type describedInstance struct {
	ContainerInstanceARN string         `json:"containerInstanceArn"`
	EC2InstanceID        string         `json:"ec2InstanceId"`
	Status               string         `json:"status"`
	AgentConnected       bool           `json:"agentConnected"`
	Version              int64          `json:"version"`
	VersionInfo          versionInfo    `json:"versionInfo"`
	Attributes           []ecsAttribute `json:"attributes"`
	RunningTasksCount    int            `json:"runningTasksCount"`
	PendingTasksCount    int            `json:"pendingTasksCount"`
	RegisteredAt         float64        `json:"registeredAt"` // seconds since 1970
	CapacityProviderName string         `json:"capacityProviderName,omitempty"`
	Attachments          []struct{}     `json:"attachments"`
	Tags                 []struct{}     `json:"tags"`
}

type versionInfo struct {
	AgentHash     string `json:"agentHash"`
	AgentVersion  string `json:"agentVersion"`
	DockerVersion string `json:"dockerVersion"`
}

// maxDescribed is how many instances one call may ask for.
const maxDescribed = 100

func describeContainerInstances(r *apiRequest) (any, error) {
	var in struct {
		Cluster            string   `json:"cluster"`
		ContainerInstances []string `json:"containerInstances"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := r.findCluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	if n := len(in.ContainerInstances); n == 0 || n > maxDescribed {
		return nil, invalidParameter("Container instances must have between 1 and %d entries, not %d.", maxDescribed, n)
	}
	out := struct {
		ContainerInstances []describedInstance `json:"containerInstances"`
		Failures           []ecsFailure        `json:"failures"`
	}{[]describedInstance{}, []ecsFailure{}}
	for _, id := range in.ContainerInstances {
		if ci := c.find(id); ci != nil {
			out.ContainerInstances = append(out.ContainerInstances, ci.described())
			continue
		}
		out.Failures = append(out.Failures, r.failure("container-instance", id, "MISSING"))
	}
	return out, nil
}

// failure: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
func (r *apiRequest) failure(kind, id, reason string) ecsFailure {
	if !strings.HasPrefix(id, "arn:") {
		id = r.ecsARN(kind, "/"+id)
	}
	return ecsFailure{ARN: id, Reason: reason}
}

// updateContainerInstancesState changes what is ACTIVE or DRAINING.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateContainerInstancesState.html
func updateContainerInstancesState(r *apiRequest) (any, error) {
	var in struct {
		Cluster            string   `json:"cluster"`
		ContainerInstances []string `json:"containerInstances"`
		Status             string   `json:"status"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := r.findCluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	const most = 10
	switch n := len(in.ContainerInstances); {
	case n == 0 || n > most:
		return nil, invalidParameter("Container instances must have between 1 and %d entries, not %d.", most, n)
	case in.Status != facts.StatusActive && in.Status != facts.StatusDraining:
		return nil, invalidParameter("Container instance status %q is not ACTIVE or DRAINING.", in.Status)
	}
	out := struct {
		ContainerInstances []describedInstance `json:"containerInstances"`
		Failures           []ecsFailure        `json:"failures"`
	}{[]describedInstance{}, []ecsFailure{}}
	for _, id := range in.ContainerInstances {
		switch ci := c.find(id); {
		case ci == nil:
			out.Failures = append(out.Failures, r.failure("container-instance", id, "MISSING"))
		case ci.status == "INACTIVE":
			out.Failures = append(out.Failures, r.failure("container-instance", id, "INACTIVE"))
		case ci.status != facts.StatusActive && ci.status != facts.StatusDraining:
			// "An error will be received"; which one is the simulator's guess.
			return nil, invalidParameter("Container instance %s is %s.", ci.id, ci.status)
		default:
			r.world.setStatus(ci, in.Status)
			out.ContainerInstances = append(out.ContainerInstances, ci.described())
		}
	}
	return out, nil
}

func (c *containerInstance) described() describedInstance {
	d := describedInstance{
		ContainerInstanceARN: c.arn(), EC2InstanceID: c.node.instance.ID, Status: c.status,
		AgentConnected: c.node.agent.running, Version: c.version,
		VersionInfo: versionInfo{agentHash, agentVersion, "DockerVersion: " + dockerVersion},
		Attributes:  c.sortedAttributes(), Attachments: []struct{}{}, Tags: []struct{}{},
		CapacityProviderName: c.node.provider,
		RegisteredAt:         float64(c.registeredAt.UnixMilli()) / float64(time.Second/time.Millisecond),
	}
	count := func(status string) {
		switch status {
		case taskRunning:
			d.RunningTasksCount++
		case taskPending, taskProvisioning, "ACTIVATING":
			d.PendingTasksCount++
		}
	}
	for _, t := range c.node.agent.tasks {
		count(t.KnownStatus)
	}
	now := c.node.world.settle()
	for _, t := range c.node.world.ecs.tasks {
		if t.on == c {
			count(t.status(now))
		}
	}
	return d
}

func (c *containerInstance) sortedAttributes() []ecsAttribute {
	attributes := []ecsAttribute{}
	for name, value := range c.attributes {
		attributes = append(attributes, ecsAttribute{Name: name, Value: value})
	}
	slices.SortFunc(attributes, func(a, b ecsAttribute) int { return cmp.Compare(a.Name, b.Name) })
	return attributes
}

func listContainerInstances(r *apiRequest) (any, error) {
	var in struct {
		Cluster string `json:"cluster"`
		Filter  string `json:"filter"`
		Status  string `json:"status"`
		pageRequest
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := r.findCluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	matches, err := parseClusterQuery(in.Filter)
	if err != nil {
		return nil, err
	}
	arns := []string{}
	for _, ci := range c.instances {
		// Without a status: all but INACTIVE (API_ListContainerInstances).
		if matches(ci) && (in.Status == ci.status || in.Status == "" && ci.status != "INACTIVE") {
			arns = append(arns, ci.arn())
		}
	}
	page, next, err := paginate(arns, in.pageRequest)
	if err != nil {
		return nil, err
	}
	return struct {
		ContainerInstanceARNs []string `json:"containerInstanceArns"`
		NextToken             string   `json:"nextToken,omitempty"`
	}{page, next}, nil
}
