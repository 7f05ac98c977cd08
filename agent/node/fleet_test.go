//go:build !race

package node_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/nodetasks"
	"github.com/ecsnode/ecsnode/agent/duties/readiness"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/docker"
	"github.com/ecsnode/ecsnode/agent/host/ecs"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/host/introspection"
	"github.com/ecsnode/ecsnode/agent/sim"
	"github.com/ecsnode/ecsnode/agent/when"
)

// fleetSize is how many nodes start in the same minute.
const fleetSize = 2000

// A fleet that starts at once shares the account's rate of requests. Each node
// is here what deals with its node tasks, over real clients.
func TestTwoThousandNodesThatStartInOneMinuteRunOneOfEachNodeTask(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute of CPU")
	}
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := sim.New(sim.Options{})
		w.EnableThrottle(true)
		shared := sim.NewNetwork()
		defer shared.Close()
		if err := w.Connect(shared); err != nil {
			t.Fatal(err)
		}
		for _, family := range []string{"logspout", "datadog"} {
			w.AddTaskDefinition(sim.TaskDefinition{Family: family, StartTakes: 5 * time.Second})
		}
		authority, err := w.Authority()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var nodes sync.WaitGroup
		began := time.Now()
		for i := range fleetSize {
			n, err := w.AddNode(sim.Instance{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			n.SetRegistered("web")
			own := sim.NewNetwork()
			defer own.Close()
			for at, handler := range map[string]func() error{
				"imds":  func() error { return own.Serve("169.254.169.254:80", n.IMDS()) },
				"agent": func() error { return own.Serve("localhost:51678", n.Introspection()) },
				"dock":  func() error { return own.Serve(docker.Socket, n.Docker()) },
			} {
				if err := handler(); err != nil {
					t.Fatal(at, err)
				}
			}
			nodes.Go(func() {
				time.Sleep(time.Minute * time.Duration(i) / fleetSize)
				runFleetNode(ctx, t, n, own, shared, authority.PEM())
			})
		}
		within := func(d time.Duration) (both, more int) {
			time.Sleep(time.Until(began.Add(d)))
			tasks := map[string]int{}
			for _, task := range w.ECSTasks() {
				if task.Last != facts.TaskStopped {
					tasks[task.ContainerInstance+" "+task.Family]++
				}
			}
			for _, n := range tasks {
				if n > 1 {
					more++
				}
			}
			return len(tasks), more
		}
		for _, at := range []time.Duration{2 * time.Minute, 4 * time.Minute, 8 * time.Minute} {
			tasks, more := within(at)
			t.Logf("after %v: %d of %d node tasks, %d calls of ECS (%.1f a node), %d of them throttled",
				at, tasks, 2*fleetSize, w.Count("ecs"), float64(w.Count("ecs"))/fleetSize, throttled(w))
			if more > 0 {
				t.Errorf("after %v: %d node tasks run more than once", at, more)
			}
			if at >= 8*time.Minute && tasks != 2*fleetSize {
				t.Errorf("%d node tasks are missing after %v", 2*fleetSize-tasks, at)
			}
		}
		if starts := w.Count("ecs/StartTask"); starts < 2*fleetSize {
			t.Errorf("%d calls of StartTask", starts)
		}
		cancel()
		nodes.Wait()
	})
}

func throttled(w *sim.World) (n int) {
	for _, c := range w.Calls() {
		if c.Service == "ecs" && c.Status == 400 {
			n++
		}
	}
	return n
}

func runFleetNode(ctx context.Context, t *testing.T, n *sim.Node, own, shared *sim.Network, ca []byte) {
	disk, err := fsx.Open(t.TempDir())
	if err != nil {
		t.Error(err)
		return
	}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasPrefix(addr, "169.254.") || strings.HasPrefix(addr, "localhost:") {
			return own.DialContext(ctx, network, addr)
		}
		return shared.DialContext(ctx, network, addr)
	}
	api, err := awsapi.Config(awsapi.Options{Metadata: imds.New(imds.Options{Dial: dial}), Dial: dial, ExtraRoots: ca})
	if err != nil {
		t.Error(err)
		return
	}
	engine, err := docker.New(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return own.DialContext(ctx, "unix", docker.Socket)
	})
	if err != nil {
		t.Error(err)
		return
	}
	client := ecs.New(api, "http://ecs."+n.Instance().Region+".amazonaws.com") // TLS would be most of the test
	id := n.Instance().ID
	ci, _ := n.ContainerInstance()
	config := nodetasks.Default()
	config.Tasks = map[string]nodetasks.Task{"logspout": {Definition: "logspout:1"}, "datadog": {Definition: "datadog:1"}}
	tasks := cell.New(func(a, b []facts.NodeTask) bool { return false })
	entries := []duty.Entry{{
		Duty: &nodetasks.Duty{
			FS: disk, ID: id, Config: known(config), Instance: known(facts.Instance{ID: id, Region: n.Instance().Region}), Cluster: known("web"),
			Registration: known(facts.ContainerInstance{ARN: ci.ARN, Cluster: "web"}), Drains: known(false), Whole: known(true),
			ECS: client, Agent: introspection.New(introspection.Options{Dial: dial}), Docker: engine, Tasks: tasks,
		},
		When: when.Every(time.Minute), Timeout: time.Minute, Gap: 50 * time.Millisecond,
		Retry: duty.Retry{Min: time.Second, Max: time.Minute},
	}, {
		Duty: &readiness.Duty{
			FS: disk, Config: known(readiness.Default()), Effective: known(""), Registration: known(facts.ContainerInstance{ARN: ci.ARN, Cluster: "web"}),
			Identity: known(time.Now()), Tasks: tasks, Drains: known(false), ECS: client,
		},
		When: when.Every(time.Minute), On: []cell.Waker{tasks}, Timeout: 20 * time.Second, Gap: 200 * time.Millisecond,
		Retry: duty.Retry{Max: time.Minute},
	}}
	(&duty.Engine{ID: id, Log: slog.New(slog.DiscardHandler)}).Run(ctx, entries)
}
