package sim

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Versions of the Engine API that Docker 25 takes.
const (
	newestDockerAPI = 44 // 1.44
	oldestDockerAPI = 24
)

// Docker is the node's Docker Engine. While it is stopped, connections to it are
// reset; a real one has no socket then. Answers and their words: moby/moby:daemon
// and https://docs.docker.com/reference/api/engine/version/v1.44/
//
// Operations in the call log and in faults leave out the version and the id, as
// in "POST /containers/stop" and "DELETE /containers"; "GET /containers/inspect" is that of one container.
func (n *Node) Docker() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := splitDockerPath(r)
		h := w.Header()
		h.Set("Api-Version", fmt.Sprintf("1.%d", newestDockerAPI))
		h.Set("Ostype", "linux")
		h.Set("Docker-Experimental", "false")
		h.Set("Server", "Docker/"+dockerVersion+" (linux)")
		n.world.serve(w, r, exchange{
			service: "docker", operation: q.operation, instance: n.Instance().ID, errors: dockerErrors{},
			handle: func(w http.ResponseWriter, r *http.Request) { n.serveDocker(w, r, q) },
		})
	})
}

// dockerQuestion is what a path asks for.
type dockerQuestion struct {
	minor     string // of the API's version; "": the newest
	operation string
	id        string // of a container, or its name
}

var dockerPath = regexp.MustCompile(`^(?:/v1\.([0-9]{1,4}))?(/.*)$`)

func splitDockerPath(r *http.Request) (q dockerQuestion) {
	path := r.URL.Path
	if m := dockerPath.FindStringSubmatch(path); m != nil {
		q.minor, path = m[1], m[2]
	}
	if parts := strings.Split(path, "/"); len(parts) == 4 && parts[1] == "containers" {
		q.id = parts[2]
		if parts[3] == "json" {
			parts[3] = "inspect"
		}
		path = "/containers/" + parts[3]
	} else if len(parts) == 3 && parts[1] == "containers" && r.Method == http.MethodDelete {
		q.id, path = parts[2], "/containers"
	}
	q.operation = r.Method + " " + path
	return q
}

func (n *Node) serveDocker(w http.ResponseWriter, r *http.Request, q dockerQuestion) {
	if !n.dockerRuns() {
		resetConnection(w)
		return
	}
	if minor, err := strconv.Atoi(q.minor); err == nil && minor > newestDockerAPI {
		refuseDocker(w, http.StatusBadRequest, "client version 1.%d is too new. Maximum supported API version is 1.%d", minor, newestDockerAPI)
		return
	} else if err == nil && minor < oldestDockerAPI {
		refuseDocker(w, http.StatusBadRequest, "client version 1.%d is too old. Minimum supported API version is 1.%d, "+
			"please upgrade your client to a newer version", minor, oldestDockerAPI)
		return
	}
	switch q.operation {
	case "GET /_ping", "HEAD /_ping":
		w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Swarm", "inactive")
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte("OK"))
	case "GET /version":
		writeJSON(w, http.StatusOK, n.dockerVersion())
	case "GET /info":
		writeJSON(w, http.StatusOK, n.dockerInfo())
	case "GET /containers/json":
		n.serveContainers(w, r)
	case "GET /containers/inspect":
		n.serveInspect(w, q.id)
	case "POST /containers/stop":
		n.serveStop(w, r, q.id)
	case "DELETE /containers":
		n.serveRemove(w, r, q.id)
	case "GET /containers/logs":
		n.serveLogs(w, q.id)
	case "GET /events":
		n.serveEvents(w, r)
	default:
		refuseDocker(w, http.StatusNotFound, "page not found")
	}
}

// SetDockerRunning starts or stops the engine. Containers go on without it, as
// with live-restore, and the ECS agent takes no notice.
func (n *Node) SetDockerRunning(running bool) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.world.changeECS(func() { n.docker.stopped = !running })
}

func (n *Node) dockerRuns() bool {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return !n.docker.stopped
}

// findContainer finds by id, by name, or by the start of one id.
func (n *Node) findContainer(id string, now time.Time) *container {
	var begins []*container
	for _, c := range n.docker.containers {
		switch {
		case !c.exists(now):
		case c.id == id || c.dockerName == strings.TrimPrefix(id, "/"):
			return c
		case strings.HasPrefix(c.id, id):
			begins = append(begins, c)
		}
	}
	if len(begins) != 1 {
		return nil
	}
	return begins[0]
}

// defaultStopTimeout is the engine's.
const defaultStopTimeout = "10"

