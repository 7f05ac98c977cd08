package registration_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/registration"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/host/introspection"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const (
	id      = "i-0123456789abcdef0"
	otherID = "i-0fedcba9876543210"

	file    = "/var/lib/ecsnode/registration.json"
	agentDB = "/var/lib/ecs/data/agent.db"

	refused = "cannot ask the ECS agent at http://localhost:51678/v1/metadata: unavailable: connection refused"
	reset   = "cannot ask the ECS agent at http://localhost:51678/v1/metadata: unavailable: connection reset by peer"
	stays   = "the ECS agent gives no answer to go by; it was last registered in web: "
	unseen  = "the ECS agent has state of a registration that ecsnode has not seen; ECS_CLUSTER may not fit it"
)

// machine is a simulated node with a disk, on which the duty runs.
type machine struct {
	*sim.World
	t       *testing.T
	network *sim.Network
	root    string

	// Of the running agent; start makes new ones.
	instance  *cell.Cell[facts.Instance]
	duty      *registration.Duty
	published *cell.Cell[facts.ContainerInstance]
}

// bubble runs f on a node that knows what it is, whose ECS agent has never run.
func bubble(t *testing.T, f func(t *testing.T, m *machine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{World: sim.New(sim.Options{}), t: t, network: sim.NewNetwork(), root: t.TempDir()}
		t.Cleanup(func() { _ = m.network.Close() })
		if err := m.network.Serve("localhost:51678", m.Introspection()); err != nil {
			t.Fatal(err)
		}
		m.start(id)
		f(t, m)
	})
}

// start starts a new ecsnode that takes the machine for this instance, or does
// not know which it is.
func (m *machine) start(id string) {
	m.t.Helper()
	files, err := fsx.Open(m.root)
	if err != nil {
		m.t.Fatal(err)
	}
	m.instance = cell.New(facts.Instance.Equal)
	if id != "" {
		m.know(id)
	}
	m.published = cell.Comparable[facts.ContainerInstance]()
	m.duty = &registration.Duty{
		FS: files, Agent: introspection.New(introspection.Options{Dial: m.network.DialContext}),
		Instance: m.instance, Registration: m.published,
	}
}

// know lets ecsnode find out which instance this is.
func (m *machine) know(id string) {
	is := m.Instance()
	m.instance.Set(facts.Instance{ID: id, Region: is.Region, AccountID: is.Account})
}

func (m *machine) pass() (duty.Outcome, error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Second)
	defer cancel()
	return m.duty.Reconcile(ctx)
}

// good makes a pass that must succeed, and compares summary and warnings.
func (m *machine) good(summary string, warnings ...string) {
	m.t.Helper()
	out, err := m.pass()
	if err != nil {
		m.t.Fatal(err)
	}
	want := duty.Outcome{Summary: summary, Warnings: warnings}
	if diff := cmp.Diff(want, out); diff != "" {
		m.t.Error(diff)
	}
}

func (m *machine) wantCluster(cluster string) {
	m.t.Helper()
	if got, ok := m.published.Get(); !ok || got.Cluster != cluster || got.Registered() != (cluster != "") {
		m.t.Errorf("published %v %+v, want cluster %q", ok, got, cluster)
	}
}

func (m *machine) write(name, content string) {
	m.t.Helper()
	at := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) remove(name string) {
	m.t.Helper()
	if err := os.Remove(filepath.Join(m.root, name)); err != nil {
		m.t.Fatal(err)
	}
}

// register lets the ECS agent register in web, and the duty see it.
func (m *machine) register() {
	m.t.Helper()
	m.SetRegistered("web")
	m.write(agentDB, "state")
	m.good("registered in web, ECS agent " + m.agentVersion())
	m.wantCluster("web")
}

func (m *machine) agentVersion() string {
	m.t.Helper()
	found, err := introspection.New(introspection.Options{Dial: m.network.DialContext}).ContainerInstance(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return found.AgentVersion
}

func TestANodeBeforeItsFirstRegistration(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.good("not registered: " + reset) // the simulated port of an agent that does not run
		m.wantCluster("")
		m.SetAgentRunning(true)
		m.good("not registered: the ECS agent runs and is not registered")
		m.wantCluster("")
		m.register()
	})
}

func TestARegistrationStaysWhileTheAgentIsSilent(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.register()
		_ = m.network.Close()
		m.good("last registered in web", stays+refused)
		m.wantCluster("web")
		m.start(id) // a restart, or a reboot
		m.good("last registered in web", stays+refused)
		m.wantCluster("web")
	})
}

func TestWhatTheAgentSaysIsPublishedWhateverIsOnDisk(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.register()
		m.SetRegistered("other")
		m.good("registered in other, ECS agent " + m.agentVersion())
		m.wantCluster("other")
		m.Deregister()
		m.remove(agentDB)
		m.good("not registered: the ECS agent runs and is not registered")
		m.wantCluster("")
		if _, err := os.Stat(filepath.Join(m.root, file)); !os.IsNotExist(err) {
			t.Errorf("the former registration is still on disk: %v", err)
		}
	})
}

