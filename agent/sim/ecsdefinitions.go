package sim

import "time"

// describedDefinition is a task definition on the wire.
type describedDefinition struct {
	TaskDefinitionARN    string                `json:"taskDefinitionArn"`
	Family               string                `json:"family"`
	Revision             int                   `json:"revision"`
	Status               string                `json:"status"`
	ContainerDefinitions []containerDefinition `json:"containerDefinitions"`
	Volumes              []struct{}            `json:"volumes"`
	Compatibilities      []string              `json:"compatibilities"`
}

type containerDefinition struct {
	Name          string         `json:"name"`
	Image         string         `json:"image"`
	Memory        int            `json:"memory,omitempty"`
	Essential     bool           `json:"essential"`
	StopTimeout   int            `json:"stopTimeout,omitempty"` // in seconds
	RestartPolicy *restartPolicy `json:"restartPolicy,omitempty"`
}

type restartPolicy struct {
	Enabled bool `json:"enabled"`
}

func (r *apiRequest) describeDefinition(d TaskDefinition) describedDefinition {
	out := describedDefinition{
		TaskDefinitionARN: r.world.instance.definitionARN(d), Family: d.Family, Revision: d.Revision, Status: "ACTIVE",
		Volumes: []struct{}{}, Compatibilities: []string{"EC2"},
	}
	if r.world.ecs.inactive[d.name()] {
		out.Status = "INACTIVE"
	}
	for i, name := range d.containers() {
		c := containerDefinition{Name: name, Image: imageOf(name)}
		if i == 0 {
			c.Memory, c.Essential, c.StopTimeout = d.MemoryMiB, true, int(d.StopTimeout/time.Second)
			if d.RestartPolicy {
				c.RestartPolicy = &restartPolicy{Enabled: true}
			}
		}
		out.ContainerDefinitions = append(out.ContainerDefinitions, c)
	}
	return out
}

type definitionAnswer struct {
	TaskDefinition describedDefinition `json:"taskDefinition"`
}

// describeTaskDefinition: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTaskDefinition.html
// The error is that of sil-org/ecs-deploy issue 145.
func describeTaskDefinition(r *apiRequest) (any, error) {
	return r.withDefinition(clientError("ClientException", "Unable to describe task definition."), func(TaskDefinition) {})
}

// deregisterTaskDefinition: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeregisterTaskDefinition.html
// How it refuses is the simulator's guess.
func deregisterTaskDefinition(r *apiRequest) (any, error) {
	return r.withDefinition(clientError("ClientException", "The specified task definition does not exist."), func(d TaskDefinition) {
		_ = r.world.deregisterDefinition(d.name()) // it is there
	})
}

func (r *apiRequest) withDefinition(unknown error, do func(TaskDefinition)) (any, error) {
	var in struct {
		TaskDefinition string `json:"taskDefinition"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	d, known := r.world.findDefinition(in.TaskDefinition)
	if !known {
		return nil, unknown
	}
	do(d)
	return definitionAnswer{r.describeDefinition(d)}, nil
}
