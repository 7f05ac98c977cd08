package sim_test

import (
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestIntrospectionOverTheLifeOfAnAgent(t *testing.T) {
	inBubble(t, sim.Options{Seed: 1}, func(t *testing.T, b bubble) {
		metadata := func() seen { return see(t.Context(), b.http, "GET", "http://localhost:51678/v1/metadata") }
		if s := metadata(); !errors.Is(s.err, syscall.ECONNRESET) {
			t.Errorf("before the agent runs: %d, %v", s.status, s.err)
		}
		b.SetAgentRunning(true)
		want := `{"Cluster":"","ContainerInstanceArn":null,"Version":"Amazon ECS Agent - v1.108.2 (9f3c0e5a)"}`
		if diff := cmp.Diff(want, string(metadata().body)); diff != "" {
			t.Errorf("before registration: %s", diff)
		}
		arn := b.SetRegistered("web")
		want = `{"Cluster":"web","ContainerInstanceArn":"` + arn + `","Version":"Amazon ECS Agent - v1.108.2 (9f3c0e5a)"}`
		if diff := cmp.Diff(want, string(metadata().body)); diff != "" {
			t.Errorf("registered: %s", diff)
		}
		const spelling = "arn:aws:ecs:eu-west-1:123456789012:cluster/web"
		arn = b.SetRegistered(spelling)
		want = `{"Cluster":"` + spelling + `","ContainerInstanceArn":"` + arn + `","Version":"Amazon ECS Agent - v1.108.2 (9f3c0e5a)"}`
		if diff := cmp.Diff(want, string(metadata().body)); diff != "" {
			t.Errorf("registered by an ARN: %s", diff)
		}
		if ci, _ := b.ContainerInstance(); ci.Cluster != "web" || !strings.Contains(arn, ":container-instance/web/") {
			t.Errorf("ECS shows %+v of a node registered by an ARN", ci)
		}
		b.SetAgentRunning(false)
		if s := metadata(); s.err == nil {
			t.Errorf("a stopped agent answered %d", s.status)
		}
		if ci, registered := b.ContainerInstance(); !registered || ci.Connected {
			t.Errorf("ECS shows %+v of a stopped agent", ci)
		}
		b.Deregister()
		if _, registered := b.ContainerInstance(); registered {
			t.Error("still registered")
		}
	})
}

func TestIntrospectionTasks(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		b.SetTasks([]sim.Task{
			{ARN: "arn:1", KnownStatus: "RUNNING", Family: "app", Containers: []sim.Container{{DockerID: "aaaabbbbccccdddd", Name: "app"}}},
			{ARN: "arn:2", KnownStatus: "STOPPED", Family: "log", Containers: []sim.Container{{DockerID: "aaaaeeeeffff0000", Name: "log"}}},
		})
		for _, tc := range []struct {
			name, query string
			status      int
			arn         string
		}{
			{"by ARN", "?taskarn=arn:2", 200, "arn:2"},
			{"by ARN that is not there", "?taskarn=arn:3", 404, ""},
			{"by container", "?dockerid=aaaabbbbccccdddd", 200, "arn:1"},
			{"by short id", "?dockerid=aaaab", 200, "arn:1"},
			{"by ambiguous short id", "?dockerid=aaaa", 400, ""},
			{"by a long id that is not whole", "?dockerid=aaaabbbbccccd", 404, ""},
			{"by both", "?dockerid=aaaab&taskarn=arn:1", 400, ""},
		} {
			s := see(t.Context(), b.http, "GET", "http://localhost:51678/v1/tasks"+tc.query)
			var task struct{ Arn string }
			if err := json.Unmarshal(s.body, &task); err != nil || s.status != tc.status || task.Arn != tc.arn {
				t.Errorf("%s: %d %s", tc.name, s.status, s.body)
			}
		}
		var all struct{ Tasks []struct{ Arn string } }
		s := see(t.Context(), b.http, "GET", "http://localhost:51678/v1/tasks")
		if err := json.Unmarshal(s.body, &all); err != nil || len(all.Tasks) != 2 {
			t.Errorf("all: %s", s.body)
		}
		if s := see(t.Context(), b.http, "GET", "http://localhost:51678/v1/nonsense"); s.status != 200 ||
			string(s.body) != `{"AvailableCommands":["/v1/metadata","/v1/tasks","/license"]}` {
			t.Errorf("unknown path: %d %s", s.status, s.body)
		}
	})
}
