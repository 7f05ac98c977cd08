package sim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// dockerEvent is one message of GET /events.
type dockerEvent struct {
	Status   string      `json:"status"`
	ID       string      `json:"id"`
	From     string      `json:"from"`
	Type     string      `json:"Type"`
	Action   string      `json:"Action"`
	Actor    dockerActor `json:"Actor"`
	Scope    string      `json:"scope"`
	Time     int64       `json:"time"`
	TimeNano int64       `json:"timeNano"`
}

type dockerActor struct {
	ID         string
	Attributes map[string]string
}

// serveEvents sends what happens from now on: since and until have no effect.
func (n *Node) serveEvents(w http.ResponseWriter, r *http.Request) {
	filters, err := parseDockerFilters(r, "type", "event", "label")
	if err != nil {
		refuseDocker(w, http.StatusBadRequest, "%v", err)
		return
	}
	var told toldEvents
	out, stream := json.NewEncoder(w), http.NewResponseController(w)
	for first := true; ; first = false {
		var messages []dockerEvent
		gone := n.follow(r, func(now time.Time) bool {
			messages = told.next(n, now, filters)
			return first || len(messages) > 0
		})
		if gone != nil {
			gone(w)
			return
		}
		if first {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusOK)
		}
		for _, m := range messages {
			if err := out.Encode(m); err != nil {
				return
			}
		}
		_ = stream.Flush() // one that cannot be flushed is an answer that a fault holds back
	}
}

// toldEvents is how much of the history of each container a client has heard.
// Nothing that happens in one and the same instant is lost or told twice, which
// times could not ensure. nil: what was before is not told.
type toldEvents map[*container]int

// next is what the client has not heard, oldest first.
func (t *toldEvents) next(n *Node, now time.Time, filters dockerFilters) (messages []dockerEvent) {
	containers := slices.Clone(n.docker.containers)
	for c := range *t {
		if !c.removed.IsZero() { // which is not told yet
			containers = append(containers, c)
		}
	}
	slices.SortFunc(containers, func(a, b *container) int { return cmp.Compare(a.number, b.number) })
	told := toldEvents{}
	for _, c := range containers {
		history := c.history(now)
		for _, m := range history[(*t)[c]:] {
			if *t != nil && filters.event(m, c) {
				messages = append(messages, m)
			}
		}
		if c.removed.IsZero() {
			told[c] = len(history)
		}
	}
	*t = told
	slices.SortStableFunc(messages, func(a, b dockerEvent) int { return cmp.Compare(a.TimeNano, b.TimeNano) })
	return messages
}

// history is what happened to the container so far; it only grows. A stop sends
// SIGTERM first, and is told of when it is done.
func (c *container) history(now time.Time) (all []dockerEvent) {
	tell := func(at time.Time, action string, more ...string) {
		if !has(at, now) || !c.exists(now) {
			return
		}
		attributes := map[string]string{"image": c.image, "name": c.dockerName}
		maps.Copy(attributes, c.labels)
		for i := 0; i < len(more); i += 2 {
			attributes[more[i]] = more[i+1]
		}
		all = append(all, dockerEvent{
			Status: action, ID: c.id, From: c.image, Type: "container", Action: action, Actor: dockerActor{c.id, attributes},
			Scope: "local", Time: at.Unix(), TimeNano: at.UnixNano(),
		})
	}
	tell(c.created(), "create")
	for _, s := range append(slices.Clone(c.past), c.span) {
		if !s.begun(now) {
			continue
		}
		tell(s.started, "start")
		tell(s.signal, "kill", "signal", "15")
		if s.killed {
			tell(s.ended, "kill", "signal", "9")
		}
		tell(s.ended, "die", "exitCode", strconv.Itoa(s.exitCode()))
		if !s.signal.IsZero() {
			tell(s.ended, "stop")
		}
	}
	tell(c.removed, "destroy")
	return all
}

// dockerFilters are what the query filters says: each key with its values.
type dockerFilters map[string][]string

// parseDockerFilters takes both forms, {"label":["a=b"]} and
// {"label":{"a=b":true}}, and the keys that it is told.
func parseDockerFilters(r *http.Request, keys ...string) (dockerFilters, error) {
	text := r.URL.Query().Get("filters")
	if text == "" {
		return nil, nil
	}
	filters := dockerFilters{}
	if json.Unmarshal([]byte(text), &filters) != nil {
		sets := map[string]map[string]bool{}
		if err := json.Unmarshal([]byte(text), &sets); err != nil {
			return nil, fmt.Errorf("invalid filters: %w", err)
		}
		clear(filters)
		for key, set := range sets {
			filters[key] = slices.Sorted(maps.Keys(set))
		}
	}
	for key := range filters {
		if !slices.Contains(keys, key) {
			return nil, fmt.Errorf("invalid filter '%s'", key)
		}
	}
	return filters, nil
}

// label reports whether the container has all the labels asked for, by key or by
// key=value.
func (f dockerFilters) label(c *container) bool {
	for _, want := range f["label"] {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(c.labels)), func(key string) bool {
			return want == key || want == key+"="+c.labels[key]
		}) {
			return false
		}
	}
	return true
}

func (f dockerFilters) event(m dockerEvent, c *container) bool {
	one := func(key, is string) bool { return len(f[key]) == 0 || slices.Contains(f[key], is) }
	return one("type", m.Type) && one("event", m.Action) && f.label(c)
}
