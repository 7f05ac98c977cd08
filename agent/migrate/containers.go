package migrate

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// NodeTask is a container that every node runs once, as far as can be told.
type NodeTask struct {
	Name      string `json:"name"` // of its entry in node_tasks
	Container string `json:"container"`
	Image     string `json:"image"`
	Family    string `json:"family,omitempty"` // "": ECS did not start it
	Revision  string `json:"revision,omitempty"`
	Service   string `json:"service,omitempty"` // that started it
	Asked     bool   `json:"-"`                 // ECS said whether there is one
}

// definition is its task definition as node_tasks takes it.
func (t NodeTask) definition() string {
	if t.Revision == "" {
		return t.Family + "@newest"
	}
	return t.Family + ":" + t.Revision
}

// agents are the programs of which a node runs one, by the last part of an
// image's name, and what they are called in node_tasks.
var agents = []struct {
	name string
	is   *pattern.Regexp
}{
	{"logspout", pattern.New(`logspout`)},
	{"datadog", pattern.New(`datadog|dd-agent|(^|/)agent$`)},
	{"fluentd", pattern.New(`fluentd`)},
	{"fluent-bit", pattern.New(`fluent-?bit`)},
	{"filebeat", pattern.New(`filebeat`)},
	{"vector", pattern.New(`(^|/)vector$`)},
	{"cadvisor", pattern.New(`cadvisor`)},
	{"node-exporter", pattern.New(`node-?exporter`)},
	{"newrelic", pattern.New(`newrelic`)},
	{"sumologic", pattern.New(`sumologic`)},
	{"splunk", pattern.New(`splunk`)},
	{"cloudwatch-agent", pattern.New(`cloudwatch-agent`)},
	{"xray", pattern.New(`x-?ray-daemon`)},
}

// agentOf returns the name that a container's program has in node_tasks, or "".
func agentOf(c facts.Container) string {
	image := repository(c.Image)
	family := strings.ToLower(c.Labels[facts.LabelFamily])
	for _, a := range agents {
		if a.name == "datadog" && path.Base(image) == "agent" && !strings.Contains(image, "datadog") {
			continue
		}
		if a.is.MatchString(image) || family != "" && a.name != "vector" && strings.Contains(family, a.name) || !c.OfTask() && strings.Contains(c.Name, a.name) {
			return a.name
		}
	}
	return ""
}

// repository is an image's name without registry's digest and tag.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		image = image[:i]
	}
	return strings.ToLower(image)
}

// nodeTasks returns the containers of which a node runs one, and how many others
// there are. tasks is what ECS says of the tasks; known: it has said it.
func nodeTasks(containers []facts.Container, tasks []facts.Task, known bool) (all []NodeTask, others int) {
	byFamily := map[string]bool{}
	taken := map[string]bool{}
	for _, c := range slices.Backward(containers) { // the oldest first
		name := agentOf(c)
		family := c.Labels[facts.LabelFamily]
		switch {
		case strings.HasPrefix(c.Labels[facts.LabelContainerName], "~internal~"), family != "" && byFamily[family]:
			continue
		case name == "":
			others++
			continue
		}
		t := NodeTask{Name: name, Container: c.Name, Image: c.Image, Asked: known}
		if c.OfTask() {
			t.Family, t.Revision = family, c.Labels[facts.LabelRevision]
			byFamily[family] = true
			i := slices.IndexFunc(tasks, func(o facts.Task) bool { return o.ARN == c.Labels[facts.LabelTaskARN] })
			if i >= 0 {
				t.Service = tasks[i].Service()
				if t.Revision == "" && tasks[i].Revision > 0 {
					t.Revision = strconv.Itoa(tasks[i].Revision)
				}
			}
		}
		if taken[t.Name] {
			t.Name = cmp.Or(t.Family, t.Container)
		}
		taken[t.Name] = true
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b NodeTask) int { return cmp.Compare(a.Name, b.Name) })
	return all, others
}
