package sim_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestWhatAStopComesTo(t *testing.T) {
	for name, tc := range map[string]struct {
		takes, timeout time.Duration
		want           string
	}{
		"it ends by itself":               {3 * time.Second, 10 * time.Second, "app SIGTERM 0s ended 3s"},
		"at once":                         {0, 10 * time.Second, "app SIGTERM 0s ended 0s"},
		"it is killed as time runs out":   {time.Hour, 10 * time.Second, "app SIGTERM 0s killed 10s"},
		"it ends in its very last moment": {10 * time.Second, 10 * time.Second, "app SIGTERM 0s ended 10s"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				b.SetRegistered("web")
				b.add(t, sim.TaskDefinition{Family: "app", StopTakes: tc.takes})
				start, c := time.Now(), b.docker(t)
				if err := c.Stop(t.Context(), b.id(t, "app"), tc.timeout); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took != min(tc.takes, tc.timeout) {
					t.Errorf("it took %v", took)
				}
				if got := b.ends(start); got != tc.want {
					t.Errorf("%s, want %s", got, tc.want)
				}
			})
		})
	}
}

func TestAStopGoesOnWithoutItsClient(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		b.add(t, sim.TaskDefinition{Family: "app", StopTakes: 5 * time.Second})
		start, c := time.Now(), b.docker(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Stop(ctx, b.id(t, "app"), time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		synctest.Wait()
		if calls := b.Calls(); len(calls) != 2 || calls[1].Status != 0 || calls[1].Duration != time.Second {
			t.Errorf("the call still waits: %+v", calls)
		}
		time.Sleep(time.Minute)
		if got := b.ends(start) + ", " + b.statuses(); got != "app SIGTERM 0s ended 5s, app STOPPED" {
			t.Error(got)
		}
	})
}

func TestTheFirstOfSeveralEndsHolds(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		id, start, c := b.RunContainer(sim.ContainerSpec{Name: "monitor", StopTakes: time.Hour}), time.Now(), b.docker(t)
		for _, timeout := range []time.Duration{10 * time.Minute, 30 * time.Second, 2 * time.Minute} {
			go func() {
				if err := c.Stop(t.Context(), id, timeout); err != nil || time.Since(start) != 35*time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			}()
			if timeout == 10*time.Minute {
				time.Sleep(5 * time.Second)
			}
		}
		time.Sleep(time.Minute)
		if got := b.ends(start); got != "monitor SIGTERM 0s killed 35s" {
			t.Error(got)
		}
	})
}

func TestATaskEndsWithItsEssentialContainerOnly(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		start, c := time.Now(), b.docker(t)
		b.add(t, sim.TaskDefinition{Family: "app", StopTakes: 5 * time.Second, Sidecars: []string{"router", "mesh"}})
		if err := c.Stop(t.Context(), b.id(t, "mesh"), time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := b.statuses() + ", " + b.running(t, c); got != "app RUNNING, app/app app/router" {
			t.Error(got)
		}
		stopped := make(chan error)
		go func() { stopped <- c.Stop(t.Context(), b.id(t, "app"), time.Minute) }()
		time.Sleep(4 * time.Second)
		if got := b.statuses(); got != "app RUNNING" {
			t.Errorf("while its container ends: %s", got)
		}
		if err := <-stopped; err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if got := b.statuses() + ", " + b.running(t, c); got != "app DEPROVISIONING→STOPPED, " {
			t.Error(got)
		}
		if got := b.ECSTasks()[0]; got.StopCode != "EssentialContainerExited" {
			t.Errorf("%+v", got)
		}
		if got, want := b.ends(start), "app SIGTERM 0s ended 5s, router SIGTERM 5s ended 5s, mesh SIGTERM 0s ended 0s"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestATaskThatWasToldToStopKeepsItsReason(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		arn := b.SetRegistered("web")
		start := time.Now()
		err := b.SetService(sim.Service{Name: "web", DeregistrationDelay: time.Minute, MinimumHealthyPercent: new(0), Task: sim.TaskDefinition{StopTakes: 2 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		b.drain(t, arn)
		if err := b.docker(t).Stop(t.Context(), b.id(t, "web"), time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := b.statuses() + " " + b.ECSTasks()[0].StopCode; got != "web STOPPED ServiceSchedulerInitiated" {
			t.Error(got)
		}
		if got := b.ends(start); got != "web SIGTERM 0s ended 2s" {
			t.Error(got)
		}
	})
}

func TestHowECSStopsContainers(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		arn, start := b.SetRegistered("web"), time.Now()
		for _, s := range []sim.Service{
			{Name: "soft", DeregistrationDelay: time.Minute, Task: sim.TaskDefinition{StopTakes: 5 * time.Second, Sidecars: []string{"router"}}},
			{Name: "stubborn", Task: sim.TaskDefinition{StopTakes: time.Hour}},
			{Name: "new", Task: sim.TaskDefinition{StartTakes: time.Hour}},
		} {
			s.MinimumHealthyPercent = new(0)
			if err := b.SetService(s); err != nil {
				t.Fatal(err)
			}
		}
		b.drain(t, arn)
		time.Sleep(2 * time.Hour)
		want := "soft SIGTERM 1m0s ended 1m5s, router SIGTERM 1m5s ended 1m5s, stubborn SIGTERM 0s killed 30s"
		if got := b.ends(start); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestAnAgentThatIsDownNeitherStopsNorTells(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		arn, start, c := b.SetRegistered("web"), time.Now(), b.docker(t)
		if err := b.SetService(sim.Service{Name: "web", MinimumHealthyPercent: new(0), Task: sim.TaskDefinition{StopTakes: time.Second}}); err != nil {
			t.Fatal(err)
		}
		b.add(t, sim.TaskDefinition{Family: "app", Sidecars: []string{"router"}})
		b.SetAgentRunning(false)
		b.drain(t, arn)
		if err := c.Stop(t.Context(), b.id(t, "app"), time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := b.statuses() + ", " + b.running(t, c); got != "web STOPPING→STOPPED, app RUNNING, app/router web/web" {
			t.Error(got)
		}
		b.SetAgentRunning(true)
		time.Sleep(2 * time.Second)
		if got := b.statuses() + ", " + b.running(t, c); got != "web STOPPED, app STOPPED, " {
			t.Error(got)
		}
		if got, want := b.ends(start), "web SIGTERM 1m0s ended 1m1s, app SIGTERM 0s ended 0s, router SIGTERM 1m0s ended 1m0s"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestTheInstanceEndsUnderItsContainers(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		start := time.Now()
		b.add(t, sim.TaskDefinition{Family: "app", StopTakes: time.Minute, Sidecars: []string{"router"}})
		b.RunContainer(sim.ContainerSpec{Name: "monitor"})
		c := b.docker(t)
		failed := make(chan error)
		go func() { failed <- c.Stop(t.Context(), b.id(t, "app"), 30*time.Second) }()
		time.Sleep(10 * time.Second)
		b.PowerOff()
		if err := <-failed; !errors.Is(err, facts.ErrUnavailable) {
			t.Errorf("the stop of a container: %v", err)
		}
		want := "app SIGTERM 0s killed 10s, router killed 10s, monitor killed 10s"
		if got := b.ends(start); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if ci, _ := b.ContainerInstance(); ci.Connected || b.statuses() != "app RUNNING" {
			t.Errorf("ECS has %+v with %s", ci, b.statuses())
		}
	})
}
