package sim

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// overrides are the part of a TaskOverride that has an effect here.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html
type overrides struct {
	ContainerOverrides []containerOverride `json:"containerOverrides"`
}

type containerOverride struct {
	Name        string     `json:"name"`
	Environment []variable `json:"environment,omitempty"`
}

type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// parseOverrides also returns the name of a container that the definition has
// not.
func parseOverrides(text json.RawMessage, d TaskDefinition) (given overrides, stranger string, err error) {
	given = overrides{[]containerOverride{}}
	if len(text) == 0 {
		return given, "", nil
	}
	if err := json.Unmarshal(text, &given); err != nil {
		return given, "", &apiError{http.StatusBadRequest, "SerializationException", err.Error()}
	}
	for _, c := range given.ContainerOverrides {
		if !slices.Contains(d.containers(), c.Name) {
			return given, c.Name, nil
		}
	}
	return given, "", nil
}

// environment is what they set, by container and name.
func (o overrides) environment() map[string]map[string]string {
	var all map[string]map[string]string
	for _, c := range o.ContainerOverrides {
		for _, v := range c.Environment {
			if all == nil {
				all = map[string]map[string]string{}
			}
			if all[c.Name] == nil {
				all[c.Name] = map[string]string{}
			}
			all[c.Name][v.Name] = v.Value
		}
	}
	return all
}

var startedBy = regexp.MustCompile(`^[A-Za-z0-9/_-]{0,36}$`)

// startTask: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StartTask.html
// Whether AWS starts a task on an instance that is DRAINING is not documented;
// here it does.
// The words about an inactive task definition are those of RunTask, which gives
// them the code InvalidParameterException (DefangLabs/defang pull request 775);
// StartTask's code is the simulator's guess.
func startTask(r *apiRequest) (any, error) {
	var in struct {
		Cluster            string          `json:"cluster"`
		ContainerInstances []string        `json:"containerInstances"`
		Overrides          json.RawMessage `json:"overrides"`
		StartedBy          string          `json:"startedBy"`
		TaskDefinition     string          `json:"taskDefinition"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := r.findCluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	const most, longest = 10, 8192
	definition, known := r.world.findDefinition(in.TaskDefinition)
	given, stranger, err := parseOverrides(in.Overrides, definition)
	if err != nil {
		return nil, err
	}
	switch n := len(in.ContainerInstances); {
	case n == 0 || n > most:
		return nil, invalidParameter("Container instances must have between 1 and %d entries, not %d.", most, n)
	case !startedBy.MatchString(in.StartedBy):
		return nil, invalidParameter("startedBy %q is invalid.", in.StartedBy)
	case len(in.Overrides) > longest:
		return nil, invalidParameter("Overrides are longer than %d characters.", longest)
	case !known:
		return nil, clientError("ClientException", "TaskDefinition not found.")
	case r.world.ecs.inactive[definition.name()]:
		return nil, clientError("ClientException", "TaskDefinition is inactive")
	case stranger != "":
		return nil, invalidParameter("Override for container named %s is not a container in the TaskDefinition.", stranger)
	}
	// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
	for _, role := range definition.Roles {
		if !r.allows("iam:PassRole", role) {
			return nil, jsonProtocol{}.denied(r.caller.principal, "iam:PassRole", role)
		}
	}
	now := r.world.settle()
	out := tasksAnswer{[]describedTask{}, []ecsFailure{}}
	for _, id := range in.ContainerInstances {
		on := c.find(id)
		if reason := r.world.whyNotStart(on, definition, now); reason != "" {
			out.Failures = append(out.Failures, r.failure("container-instance", id, reason))
			continue
		}
		t := r.world.makeTask(on, definition, definition.StartTakes, nil, in.StartedBy)
		t.overrides = given
		out.Tasks = append(out.Tasks, t.describe(now))
	}
	return out, nil
}

// whyNotStart is the reason of a failure, "" if a task can start.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
func (w *World) whyNotStart(on *containerInstance, d TaskDefinition, now time.Time) string {
	switch {
	case on == nil:
		return "MISSING"
	case on.status == "INACTIVE":
		return "INACTIVE"
	case !on.node.agent.running:
		return "AGENT"
	}
	left := on.memoryMiB
	for _, t := range w.ecs.tasks {
		if t.on == on && t.status(now) != facts.TaskStopped {
			left -= t.definition.MemoryMiB
		}
	}
	if left < d.MemoryMiB {
		return "RESOURCE:MEMORY"
	}
	return ""
}