func TestFaultsOfTheAgentKeepTheRegistration(t *testing.T) {
	for _, f := range []sim.Fault{
		{Kind: sim.FaultHang},
		{Kind: sim.FaultStatus, Status: 500},
		{Kind: sim.FaultGarbage},
		{Kind: sim.FaultTruncate},
		{Kind: sim.FaultHuge, Size: 10 << 20},
		{Kind: sim.FaultReset},
	} {
		t.Run(string(f.Kind), func(t *testing.T) {
			bubble(t, func(t *testing.T, m *machine) {
				m.register()
				if err := m.SetFault("introspection", f); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				out, err := m.pass()
				if err != nil || len(out.Warnings) != 1 || time.Since(start) > 2*time.Second {
					t.Errorf("%+v, %v, after %v", out, err, time.Since(start))
				}
				m.wantCluster("web")
			})
		})
	}
}

func TestARegistrationOfAnotherLifeIsForgotten(t *testing.T) {
	for name, tc := range map[string]struct {
		arrange  func(m *machine)
		summary  string
		then     string // in the next pass
		warnings []string
	}{
		"another instance, made from an image of a node": {
			arrange:  func(m *machine) { m.start(otherID) },
			summary:  "not registered: " + id + " was, and this is " + otherID,
			then:     "not registered, as far as is known: " + refused,
			warnings: []string{unseen},
		},
		"the agent's state was removed": {
			arrange: func(m *machine) { m.remove(agentDB) },
			summary: "not registered: the ECS agent has no state of a registration",
			then:    "not registered: " + refused,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *machine) {
				m.register()
				_ = m.network.Close()
				tc.arrange(m)
				m.good(tc.summary)
				m.wantCluster("")
				m.good(tc.then, tc.warnings...)
				m.wantCluster("")
			})
		})
	}
}

func TestOldAgentsKeepTheirStateElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.register()
		m.remove(agentDB)
		m.write("/var/lib/ecs/data/ecs_agent_data.json", "{}")
		_ = m.network.Close()
		if _, err := m.pass(); err != nil {
			t.Fatal(err)
		}
		m.wantCluster("web")
	})
}

func TestANodeThatDoesNotKnowItself(t *testing.T) {
	for name, agentRuns := range map[string]bool{"agent down": false, "agent up": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *machine) {
				m.register()
				before := m.saved()
				m.SetRegistered("other") // as nobody can tell yet
				m.SetAgentRunning(agentRuns)
				m.start("")
				m.waits("the identity of the instance, which a registration must fit")
				if got := m.saved(); got != before {
					t.Errorf("the record was replaced by %s", got)
				}
				m.know(id)
				if _, err := m.pass(); err != nil {
					t.Fatal(err)
				}
				m.wantCluster(map[bool]string{false: "web", true: "other"}[agentRuns])
			})
		})
	}
}

// waits makes a pass that must wait and publish nothing.
func (m *machine) waits(what string) duty.Outcome {
	m.t.Helper()
	out, err := m.pass()
	if err == nil || err.Error() != what || !errors.Is(err, duty.ErrNotReady) {
		m.t.Errorf("got  %v\nwant %s", err, what)
	}
	if got, published := m.published.Get(); published {
		m.t.Errorf("published %+v", got)
	}
	return out
}

// saved is the record on disk.
func (m *machine) saved() string {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.root, file))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

func TestTheRecordSaysWhoseItIsAndIsForRootOnly(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.register()
		if got := m.saved(); !strings.Contains(got, `"instance_id": "`+id+`"`) || !strings.Contains(got, `"cluster": "web"`) {
			t.Errorf("got %s", got)
		}
		at := filepath.Join(m.root, file)
		for name, want := range map[string]fs.FileMode{at: 0o600, filepath.Dir(at): 0o700} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
			}
		}
		if err := os.Chmod(at, 0o644); err != nil {
			t.Fatal(err)
		}
		m.register()
		if info, err := os.Stat(at); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("it stays open to all: %v, %v", info.Mode(), err)
		}
	})
}

func TestADiskThatCannotBeWrittenIsAFailure(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.write("/var/lib/ecsnode", "a file in the way")
		m.SetRegistered("web")
		if _, err := m.pass(); err == nil || !strings.HasPrefix(err.Error(), "cannot save the registration: ") {
			t.Errorf("got %v", err)
		}
		m.wantCluster("web")
	})
}

func TestNothingIsWrittenTwice(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.register()
		before := stat(t, m)
		m.good("registered in web, ECS agent " + m.agentVersion())
		if !os.SameFile(before, stat(t, m)) {
			t.Error("the file was replaced although nothing changed")
		}
	})
}

func stat(t *testing.T, m *machine) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(filepath.Join(m.root, file))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestOffSaysWhyAndAsksNobody(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.SetRegistered("web")
		m.duty.Off = func() string { return "off: --root is not /" }
		m.good("off: --root is not /")
		m.wantCluster("")
		if n := m.Count("introspection"); n != 0 {
			t.Errorf("%d requests", n)
		}
		m.duty.Off = func() string { return "" }
		m.register()
	})
}
