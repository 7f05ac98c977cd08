package imds_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestNoticesAreRead(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		at := time.Now().UTC().Add(2 * time.Minute).Truncate(time.Second)
		for _, action := range []string{"terminate", "stop", "hibernate"} {
			w.SetSpotInterruption(action, at)
			if got, err := c.SpotAction(t.Context()); err != nil || got.Action != action || !got.Time.Equal(at) {
				t.Errorf("%+v, %v", got, err)
			}
		}
		w.SetRebalanceRecommendation(at)
		if got, err := c.Rebalance(t.Context()); err != nil || !got.Equal(at) {
			t.Errorf("%v, %v", got, err)
		}
		for _, state := range []string{"InService", "Terminated", "Warmed:Stopped"} {
			w.SetTargetLifecycleState(state)
			if got, err := c.TargetLifecycleState(t.Context()); err != nil || got != state {
				t.Errorf("%q, %v", got, err)
			}
		}
		if got, err := c.Maintenance(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		w.SetScheduledEvents([]sim.ScheduledEvent{
			{Code: "system-reboot", EventID: "b", State: "active", Description: "scheduled reboot", NotBefore: at, NotAfter: at.Add(time.Hour)},
			{Code: "instance-stop", EventID: "a", State: "completed", NotBefore: at},
		})
		got, err := c.Maintenance(t.Context())
		want := []facts.Maintenance{
			{Code: "instance-stop", ID: "a", State: "completed", NotBefore: at},
			{Code: "system-reboot", ID: "b", State: "active", Description: "scheduled reboot", NotBefore: at, NotAfter: at.Add(time.Hour)},
		}
		for i := range got {
			got[i].Description = want[i].Description // the simulator words the one without
		}
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%v, %v", cmp.Diff(want, got), err)
		}
	})
}

// Each of the four, by where it is.
var notices = map[string]func(t *testing.T, c *imds.Client) error{
	"spot/instance-action": func(t *testing.T, c *imds.Client) error {
		_, err := c.SpotAction(t.Context())
		return err
	},
	"events/recommendations/rebalance": func(t *testing.T, c *imds.Client) error {
		_, err := c.Rebalance(t.Context())
		return err
	},
	"autoscaling/target-lifecycle-state": func(t *testing.T, c *imds.Client) error {
		_, err := c.TargetLifecycleState(t.Context())
		return err
	},
	"events/maintenance/scheduled": func(t *testing.T, c *imds.Client) error {
		_, err := c.Maintenance(t.Context())
		return err
	},
}

func TestNoNoticeIsAbsence(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, _ *sim.World, c *imds.Client) {
		for path, read := range notices {
			err := read(t, c)
			if path == "events/maintenance/scheduled" {
				if err != nil {
					t.Errorf("%s: %v", path, err)
				}
				continue
			}
			checkError(t, err, facts.ErrAbsent, "cannot read meta-data/"+path+": absent…")
		}
	})
}

func TestANoticeThatCannotBeReadIsNotAbsent(t *testing.T) {
	for name, f := range map[string]struct {
		fault sim.Fault
		is    error
	}{
		"503":     {sim.Fault{Kind: sim.FaultStatus, Status: 503}, facts.ErrUnavailable},
		"401":     {sim.Fault{Kind: sim.FaultStatus, Status: 401}, facts.ErrRefused},
		"garbage": {sim.Fault{Kind: sim.FaultGarbage}, facts.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
				at := time.Now().UTC().Add(2 * time.Minute)
				w.SetSpotInterruption("terminate", at)
				w.SetRebalanceRecommendation(at)
				w.SetTargetLifecycleState("Terminated")
				for path, read := range notices {
					if err := read(t, c); err != nil {
						t.Fatal(err)
					}
					fault(t, w, "imds/meta-data/"+path, f.fault)
					checkError(t, read(t, c), f.is, "cannot read meta-data/"+path+": …")
				}
			})
		})
	}
}

func TestAnAnnouncementOfAnotherActionIsNotNone(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		w.SetSpotInterruption("explode", time.Now())
		_, err := c.SpotAction(t.Context())
		checkError(t, err, facts.ErrUnavailable, "cannot read meta-data/spot/instance-action: unavailable: it makes no sense: {…")
	})
}

// event is events/maintenance/scheduled with one event, some of it replaced.
func event(replace ...string) string {
	return strings.NewReplacer(replace...).Replace(`[{"NotBefore": "21 Jan 2027 09:00:43 GMT", "Code": "system-reboot", "Description": "scheduled reboot",
		"EventId": "instance-event-0d59937288b749b32", "NotAfter": "21 Jan 2027 09:17:23 GMT", "State": "active"}]`)
}

func TestANoticeThatMakesNoSenseIsNotAbsent(t *testing.T) {
	for path, bodies := range map[string][]string{
		"spot/instance-action": {
			"", "{}", "null", `{"action": "terminate"}`, `{"action": "terminate", "time": "soon"}`, `{"action": "terminate", "time": "2027-01-21 09:00:43"}`,
			`{"time": "2027-01-21T09:00:43Z"}`, `{"action": "TERMINATE", "time": "2027-01-21T09:00:43Z"}`, "<html><body>It works</body></html>",
		},
		"events/recommendations/rebalance":   {"", "{}", `{"noticeTime": ""}`, `{"noticeTime": "now"}`, "[]"},
		"autoscaling/target-lifecycle-state": {"", "\n", "<html><body>It works</body></html>", "InService\nTerminated", `{"state": "InService"}`},
		"events/maintenance/scheduled": {
			"", "{}", "none", event("21 Jan 2027 09:00:43 GMT", ""), event("21 Jan 2027 09:00:43 GMT", "2027-01-21T09:00:43Z"),
			event("21 Jan 2027 09:17:23 GMT", "later"), event("system-reboot", ""),
		},
	} {
		for _, body := range bodies {
			t.Run(path+" "+body, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &script{token: "good", bodies: map[string]string{"/latest/meta-data/" + path: body}}
					checkError(t, notices[path](t, serve(t, s)), facts.ErrUnavailable, "cannot read meta-data/"+path+": unavailable: it makes no sense: …")
				})
			})
		}
	}
}

func TestAnEventAsEC2WritesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{token: "good", bodies: map[string]string{"/latest/meta-data/events/maintenance/scheduled": event("21 Jan 2027 09:17:23 GMT", "")}}
		got, err := serve(t, s).Maintenance(t.Context())
		want := []facts.Maintenance{{
			ID: "instance-event-0d59937288b749b32", Code: "system-reboot", State: "active", Description: "scheduled reboot",
			NotBefore: time.Date(2027, 1, 21, 9, 0, 43, 0, time.UTC),
		}}
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%v, %v", cmp.Diff(want, got), err)
		}
	})
}
