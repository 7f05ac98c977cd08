package instance_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/instance"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/ec2"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const (
	id      = "i-0123456789abcdef0"
	otherID = "i-0fedcba9876543210"

	storeFile = "/var/lib/ecsnode/instance.json"
	assetTag  = "/sys/class/dmi/id/board_asset_tag"
	bootID    = "/proc/sys/kernel/random/boot_id"
)

// machine is a simulated instance with a disk, on which the duty runs.
type machine struct {
	*sim.World
	t       *testing.T
	network *sim.Network
	root    string
	config  *cell.Cell[instance.Config]

	// Of the running agent; boot makes new ones.
	duty      *instance.Duty
	published *cell.Cell[facts.Instance]
	wakes     chan struct{}
}

// bubble runs f on a Nitro instance whose agent has not made a pass, in virtual
// time.
func bubble(t *testing.T, o sim.Options, f func(t *testing.T, m *machine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{World: sim.New(o), t: t, network: sim.NewNetwork(), root: t.TempDir(), config: cell.Comparable[instance.Config]()}
		t.Cleanup(func() { _ = m.network.Close() })
		if err := m.Connect(m.network); err != nil {
			t.Fatal(err)
		}
		m.write(assetTag, m.Instance().ID+"\n")
		m.boot("boot-1")
		f(t, m)
	})
}

// boot starts a new agent, in the boot with this id.
func (m *machine) boot(boot string) {
	m.t.Helper()
	m.write(bootID, boot+"\n")
	files, err := fsx.Open(m.root)
	if err != nil {
		m.t.Fatal(err)
	}
	m.published = cell.New(facts.Instance.Equal)
	m.wakes = make(chan struct{}, 1)
	m.published.Wake(m.wakes)
	metadata, api := clients(m.t, m.network)
	m.duty = &instance.Duty{FS: files, Config: m.config, Metadata: metadata, TagAPI: api, Instance: m.published}
}

func clients(t *testing.T, n *sim.Network) (*imds.Client, *ec2.Client) {
	t.Helper()
	metadata := imds.New(imds.Options{Dial: n.DialContext})
	config, err := awsapi.Config(awsapi.Options{Metadata: metadata, Dial: n.DialContext})
	if err != nil {
		t.Fatal(err)
	}
	return metadata, ec2.New(config, "http://ec2.eu-west-1.amazonaws.com")
}

// pass makes one pass within the time the engine would give it.
func (m *machine) pass() (duty.Outcome, error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 20*time.Second)
	defer cancel()
	start := time.Now()
	out, err := m.duty.Reconcile(ctx)
	if took := time.Since(start); took > 15*time.Second {
		m.t.Errorf("the pass took %v", took)
	}
	if out.Again <= 0 {
		m.t.Errorf("no next pass is wanted")
	}
	return out, err
}

// good makes one pass that must succeed.
func (m *machine) good() duty.Outcome {
	m.t.Helper()
	out, err := m.pass()
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// run makes passes as often as they are wanted, for d.
func (m *machine) run(d time.Duration) {
	m.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		out, _ := m.pass()
		time.Sleep(min(out.Again, time.Until(end)))
	}
}

// now is what is published.
func (m *machine) now() facts.Instance {
	m.t.Helper()
	i, ok := m.published.Get()
	if !ok {
		m.t.Fatal("nothing is published")
	}
	return i
}

// woken reports whether the readers were woken since it was last asked.
func (m *machine) woken() bool {
	select {
	case <-m.wakes:
		return true
	default:
		return false
	}
}

func (m *machine) fault(pattern string, f sim.Fault) {
	m.t.Helper()
	if err := m.SetFault(pattern, f); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

func (m *machine) write(name, content string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(name string) string {
	m.t.Helper()
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

func sick() sim.Fault { return sim.Fault{Kind: sim.FaultStatus, Status: 503} }
