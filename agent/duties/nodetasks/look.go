package nodetasks

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// ofFamily puts together what the agent and Docker say of the tasks of a family,
// oldest first. orphan is a container of a task that the agent does not know: one
// of a registration before this one, say.
func ofFamily(family string, containers []facts.Container, tasks []facts.Task) (all []task, orphan string) {
	for _, t := range tasks {
		if t.Family == family {
			all = append(all, task{arn: t.ARN, revision: t.Revision, leaving: t.Desired == facts.TaskStopped})
		}
	}
	for _, c := range slices.Backward(containers) { // Docker has the newest first
		if !c.OfTask() || c.Labels[facts.LabelFamily] != family || strings.HasPrefix(c.Labels[facts.LabelContainerName], internal) {
			continue
		}
		arn := c.Labels[facts.LabelTaskARN]
		i := slices.IndexFunc(all, func(t task) bool { return t.arn == arn })
		if i < 0 {
			orphan = c.ID
			continue
		}
		t := &all[i]
		if t.revision == 0 {
			t.revision, _ = strconv.Atoi(c.Labels[facts.LabelRevision])
		}
		if t.up = true; t.container == "" || c.Created.Before(t.created) {
			t.container, t.created = c.ID, c.Created
		}
	}
	slices.SortStableFunc(all, func(a, b task) int {
		if a.up != b.up { // what is not up yet is the newest
			return map[bool]int{true: -1, false: 1}[a.up]
		}
		return a.created.Compare(b.created)
	})
	return all, orphan
}

// internal begins the names of containers that the agent runs for a task's
// network: aws/amazon-ecs-agent:agent/api/task/task.go
const internal = "~internal~ecs~"

// find returns the id of a container of others that a pattern fits, or "".
func (r Recognise) find(containers []facts.Container) string {
	fits := func(patterns []string, name string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			ok, _ := path.Match(p, name)
			return ok
		})
	}
	for _, c := range containers {
		if !c.OfTask() && (fits(r.Images, c.Image) || fits(r.Containers, c.Name)) {
			return c.ID
		}
	}
	return ""
}
