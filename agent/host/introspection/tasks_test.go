package introspection_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sim.New(sim.Options{})
		w.SetRegistered("web")
		c := serve(t, w.Introspection())
		if got, err := c.Tasks(t.Context()); err != nil || len(got) != 0 {
			t.Fatalf("a node without tasks: %+v, %v", got, err)
		}
		err := w.SetService(sim.Service{
			Name: "site", Task: sim.TaskDefinition{StopTakes: 10 * time.Second}, DeregistrationDelay: time.Minute, MinimumHealthyPercent: new(0),
		})
		if err != nil {
			t.Fatal(err)
		}
		pending, err := w.AddTask(sim.TaskDefinition{Family: "batch", StartTakes: time.Hour}, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.AddTask(sim.TaskDefinition{Family: "done"}, ""); err != nil {
			t.Fatal(err)
		}
		w.EndTasks("done")
		site := w.ECSTasks()[0].ARN
		start := time.Now()
		for _, m := range []struct {
			after time.Duration
			site  string
		}{{40 * time.Minute, "RUNNING"}, {41 * time.Minute, "STOPPED"}, {41*time.Minute + 10*time.Second, ""}} {
			time.Sleep(time.Until(start.Add(m.after)))
			w.SetContainerInstanceStatus(facts.StatusDraining)
			got, err := c.Tasks(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := []facts.Task{{ARN: pending, Family: "batch", Revision: 1, Last: "PENDING", Desired: "RUNNING"}}
			if m.site != "" {
				want = append(want, facts.Task{ARN: site, Family: "site", Revision: 1, Last: "RUNNING", Desired: m.site})
			}
			slices.SortFunc(want, func(a, b facts.Task) int { return strings.Compare(a.ARN, b.ARN) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("after %v: %s", m.after, diff)
			}
		}
	})
}

func TestARevisionThatIsNoNumberIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const body = `{"Tasks":[{"Arn":"a","Family":"f","Version":"latest","KnownStatus":"RUNNING"},{"Arn":"b","Family":"f","Version":"12","KnownStatus":"RUNNING"}]}`
		got, err := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })).Tasks(t.Context())
		want := []facts.Task{{ARN: "a", Family: "f", Last: "RUNNING"}, {ARN: "b", Family: "f", Revision: 12, Last: "RUNNING"}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v, %s", err, diff)
		}
	})
}

func TestTasksThatCannotBeRead(t *testing.T) {
	for name, tc := range map[string]struct{ body, says string }{
		"the list of commands that another path is answered with": {
			`{"AvailableCommands":["/v1/metadata","/v1/tasks","/license"]}`,
			`not an agent's answer: {"AvailableCommands":["/v1/metadata","/v1/tasks","/license"]}`,
		},
		"no JSON":               {"<html>", "not an agent's answer: <html>"},
		"null":                  {"null", "not an agent's answer: null"},
		"tasks of another type": {`{"Tasks":{}}`, `not an agent's answer: {"Tasks":{}}`},
		"a null task":           {`{"Tasks":[null]}`, "it has a task without ARN or status"},
		"a task without status": {`{"Tasks":[{"Arn":"a"}]}`, "it has a task without ARN or status"},
		"a long ARN":            {`{"Tasks":[{"Arn":"` + strings.Repeat("a", 401) + `","KnownStatus":"RUNNING"}]}`, "it has a task without ARN or status"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, tc.body) })).Tasks(t.Context())
				checkErrorAt(t, "tasks", err, facts.ErrUnavailable, "unavailable: "+tc.says)
			})
		})
	}
}

func TestTasksOfAnAgentThatIsIll(t *testing.T) {
	for name, tc := range map[string]struct {
		fault sim.Fault
		says  string
	}{
		"a hang":             {sim.Fault{Kind: sim.FaultHang}, "no answer within 2s"},
		"500":                {sim.Fault{Kind: sim.FaultStatus, Status: 500}, "HTTP status 500"},
		"a truncated answer": {sim.Fault{Kind: sim.FaultTruncate}, "the answer was cut short"},
		"10 MB":              {sim.Fault{Kind: sim.FaultHuge, Size: 10 << 20}, "the answer is longer than 8192 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := sim.New(sim.Options{})
				w.SetRegistered("web")
				if err := w.SetFault("introspection/v1/tasks", tc.fault); err != nil {
					t.Fatal(err)
				}
				_, err := serve(t, w.Introspection()).Tasks(t.Context())
				checkErrorAt(t, "tasks", err, facts.ErrUnavailable, "unavailable: "+tc.says)
			})
		})
	}
}
