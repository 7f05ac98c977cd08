package sim_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestAWatchHearsOfStartsAndEndsAsTheyHappen(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		start, c := time.Now(), b.docker(t)
		var heard []string
		hears := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := strings.Join(heard, " "); got != strings.Join(want, " ") {
				t.Errorf("%s: %s, want %s", what, got, strings.Join(want, " "))
			}
			heard = nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Watch(ctx, func() { heard = append(heard, time.Since(start).String()) }) }()
		synctest.Wait()
		b.RunContainer(sim.ContainerSpec{Name: "monitor"})
		b.RunContainer(sim.ContainerSpec{Name: "backup"})
		hears("two containers in one instant", "0s", "0s")
		err := b.SetService(sim.Service{
			Name: "web", MinimumHealthyPercent: new(0), ReplacementTakes: 10 * time.Second,
			Task: sim.TaskDefinition{StartTakes: 2 * time.Second, StopTakes: 3 * time.Second},
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		hears("a task that nobody asks after", "2s")
		b.EndTasks("web")
		time.Sleep(time.Minute)
		hears("one whose service replaces it", "1m0s", "1m10s")
		b.SetContainerInstanceStatus(facts.StatusDraining)
		time.Sleep(time.Minute)
		hears("a drain", "2m3s")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		synctest.Wait()
		for _, call := range b.Calls() {
			if call.Operation == "GET /events" && call.Duration != time.Since(start) {
				t.Errorf("the stream of a client that is gone goes on: %+v", call)
			}
		}
	})
}

func TestEventsCarryWhatDockerSaysOfContainers(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		b.RunContainer(sim.ContainerSpec{Name: "before"})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := b.engine(t, client.WithAPIVersionNegotiation())
		messages, failed := c.Events(ctx, events.ListOptions{Filters: filters.NewArgs(filters.Arg("type", "container"))})
		b.add(t, sim.TaskDefinition{Family: "app", StartTakes: 4 * time.Second, StopTakes: time.Hour})
		start := time.Now()
		time.AfterFunc(6*time.Second, func() {
			_ = c.ContainerStop(t.Context(), b.id(t, "app"), container.StopOptions{Timeout: new(3)})
		})
		time.AfterFunc(20*time.Second, func() { _ = b.RemoveContainer("before") })
		for _, want := range []string{
			"4s create app", "4s start app", "6s kill app 15", "9s kill app 9", "9s die app 137", "9s stop app",
			"20s kill before 9", "20s die before 137", "20s destroy before",
		} {
			var m events.Message
			select {
			case m = <-messages:
			case err := <-failed:
				t.Fatalf("%v instead of %s", err, want)
			}
			a := m.Actor.Attributes
			name := cmp.Or(a[facts.LabelFamily], a["name"])
			got := strings.TrimSpace(fmt.Sprintf("%v %s %s %s", time.Since(start), m.Action, name, a["signal"]+a["exitCode"]))
			if got != want || m.Type != "container" || m.TimeNano != time.Now().UnixNano() {
				t.Errorf("%s at %d, want %s", got, m.TimeNano, want)
			}
		}
	})
}
