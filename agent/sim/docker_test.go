package sim_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/docker"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func (b bubble) dialDocker(ctx context.Context, _, _ string) (net.Conn, error) {
	return b.network.DialContext(ctx, "unix", docker.Socket)
}

// docker is the agent's own client.
func (b bubble) docker(t *testing.T) *docker.Client {
	t.Helper()
	c, err := docker.New(b.dialDocker)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// engine is Docker's own client.
func (b bubble) engine(t *testing.T, o ...client.Opt) *client.Client {
	t.Helper()
	c, err := client.NewClientWithOpts(append([]client.Opt{client.WithHost("unix://" + docker.Socket), client.WithDialContext(b.dialDocker)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b bubble) add(t *testing.T, d sim.TaskDefinition) (arn string) {
	t.Helper()
	arn, err := b.AddTask(d, "")
	if err != nil {
		t.Fatal(err)
	}
	return arn
}

// running are the containers that the engine shows, by name or family, with the
// name that those of a task have in it.
func (b bubble) running(t *testing.T, c *docker.Client) string {
	t.Helper()
	all, err := c.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, one := range all {
		if one.OfTask() {
			one.Name = one.Labels[facts.LabelFamily] + "/" + one.Labels[facts.LabelContainerName]
		}
		names = append(names, one.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// ends tells how each container ended, in seconds since start.
func (b bubble) ends(start time.Time) string {
	var all []string
	for _, c := range b.Containers() {
		text := c.DockerName
		if c.TaskARN != "" {
			text = c.Name
		}
		if !c.SignalAt.IsZero() {
			text += fmt.Sprintf(" SIGTERM %v", c.SignalAt.Sub(start))
		}
		switch {
		case c.Killed:
			text += fmt.Sprintf(" killed %v", c.EndedAt.Sub(start))
		case !c.EndedAt.IsZero():
			text += fmt.Sprintf(" ended %v", c.EndedAt.Sub(start))
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func (b bubble) id(t *testing.T, name string) string {
	t.Helper()
	for _, c := range b.Containers() {
		if c.Name == name || c.DockerName == name {
			return c.ID
		}
	}
	t.Fatalf("no container %s", name)
	return ""
}

func TestContainersAreThoseOfTasksAndOfOthers(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		c := b.docker(t)
		arn := b.add(t, sim.TaskDefinition{Family: "app", Revision: 7, StartTakes: 10 * time.Second, Sidecars: []string{"log_router"}})
		other := b.RunContainer(sim.ContainerSpec{Name: "monitor", Image: "monitor:1"})
		if got := b.running(t, c); got != "monitor" {
			t.Errorf("before the task runs: %s", got)
		}
		time.Sleep(10 * time.Second)
		if got := b.running(t, c); got != "app/app app/log_router monitor" {
			t.Error(got)
		}
		all, err := c.Containers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		id := b.id(t, "log_router")
		router := all[slices.IndexFunc(all, func(c facts.Container) bool { return c.ID == id })]
		want := facts.Container{
			ID: id, Name: "ecs-app-7-logrouter-" + arn[strings.LastIndex(arn, "/")+1:][:20], Image: "log_router:latest", Created: time.Now(),
			Labels: map[string]string{
				facts.LabelTaskARN: arn, facts.LabelFamily: "app", facts.LabelContainerName: "log_router",
				"com.amazonaws.ecs.task-definition-version": "7", "com.amazonaws.ecs.cluster": "web",
			},
			Addresses: router.Addresses,
		}
		if diff := cmp.Diff(want, router, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || len(router.Addresses) != 1 {
			t.Errorf("%s, %v", diff, router.Addresses)
		}
		if err := b.RemoveContainer(other[:12]); err != nil {
			t.Error(err)
		}
		if err := b.RemoveContainer("monitor"); err == nil {
			t.Error("a container was removed twice")
		}
		b.EndTasks("app")
		if got := b.running(t, c); got != "" {
			t.Errorf("after the end of all: %s", got)
		}
		if got, want := b.ends(time.Now()), "monitor killed 0s, app ended 0s, log_router SIGTERM 0s ended 0s"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		info, err := c.Info(t.Context())
		if err != nil || info.Version != "25.0.18" {
			t.Errorf("%+v, %v", info, err)
		}
	})
}

func TestDockersOwnClient(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		b.add(t, sim.TaskDefinition{Family: "app"})
		b.add(t, sim.TaskDefinition{Family: "job"})
		c := b.engine(t, client.WithAPIVersionNegotiation())
		if v, err := c.ServerVersion(t.Context()); err != nil || v.APIVersion != "1.44" || c.ClientVersion() != "1.44" {
			t.Errorf("%+v, %v", v, err)
		}
		running, err := c.ContainerInspect(t.Context(), b.id(t, "job"))
		if err != nil || !running.State.Running || running.Config.Labels[facts.LabelFamily] != "job" || running.Config.Image != "job:latest" || running.RestartCount != 0 {
			t.Errorf("%+v, %v", running, err)
		}
		time.Sleep(time.Minute)
		b.EndTasks("job")
		ended, err := c.ContainerInspect(t.Context(), running.Name)
		if err != nil || ended.State.Running || ended.State.Status != "exited" || ended.State.FinishedAt != time.Now().UTC().Format(time.RFC3339Nano) {
			t.Errorf("%+v, %v", ended.State, err)
		}
		for _, tc := range []struct {
			name string
			o    container.ListOptions
			want int
		}{
			{"those that run", container.ListOptions{}, 1},
			{"all", container.ListOptions{All: true}, 2},
			{"all with a label", container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", facts.LabelFamily+"=job"))}, 1},
			{"all with a key", container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", facts.LabelFamily))}, 2},
			{"none", container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "none"))}, 0},
		} {
			if got, err := c.ContainerList(t.Context(), tc.o); err != nil || len(got) != tc.want {
				t.Errorf("%s: %d, %v", tc.name, len(got), err)
			}
		}
		if err := c.ContainerStop(t.Context(), running.ID, container.StopOptions{}); err != nil {
			t.Errorf("the stop of a container that has ended: %v", err)
		}
		synctest.Wait()
		if calls := b.Calls(); calls[len(calls)-1].Status != http.StatusNotModified {
			t.Errorf("%+v", calls[len(calls)-1])
		}
		for says, call := range map[string]func() error{
			"No such container: none": func() error { _, err := c.ContainerInspect(t.Context(), "none"); return err },
			"invalid filter 'volume'": func() error {
				_, err := c.ContainerList(t.Context(), container.ListOptions{Filters: filters.NewArgs(filters.Arg("volume", "x"))})
				return err
			},
			"No such container: gone": func() error {
				return c.ContainerStop(t.Context(), "gone", container.StopOptions{})
			},
			"page not found":                  func() error { return c.ContainerPause(t.Context(), running.ID) },
			"client version 1.23 is too old.": func() error { _, err := b.engine(t, client.WithVersion("1.23")).Info(t.Context()); return err },
			"client version 1.45 is too new.": func() error { _, err := b.engine(t, client.WithVersion("1.45")).Info(t.Context()); return err },
		} {
			if err := call(); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%v, want %s", err, says)
			}
		}
	})
}

func TestDockerIsStoppedAndStarted(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		c := b.docker(t)
		s, err := sim.ParseScenario([]byte(`{state: {run_containers: [{name: monitor, labels: {a: b}}]}, steps: [{at: 0s, docker_running: false}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Apply(s.State); err != nil {
			t.Fatal(err)
		}
		watch := make(chan error)
		go func() { watch <- c.Watch(t.Context(), func() {}) }()
		synctest.Wait()
		if err := b.Play(t.Context(), s, nil); err != nil {
			t.Fatal(err)
		}
		if err := <-watch; !errors.Is(err, facts.ErrUnavailable) {
			t.Errorf("a watch: %v", err)
		}
		if _, err := c.Containers(t.Context()); !errors.Is(err, syscall.ECONNRESET) || !errors.Is(err, facts.ErrUnavailable) {
			t.Errorf("a list: %v", err)
		}
		b.SetDockerRunning(true)
		if got := b.running(t, c); got != "monitor" {
			t.Error(got)
		}
	})
}

func TestFaultsOfDocker(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		c := b.docker(t)
		id := b.RunContainer(sim.ContainerSpec{Name: "monitor"})
		if err := b.SetFault("docker/POST /containers/stop", sim.Fault{Kind: sim.FaultStatus, Status: http.StatusInternalServerError}); err != nil {
			t.Fatal(err)
		}
		if err := c.Stop(t.Context(), id, time.Second); !errors.Is(err, facts.ErrUnavailable) || !strings.Contains(err.Error(), "Internal Server Error") {
			t.Error(err)
		}
		want := map[string]int{"docker/HEAD /_ping": 1, "docker/POST /containers/stop": 1, "docker/GET /containers/json": 1}
		if diff := cmp.Diff(want, b.Counts()); diff != "" || len(b.Calls()) != 3 {
			t.Error(diff)
		}
	})
}
