package docker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/docker"
)

// engine answers as Docker Engine 25 does (API 1.44 and down to 1.24).
type engine struct {
	mu         sync.Mutex
	containers []map[string]any
	live       bool
	oldest     string // API version that it still takes
	asked      []string
	events     chan string
	stops      map[string]int // status that the stop of a container is answered with
	cleaning   chan struct{}  // until then a container cannot be inspected
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.asked = append(e.asked, r.URL.Path)
	containers, live := e.containers, e.live
	e.mu.Unlock()
	w.Header().Set("Api-Version", "1.44")
	w.Header().Set("Content-Type", "application/json")
	version, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case version == "_ping":
		fmt.Fprint(w, "OK")
	case version < "v"+e.oldest:
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"message":"client version %s is too old"}`, version)
	case path == "info":
		_ = json.NewEncoder(w).Encode(map[string]any{"ServerVersion": "25.0.8", "LiveRestoreEnabled": live})
	case path == "containers/json":
		_ = json.NewEncoder(w).Encode(containers)
	case path == "events":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for event := range e.events {
			fmt.Fprintln(w, event)
			w.(http.Flusher).Flush()
		}
	case path == "containers/abc/json":
		<-e.cleaning
		fmt.Fprint(w, `{"Id":"abc"}`)
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/stop"):
		_, id, _ := strings.Cut(strings.TrimSuffix(path, "/stop"), "/")
		e.mu.Lock()
		e.asked = append(e.asked, id+" "+r.URL.RawQuery)
		e.mu.Unlock()
		w.WriteHeader(e.stops[id])
		if e.stops[id] >= http.StatusBadRequest {
			fmt.Fprintf(w, `{"message":"words about %s"}`, id)
		}
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func serve(t *testing.T, e *engine) *docker.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: e}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return client(t, socket)
}

func client(t *testing.T, socket string) *docker.Client {
	t.Helper()
	c, err := docker.New(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhatTheEngineTells(t *testing.T) {
	e := &engine{live: true, oldest: "1.44", containers: []map[string]any{
		{
			"Id": "abc", "Created": 1700000000, "Names": []string{"/ecs-web-1"}, "Image": "web:1", "Labels": map[string]string{facts.LabelTaskARN: "arn"},
			"NetworkSettings": map[string]any{"Networks": map[string]any{"bridge": map[string]string{"IPAddress": "172.17.0.2", "GlobalIPv6Address": "fd00::2"}}},
		},
		{"Id": "def", "Created": 1700000001, "Names": []string{"/ecs-agent"}, "Image": "amazon/amazon-ecs-agent", "NetworkSettings": map[string]any{"Networks": map[string]any{"host": map[string]string{"IPAddress": ""}}}},
	}}
	c := serve(t, e)
	info, err := c.Info(t.Context())
	if want := (facts.Docker{Version: "25.0.8", LiveRestore: true}); err != nil || info != want {
		t.Errorf("%+v, %v", info, err)
	}
	got, err := c.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []facts.Container{
		{
			ID: "abc", Name: "ecs-web-1", Image: "web:1", Created: time.Unix(1700000000, 0).UTC(), Labels: map[string]string{facts.LabelTaskARN: "arn"},
			Addresses: []netip.Addr{netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("fd00::2")},
		},
		{ID: "def", Name: "ecs-agent", Image: "amazon/amazon-ecs-agent", Created: time.Unix(1700000001, 0).UTC()},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if !got[0].OfTask() || got[1].OfTask() {
		t.Error("tasks are not told from others")
	}
}

func TestAnEngineThatIsDownIsUnavailable(t *testing.T) {
	_, err := client(t, filepath.Join(t.TempDir(), "none.sock")).Info(t.Context())
	if !errors.Is(err, facts.ErrUnavailable) || !strings.HasPrefix(err.Error(), "cannot ask Docker: ") {
		t.Error(err)
	}
}

func TestStop(t *testing.T) {
	e := &engine{
		stops:      map[string]int{"abc": 204, "idle": 304, "gone": 404, "going": 409, "stuck": 500},
		containers: []map[string]any{{"Id": "abc"}, {"Id": "stuck"}},
	}
	c := serve(t, e)
	for _, tc := range []struct {
		id      string
		timeout time.Duration
		asked   string
		says    string
	}{
		{"abc", 90 * time.Second, "abc t=90", ""},
		{"abc", 2900 * time.Millisecond, "abc t=2", ""},
		{"abc", 0, "abc t=1", ""},
		{"abc", -time.Minute, "abc t=1", ""},
		{"idle", time.Second, "idle t=1", ""},
		{"gone", time.Second, "gone t=1", ""},
		{"going", time.Second, "going t=1", ""},
		{"stuck", time.Second, "stuck t=1", "cannot stop container stuck: unavailable: Error response from daemon: words about stuck"},
	} {
		err := c.Stop(t.Context(), tc.id, tc.timeout)
		e.mu.Lock()
		asked := e.asked
		e.asked = nil
		e.mu.Unlock()
		if !slices.Contains(asked, tc.asked) {
			t.Errorf("%s: asked %q, want %s", tc.id, asked, tc.asked)
		}
		switch {
		case tc.says == "" && err != nil:
			t.Errorf("%s: %v", tc.id, err)
		case tc.says != "" && (!errors.Is(err, facts.ErrUnavailable) || err.Error() != tc.says):
			t.Errorf("%s: %v, want %s", tc.id, err, tc.says)
		}
	}
	err := client(t, filepath.Join(t.TempDir(), "none.sock")).Stop(t.Context(), "abc", time.Second)
	if !errors.Is(err, facts.ErrUnavailable) {
		t.Errorf("an engine that is down: %v", err)
	}
}

func TestWatch(t *testing.T) {
	e := &engine{events: make(chan string)}
	c := serve(t, e)
	changed, done := make(chan struct{}, 8), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { done <- c.Watch(ctx, func() { changed <- struct{}{} }) }()
	e.events <- `{"Type":"container","Action":"exec_start"}`
	e.events <- `{"Type":"container","Action":"die"}`
	<-changed
	e.events <- `{"Type":"network","Action":"connect"}`
	<-changed
	close(e.events)
	if err := <-done; !errors.Is(err, facts.ErrUnavailable) || len(changed) > 0 {
		t.Errorf("%v, %d more", err, len(changed))
	}
}

// Docker 20.10 lists a container as running for a while after it has told of its end.
func TestAnEndIsToldOfOnceItIsListed(t *testing.T) {
	e := &engine{events: make(chan string), cleaning: make(chan struct{})}
	c := serve(t, e)
	changed := make(chan struct{}, 8)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Watch(ctx, func() { changed <- struct{}{} }) }()
	e.events <- `{"Type":"container","Action":"die","Actor":{"ID":"abc"}}`
	e.cleaning <- struct{}{} // it is asked about, and taken from the list
	<-changed
	cancel()
	<-done
	close(e.events)
	if asked := slices.Index(e.asked, "/v1.44/containers/abc/json"); asked < 0 || len(changed) > 0 {
		t.Errorf("asked %q, told %d times more", e.asked, len(changed))
	}
}

// dockerd is a program in its place.
func dockerd(t *testing.T, script string) []string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "dockerd")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{name, "-H", "fd://", "--config-file=/etc/docker/daemon.json", "--config-file", "/x"}
}

// The words of dockerd 25 and 20.10.
func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		argv []string
		is   error
		says string
	}{
		"it would start":   {dockerd(t, `[ "$*" = "-H fd:// --validate --config-file /run/ecsnode/daemon.json" ] && echo "configuration OK"`), nil, ""},
		"it would not":     {dockerd(t, "echo 'unable to configure the Docker daemon with file /x: the following directives are specified both as a flag and in the configuration file: debug' >&2; exit 1"), facts.ErrRefused, "both as a flag and in the configuration file: debug"},
		"it is too old":    {dockerd(t, "echo 'Status: unknown flag: --validate' >&2; exit 125"), facts.ErrAbsent, "has no --validate"},
		"there is none":    {[]string{"/nonexistent/dockerd"}, facts.ErrAbsent, "no such file"},
		"no unit names it": {nil, facts.ErrAbsent, "names no program"},
	} {
		err := docker.Dockerd{}.Validate(t.Context(), c.argv, "/run/ecsnode/daemon.json")
		if !errors.Is(err, c.is) || c.is != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.is, c.says)
		}
	}
}
