package docker_test

import (
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/docker"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// What has ended of a task is told and removed, and nothing else ever is.
func TestWhatIsLeftOfATask(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *docker.Client, busy string) {
		w.SetRegistered("web")
		start := func(d sim.TaskDefinition) string {
			t.Helper()
			arn, err := w.AddTask(d, "")
			if err != nil {
				t.Fatal(err)
			}
			return arn
		}
		done := start(sim.TaskDefinition{Family: "report", RunsFor: time.Second, ExitCode: 3, Sidecars: []string{"log_router"}})
		other := start(sim.TaskDefinition{Family: "report", RunsFor: time.Second})
		runs := start(sim.TaskDefinition{Family: "web"})
		time.Sleep(time.Minute)
		for arn, want := range map[string]facts.Ended{
			done: {ExitStatus: 3, Output: "report\n", Containers: 2}, other: {Output: "report\n", Containers: 1}, runs: {}, "": {},
		} {
			if got, err := c.Ended(t.Context(), arn); got != want || err != nil {
				t.Errorf("%s: %+v, %v, want %+v", arn, got, err, want)
			}
		}
		for _, arn := range []string{done, done, runs, ""} { // the second time they are gone
			if err := c.RemoveEnded(t.Context(), arn); err != nil {
				t.Error(err)
			}
		}
		if got, err := c.Ended(t.Context(), done); got != (facts.Ended{}) || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
		if got, _ := c.Ended(t.Context(), other); got.Containers != 1 {
			t.Error("a container of another task was removed")
		}
		left, err := c.Containers(t.Context())
		if err != nil || len(left) != 2 || left[0].ID != busy && left[1].ID != busy {
			t.Errorf("%+v, %v", left, err)
		}
	})
}
