package autoscaling_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/autoscaling"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestReportUnhealthy(t *testing.T) {
	for name, c := range map[string]struct {
		arrange func(w *sim.World)
		is      error
		says    string
		health  string
	}{
		"in a group":      {func(w *sim.World) { w.SetGroup("web") }, nil, "", "Unhealthy"},
		"in no group":     {func(*sim.World) {}, facts.ErrRefused, "ValidationError", ""},
		"no permission":   {func(w *sim.World) { w.SetGroup("web"); w.Deny("autoscaling:SetInstanceHealth") }, facts.ErrRefused, "must allow autoscaling:SetInstanceHealth", "Healthy"},
		"throttled":       {func(w *sim.World) { w.SetGroup("web"); fail(w, 429) }, facts.ErrUnavailable, "throttled", "Healthy"},
		"an ill endpoint": {func(w *sim.World) { w.SetGroup("web"); fail(w, 503) }, facts.ErrUnavailable, "503", "Healthy"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, n := sim.New(sim.Options{}), sim.NewNetwork()
				defer n.Close()
				if err := w.Connect(n); err != nil {
					t.Fatal(err)
				}
				c.arrange(w)
				config, err := awsapi.Config(awsapi.Options{Metadata: imds.New(imds.Options{Dial: n.DialContext}), Dial: n.DialContext})
				if err != nil {
					t.Fatal(err)
				}
				client := autoscaling.New(config, "http://ec2.eu-west-1.amazonaws.com")
				err = client.ReportUnhealthy(t.Context(), "eu-west-1", w.Instance().ID)
				if !errors.Is(err, c.is) || c.is != nil && !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, want %v with %q", err, c.is, c.says)
				}
				if w.Health() != c.health {
					t.Errorf("Auto Scaling holds it %q, want %q", w.Health(), c.health)
				}
			})
		})
	}
}

func fail(w *sim.World, status int) {
	if err := w.SetFault("autoscaling", sim.Fault{Kind: sim.FaultStatus, Status: status}); err != nil {
		panic(err)
	}
}
