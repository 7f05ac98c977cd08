package docker_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/docker"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// bubble is a simulated node in virtual time, with a container that takes an
// hour to stop.
func bubble(t *testing.T, f func(t *testing.T, w *sim.World, c *docker.Client, id string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, network := sim.New(sim.Options{}), sim.NewNetwork()
		defer network.Close()
		if err := w.Connect(network); err != nil {
			t.Fatal(err)
		}
		c, err := docker.New(func(ctx context.Context, _, _ string) (net.Conn, error) {
			return network.DialContext(ctx, "unix", docker.Socket)
		})
		if err != nil {
			t.Fatal(err)
		}
		f(t, w, c, w.RunContainer(sim.ContainerSpec{Name: "busy", StopTakes: time.Hour}))
	})
}

func TestHowLongAStopWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		fault sim.Fault
		is    error
		took  time.Duration
	}{
		"for the container":                        {sim.Fault{Latency: time.Nanosecond}, nil, 30*time.Second + time.Nanosecond},
		"no longer than the container and a grace": {sim.Fault{Kind: sim.FaultHang}, facts.ErrUnavailable, 40 * time.Second},
		"what an engine that breaks off has done":  {sim.Fault{Kind: sim.FaultReset, Processed: true}, nil, 30 * time.Second},
		"not for an engine that refuses":           {sim.Fault{Kind: sim.FaultStatus, Status: 500}, facts.ErrUnavailable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *sim.World, c *docker.Client, id string) {
				if err := w.SetFault("docker/POST /containers/stop", tc.fault); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				err := c.Stop(t.Context(), id, 30*time.Second)
				if !errors.Is(err, tc.is) || time.Since(start) != tc.took {
					t.Errorf("%v after %v, want %v after %v", err, time.Since(start), tc.is, tc.took)
				}
				if killed := w.Containers()[0].Killed; killed != (tc.is == nil) {
					t.Errorf("killed: %v", killed)
				}
			})
		})
	}
}
