package sim

import (
	"fmt"
	"strings"
)

type describedService struct {
	ServiceARN              string                  `json:"serviceArn"`
	ServiceName             string                  `json:"serviceName"`
	ClusterARN              string                  `json:"clusterArn"`
	Status                  string                  `json:"status"`
	SchedulingStrategy      string                  `json:"schedulingStrategy"`
	LaunchType              string                  `json:"launchType"`
	TaskDefinition          string                  `json:"taskDefinition"`
	DesiredCount            int                     `json:"desiredCount"`
	RunningCount            int                     `json:"runningCount"`
	PendingCount            int                     `json:"pendingCount"`
	DeploymentConfiguration deploymentConfiguration `json:"deploymentConfiguration"`
	LoadBalancers           []loadBalancer          `json:"loadBalancers"`
	CreatedAt               wireTime                `json:"createdAt"`
}

type deploymentConfiguration struct {
	MaximumPercent        int `json:"maximumPercent"`
	MinimumHealthyPercent int `json:"minimumHealthyPercent"`
}

type loadBalancer struct {
	TargetGroupARN string `json:"targetGroupArn"`
	ContainerName  string `json:"containerName"`
	ContainerPort  int    `json:"containerPort"`
}

// describeServices: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
func describeServices(r *apiRequest) (any, error) {
	var in struct {
		Cluster  string   `json:"cluster"`
		Services []string `json:"services"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := r.findCluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	const most = 10
	if n := len(in.Services); n == 0 || n > most {
		return nil, invalidParameter("Services must have between 1 and %d entries, not %d.", most, n)
	}
	out := struct {
		Services []describedService `json:"services"`
		Failures []ecsFailure       `json:"failures"`
	}{[]describedService{}, []ecsFailure{}}
	for _, name := range in.Services {
		if s := c.findService(name[strings.LastIndex(name, "/")+1:]); s != nil {
			out.Services = append(out.Services, r.describeService(c, s))
		} else {
			out.Failures = append(out.Failures, r.failure("service", name, "MISSING"))
		}
	}
	return out, nil
}

func (r *apiRequest) describeService(c *cluster, s *service) describedService {
	i := r.world.instance
	arn := func(kind, rest string) string {
		return fmt.Sprintf("arn:aws:ecs:%s:%s:%s/%s", i.Region, i.Account, kind, rest)
	}
	out := describedService{
		ServiceARN: arn("service", c.name+"/"+s.Name), ServiceName: s.Name, ClusterARN: arn("cluster", c.name),
		Status: "ACTIVE", SchedulingStrategy: "REPLICA", LaunchType: "EC2",
		TaskDefinition:          i.definitionARN(s.Task),
		DeploymentConfiguration: deploymentConfiguration{*s.MaximumPercent, *s.MinimumHealthyPercent},
		LoadBalancers:           []loadBalancer{},
		CreatedAt:               wireTimeOf(s.createdAt),
	}
	out.DesiredCount, out.RunningCount, out.PendingCount = r.world.counts(c, s, r.world.settle())
	if s.Daemon {
		out.SchedulingStrategy = "DAEMON"
	}
	if s.DeregistrationDelay > 0 {
		out.LoadBalancers = append(out.LoadBalancers, loadBalancer{
			fmt.Sprintf("arn:aws:elasticloadbalancing:%s:%s:targetgroup/%s/0123456789abcdef", i.Region, i.Account, s.Name), s.Task.Family, 80,
		})
	}
	return out
}