// serveStop: a stop goes on when its client does not wait for it.
func (n *Node) serveStop(w http.ResponseWriter, r *http.Request, id string) {
	seconds, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("t"), defaultStopTimeout))
	if err != nil {
		refuseDocker(w, http.StatusBadRequest, "%v", err)
		return
	}
	world := n.world
	world.mu.Lock()
	now := world.settle()
	c := n.findContainer(id, now)
	runs := c != nil && c.runs(now)
	if runs {
		world.changeECS(func() { c.stop(world.ecs.settled, time.Duration(seconds)*time.Second) })
	}
	world.mu.Unlock()
	switch {
	case c == nil:
		refuseDocker(w, http.StatusNotFound, "No such container: %s", id)
		return
	case !runs:
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if gone := n.follow(r, func(now time.Time) bool { return !c.runs(now) }); gone != nil {
		gone(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// follow calls look, with the lock held and the world settled, at first and
// whenever something may have happened, until it is done. What it returns is how
// to end an exchange that one of the two sides has left, if so.
func (n *Node) follow(r *http.Request, look func(now time.Time) (done bool)) (gone func(http.ResponseWriter)) {
	world := n.world
	for {
		world.mu.Lock()
		now := world.settle()
		running := !n.docker.stopped
		done := running && look(now)
		changed, next := world.ecs.change(), world.next()
		world.mu.Unlock()
		switch {
		case !running:
			return resetConnection
		case done:
			return nil
		case !awaitChange(r, changed, next):
			return func(http.ResponseWriter) {}
		}
	}
}

// awaitChange waits for a change or a time, the zero time being none, and says
// whether the client is still there.
func awaitChange(r *http.Request, changed <-chan struct{}, until time.Time) bool {
	var due <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-changed:
		return true
	case <-due:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (n *Node) serveContainers(w http.ResponseWriter, r *http.Request) {
	filters, err := parseDockerFilters(r, "label")
	if err != nil {
		refuseDocker(w, http.StatusBadRequest, "%v", err)
		return
	}
	ended := isTrue(r.URL.Query().Get("all"))
	n.world.mu.Lock()
	now := n.world.settle()
	all := []dockerSummary{}
	for _, c := range n.docker.containers {
		if (c.runs(now) || ended && c.exists(now)) && filters.label(c) {
			all = append(all, c.summary(now))
		}
	}
	n.world.mu.Unlock()
	slices.SortStableFunc(all, func(a, b dockerSummary) int { return cmp.Compare(b.Created, a.Created) })
	writeJSON(w, http.StatusOK, all)
}

func (n *Node) serveInspect(w http.ResponseWriter, id string) {
	n.world.mu.Lock()
	now := n.world.settle()
	c := n.findContainer(id, now)
	var found dockerInspection
	if c != nil {
		found = c.inspect(now)
	}
	n.world.mu.Unlock()
	if c == nil {
		refuseDocker(w, http.StatusNotFound, "No such container: %s", id)
		return
	}
	writeJSON(w, http.StatusOK, found)
}

// serveRemove removes a container that does not run, or with force any:
// moby/moby:daemon/delete.go
func (n *Node) serveRemove(w http.ResponseWriter, r *http.Request, id string) {
	force := isTrue(r.URL.Query().Get("force"))
	n.world.mu.Lock()
	now := n.world.settle()
	c := n.findContainer(id, now)
	runs := c != nil && c.runs(now)
	if c != nil && (!runs || force) {
		n.world.changeECS(func() {
			c.end(now, true)
			n.forget(c, now)
		})
	}
	n.world.mu.Unlock()
	switch {
	case c == nil:
		refuseDocker(w, http.StatusNotFound, "No such container: %s", id)
	case runs && !force:
		refuseDocker(w, http.StatusConflict, "cannot remove container %q: container is running: stop the container before removing or force remove", "/"+c.dockerName)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// serveLogs: every container has written its name. The frame before it is that of
// standard output, in https://docs.docker.com/reference/api/engine/version/v1.44/#operation/ContainerAttach
func (n *Node) serveLogs(w http.ResponseWriter, id string) {
	n.world.mu.Lock()
	c := n.findContainer(id, n.world.settle())
	n.world.mu.Unlock()
	if c == nil {
		refuseDocker(w, http.StatusNotFound, "No such container: %s", id)
		return
	}
	line := c.name + "\n"
	w.Header().Set("Content-Type", "application/vnd.docker.multiplexed-stream")
	_, _ = w.Write(append([]byte{1, 0, 0, 0, 0, 0, 0, byte(len(line))}, line...))
}

// isTrue is what the engine takes for true.
func isTrue(value string) bool {
	return !slices.Contains([]string{"", "0", "no", "false", "none"}, strings.ToLower(strings.TrimSpace(value)))
}

type dockerErrors struct{}

func (dockerErrors) writeStatus(w http.ResponseWriter, status int) {
	refuseDocker(w, status, "%s", http.StatusText(status))
}

// writeThrottled: the engine has no such answer.
func (e dockerErrors) writeThrottled(w http.ResponseWriter) {
	e.writeStatus(w, http.StatusTooManyRequests)
}

func refuseDocker(w http.ResponseWriter, status int, format string, args ...any) {
	writeJSON(w, status, struct {
		Message string `json:"message"`
	}{fmt.Sprintf(format, args...)})
}
