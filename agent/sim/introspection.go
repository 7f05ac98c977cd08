package sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Task is a task as the agent's introspection shows it.
type Task struct {
	ARN           string      `yaml:"arn" json:"Arn"`
	DesiredStatus string      `yaml:"desired_status" json:"DesiredStatus,omitempty"`
	KnownStatus   string      `yaml:"known_status" json:"KnownStatus"`
	Family        string      `yaml:"family" json:"Family"`
	Version       string      `yaml:"version" json:"Version"`
	Containers    []Container `yaml:"containers" json:"Containers"`
}

// Container is one container of a Task.
type Container struct {
	DockerID   string     `yaml:"docker_id" json:"DockerId"`
	DockerName string     `yaml:"docker_name" json:"DockerName"`
	Name       string     `yaml:"name" json:"Name"`
	Image      string     `yaml:"image" json:"Image"`
	ImageID    string     `yaml:"image_id" json:"ImageID"`
	CreatedAt  *time.Time `yaml:"created_at" json:"CreatedAt,omitempty"`
	StartedAt  *time.Time `yaml:"started_at" json:"StartedAt,omitempty"`
}

// SetTasks replaces the tasks that the agent shows and that ECS knows nothing
// of; those of AddTask, SetService and StartTask it shows besides.
func (n *Node) SetTasks(tasks []Task) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.agent.tasks = slices.Clone(tasks)
}

// Introspection is the ECS agent's introspection server (localhost:51678).
// While no agent runs, connections to it are reset; a real one refuses them.
// Shapes and answers: aws/amazon-ecs-agent:ecs-agent/introspection/server.go,
// v1/response.go and v1/handlers/handlers.go.
func (n *Node) Introspection() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.world.serve(w, r, exchange{
			service: "introspection", operation: strings.TrimPrefix(r.URL.Path, "/"), instance: n.Instance().ID,
			errors: introspectionErrors{}, handle: n.serveIntrospection,
		})
	})
}

func (n *Node) serveIntrospection(w http.ResponseWriter, r *http.Request) {
	n.world.mu.Lock()
	running, registered, tasks := n.agent.running, n.agent.registered, n.agentTasks()
	instance, known := registered.view()
	var cluster string
	if known {
		cluster = registered.spelling
	}
	n.world.mu.Unlock()
	if !running {
		resetConnection(w)
		return
	}
	switch r.URL.Path {
	case "/v1/metadata":
		metadata := struct {
			Cluster              string
			ContainerInstanceArn *string
			Version              string
		}{Cluster: cluster, Version: "Amazon ECS Agent - v" + agentVersion + " (" + agentHash + ")"}
		if known {
			metadata.ContainerInstanceArn = &instance.ARN
		}
		writeJSON(w, http.StatusOK, metadata)
	case "/v1/tasks":
		serveTasks(w, r, tasks)
	default:
		// The agent answers every other path with its commands, and 200.
		writeJSON(w, http.StatusOK, struct{ AvailableCommands []string }{[]string{"/v1/metadata", "/v1/tasks", "/license"}})
	}
}

// agentTasks are the tasks that the agent knows of. The caller holds the lock.
func (n *Node) agentTasks() []Task {
	now := n.world.settle()
	tasks := append([]Task{}, n.agent.tasks...)
	for _, t := range n.world.ecs.tasks {
		if t.on != n.agent.registered {
			continue
		}
		if shown, known := t.introspected(now); known {
			tasks = append(tasks, shown)
		}
	}
	return tasks
}

// shortDockerID is the longest dockerid taken as the start of an id.
const shortDockerID = 12

func serveTasks(w http.ResponseWriter, r *http.Request, tasks []Task) {
	query := r.URL.Query()
	arn, dockerID := query.Get("taskarn"), query.Get("dockerid")
	if arn == "" && dockerID == "" {
		writeJSON(w, http.StatusOK, struct{ Tasks []Task }{tasks})
		return
	}
	if arn != "" && dockerID != "" {
		writeJSON(w, http.StatusBadRequest, Task{})
		return
	}
	found := slices.DeleteFunc(slices.Clone(tasks), func(t Task) bool {
		return arn != "" && t.ARN != arn || dockerID != "" && !slices.ContainsFunc(t.Containers, func(c Container) bool {
			return c.DockerID == dockerID || len(dockerID) <= shortDockerID && strings.HasPrefix(c.DockerID, dockerID)
		})
	})
	switch len(found) {
	case 1:
		writeJSON(w, http.StatusOK, found[0])
	case 0:
		writeJSON(w, http.StatusNotFound, Task{})
	default:
		writeJSON(w, http.StatusBadRequest, Task{})
	}
}

// introspectionErrors: the agent sends an empty object of the kind asked for.
type introspectionErrors struct{}

func (introspectionErrors) writeStatus(w http.ResponseWriter, status int) {
	writeJSON(w, status, struct{}{})
}

func (introspectionErrors) writeThrottled(w http.ResponseWriter) {
	writeJSON(w, http.StatusTooManyRequests, struct{}{})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "cannot encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
