package introspection

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// Tasks returns the tasks that the agent has and whose containers are not all
// STOPPED, in the order of their ARNs, without Group and StartedBy. Last is
// PENDING or RUNNING. Desired is what the agent was told: ECS has a task
// DEACTIVATING for a while before it tells it. It is empty where the agent's own
// view of it has no name in ECS.
//
// The error is facts.ErrUnavailable if no usable answer came, as on a node
// whose agent is not registered.
func (c *Client) Tasks(ctx context.Context) ([]facts.Task, error) {
	body, err := c.get(ctx, c.tasks)
	var tasks []facts.Task
	if err == nil {
		tasks, err = parseTasks(body)
	}
	if err != nil {
		return nil, c.tasks.cannot(err)
	}
	return tasks, nil
}

// parseTasks reads an answer of /v1/tasks. An agent that does not know the path
// answers 200 too, with a list of commands, which has no Tasks.
// aws/amazon-ecs-agent:ecs-agent/introspection/v1/response.go
func parseTasks(body []byte) (tasks []facts.Task, err error) {
	var answer struct {
		Tasks *[]struct{ Arn, Family, Version, KnownStatus, DesiredStatus string }
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Tasks == nil {
		return nil, fmt.Errorf("%w: not an agent's answer: %s", facts.ErrUnavailable, httpx.Excerpt(string(body)))
	}
	for _, t := range *answer.Tasks {
		switch {
		case t.Arn == "" || len(t.Arn) > maxText || t.KnownStatus == "":
			return nil, fmt.Errorf("%w: it has a task without ARN or status", facts.ErrUnavailable)
		case t.KnownStatus != facts.TaskStopped:
			revision, err := strconv.Atoi(t.Version)
			if err != nil {
				revision = 0
			}
			tasks = append(tasks, facts.Task{ARN: t.Arn, Family: t.Family, Revision: revision, Last: t.KnownStatus, Desired: t.DesiredStatus})
		}
	}
	slices.SortFunc(tasks, func(a, b facts.Task) int { return strings.Compare(a.ARN, b.ARN) })
	return tasks, nil
}
