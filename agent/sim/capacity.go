package sim

import (
	"fmt"
	"strings"
)

// CapacityProvider is an Auto Scaling group whose instances ECS counts as
// capacity of its clusters. What it would do with them does not happen here.
type CapacityProvider struct {
	Name                  string `yaml:"name"`
	ManagedScaling        bool   `yaml:"managed_scaling"`
	TerminationProtection bool   `yaml:"termination_protection"`
	ManagedDraining       bool   `yaml:"managed_draining"`
}

// SetCapacityProvider makes or changes a capacity provider, and makes the node's
// container instances belong to it. Without a name they belong to none.
func (n *Node) SetCapacityProvider(p CapacityProvider) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.provider = p.Name
	if p.Name == "" {
		return
	}
	if n.world.ecs.providers == nil {
		n.world.ecs.providers = map[string]CapacityProvider{}
	}
	n.world.ecs.providers[p.Name] = p
}

type describedProvider struct {
	CapacityProviderARN      string            `json:"capacityProviderArn"`
	Name                     string            `json:"name"`
	Status                   string            `json:"status"`
	AutoScalingGroupProvider autoScalingGroups `json:"autoScalingGroupProvider"`
	Tags                     []struct{}        `json:"tags"`
}

type autoScalingGroups struct {
	AutoScalingGroupARN          string         `json:"autoScalingGroupArn"`
	ManagedScaling               managedScaling `json:"managedScaling"`
	ManagedTerminationProtection string         `json:"managedTerminationProtection"`
	ManagedDraining              string         `json:"managedDraining"`
}

type managedScaling struct {
	Status string `json:"status"`
}

func enabled(on bool) string {
	if on {
		return "ENABLED"
	}
	return "DISABLED"
}

func (r *apiRequest) providerARN(name string) string {
	account := strings.Split(r.caller.principal, ":")[4]
	return fmt.Sprintf("arn:aws:ecs:%s:%s:capacity-provider/%s", r.caller.region, account, name)
}

func anyCapacityProvider(r *apiRequest) string { return r.providerARN("*") }

// describeCapacityProviders knows none of AWS's own, FARGATE and FARGATE_SPOT.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeCapacityProviders.html
func describeCapacityProviders(r *apiRequest) (any, error) {
	var in struct {
		CapacityProviders []string `json:"capacityProviders"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	switch n := len(in.CapacityProviders); {
	case n > maxDescribed:
		return nil, invalidParameter("Capacity providers must have at most %d entries, not %d.", maxDescribed, n)
	case n == 0:
		return nil, invalidParameter("The simulator wants capacity providers by name.")
	}
	out := struct {
		CapacityProviders []describedProvider `json:"capacityProviders"`
		Failures          []ecsFailure        `json:"failures"`
	}{[]describedProvider{}, []ecsFailure{}}
	for _, name := range in.CapacityProviders {
		name = name[strings.LastIndex(name, "/")+1:]
		p, known := r.world.ecs.providers[name]
		if !known {
			out.Failures = append(out.Failures, ecsFailure{ARN: r.providerARN(name), Reason: "MISSING"})
			continue
		}
		i := r.world.instance
		out.CapacityProviders = append(out.CapacityProviders, describedProvider{
			CapacityProviderARN: r.providerARN(name), Name: name, Status: "ACTIVE", Tags: []struct{}{},
			AutoScalingGroupProvider: autoScalingGroups{
				AutoScalingGroupARN: fmt.Sprintf("arn:aws:autoscaling:%s:%s:autoScalingGroup:0:autoScalingGroupName/%s", i.Region, i.Account, name),
				ManagedScaling:      managedScaling{enabled(p.ManagedScaling)}, ManagedTerminationProtection: enabled(p.TerminationProtection),
				ManagedDraining: enabled(p.ManagedDraining),
			},
		})
	}
	return out, nil
}
