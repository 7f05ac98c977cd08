package systemd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	escape "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/systemd"
)

// bus starts a D-Bus of the test's own in dir and returns its address, and what
// ends it.
func bus(t *testing.T, dir string) (address string, end func()) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs dbus-daemon (Debian: apt-get install dbus-daemon)")
		}
		t.Skip("needs dbus-daemon (Debian: apt-get install dbus-daemon)")
	}
	config := filepath.Join(dir, "bus.conf")
	text := fmt.Sprintf(`<busconfig><type>custom</type><listen>unix:path=%s/socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>`, dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "dbus-daemon", "--config-file="+config, "--nofork", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Cleanup(end)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("dbus-daemon does not start: ", err)
	}
	return strings.TrimSpace(line), end
}

const (
	managerName  = "org.freedesktop.systemd1"
	managerIface = managerName + ".Manager"
	managerPath  = "/org/freedesktop/systemd1"
	unitRoot     = managerPath + "/unit"
	jobRoot      = managerPath + "/job"

	patience = 10 * time.Second // for what is certain to come
)

func unitPath(name string) dbus.ObjectPath {
	return dbus.ObjectPath(unitRoot + "/" + escape.PathBusEscape(name))
}

// props are properties of a unit.
type props map[string]any

type queued struct {
	ID   uint32
	Path dbus.ObjectPath
}

// execStart is an element of ExecStart as a unit tells it, a(sasbttttuii).
type execStart struct {
	Path                                       string
	Argv                                       []string
	Ignore                                     bool
	Start, StartMonotonic, Exit, ExitMonotonic uint64
	PID                                        uint32
	Code, Status                               int32
}

type property struct {
	Name  string
	Value dbus.Variant
}

type auxUnit struct {
	Name  string
	Props []property
}

// order is what the manager was told to do.
type order struct {
	Do, Unit, Mode string
	job            uint32 // 0: none
}

// manager is a service manager on a bus. A job ends when the test says so.
type manager struct {
	t      *testing.T
	conn   *dbus.Conn
	orders chan order    // in the order in which they came
	looks  chan string   // as many as there is room for: the units asked for
	joined chan struct{} // somebody subscribed

	mu         sync.Mutex
	units      map[string]props // those that are loaded, by name
	jobs       map[uint32]string
	last       uint32                // job
	transient  map[string][]property // as they came
	linger     map[string]int        // answers about a unit until it is unloaded
	at         map[string]string     // error by method
	atOnce     bool                  // a job has ended before it is answered for
	mute       chan struct{}         // no answers until it is closed
	subscribed bool
}

// take records an order and gives the error with which it is answered. The lock
// is not held while the manager is mute.
func (m *manager) take(o order) *dbus.Error {
	m.orders <- o
	return m.gate(o.Do)
}

func (m *manager) gate(method string) *dbus.Error {
	m.mu.Lock()
	mute, name := m.mute, m.at[method]
	if name == "" {
		name = m.at["*"]
	}
	m.mu.Unlock()
	if mute != nil {
		<-mute
	}
	if name != "" {
		return dbus.NewError(name, []any{"by the test"})
	}
	return nil
}

// queue has a job of a unit queued; the caller holds the lock.
func (m *manager) queue(unit string) (uint32, dbus.ObjectPath) {
	m.last++
	id, at := m.last, dbus.ObjectPath(fmt.Sprint(jobRoot, "/", m.last))
	m.jobs[id] = unit
	m.units[unit]["Job"] = queued{id, at}
	return id, at
}

func (m *manager) job(do, unit, mode string) (dbus.ObjectPath, *dbus.Error) {
	m.mu.Lock()
	known := m.units[unit] != nil && m.units[unit]["LoadState"] == "loaded"
	var id uint32
	var at dbus.ObjectPath
	if known && m.at[do] == "" && m.at["*"] == "" {
		id, at = m.queue(unit)
	}
	atOnce := m.atOnce
	m.mu.Unlock()
	if atOnce && id != 0 {
		m.end(id, "done", nil)
	}
	if err := m.take(order{do, unit, mode, id}); err != nil {
		return "", err
	}
	if !known {
		return "", dbus.NewError(managerName+".NoSuchUnit", []any{"Unit " + unit + " not found."})
	}
	return at, nil
}

func (m *manager) StartUnit(unit, mode string) (dbus.ObjectPath, *dbus.Error) {
	return m.job("StartUnit", unit, mode)
}

func (m *manager) StopUnit(unit, mode string) (dbus.ObjectPath, *dbus.Error) {
	return m.job("StopUnit", unit, mode)
}

func (m *manager) RestartUnit(unit, mode string) (dbus.ObjectPath, *dbus.Error) {
	return m.job("RestartUnit", unit, mode)
}

func (m *manager) ReloadUnit(unit, mode string) (dbus.ObjectPath, *dbus.Error) {
	return m.job("ReloadUnit", unit, mode)
}

func (m *manager) StartTransientUnit(unit, mode string, list []property, _ []auxUnit) (dbus.ObjectPath, *dbus.Error) {
	m.mu.Lock()
	exists := m.units[unit] != nil
	var id uint32
	var at dbus.ObjectPath
	if !exists && m.at["StartTransientUnit"] == "" && m.at["*"] == "" {
		m.transient[unit] = list
		m.units[unit] = props{
			"LoadState": "loaded", "ActiveState": "activating", "SubState": "start", "Result": "success",
			"ExecMainStartTimestamp": micro(started), "ExecMainStatus": int32(0),
		}
		id, at = m.queue(unit)
	}
	m.mu.Unlock()
	if err := m.take(order{"StartTransientUnit", unit, mode, id}); err != nil {
		return "", err
	}
	if exists {
		return "", dbus.NewError(managerName+".UnitExists", []any{"Unit " + unit + " was already loaded."})
	}
	return at, nil
}

func (m *manager) ResetFailedUnit(unit string) *dbus.Error {
	m.mu.Lock()
	u := m.units[unit]
	if u != nil && u["ActiveState"] == "failed" {
		u["ActiveState"], u["SubState"] = "inactive", "dead"
		if m.transient[unit] != nil && m.linger[unit] == 0 {
			m.linger[unit] = 2
		}
	}
	m.mu.Unlock()
	if err := m.take(order{Do: "ResetFailedUnit", Unit: unit}); err != nil {
		return err
	}
	if u == nil {
		return dbus.NewError(managerName+".NoSuchUnit", []any{"Unit " + unit + " not loaded."})
	}
	return nil
}

func (m *manager) Reload() *dbus.Error { return m.take(order{Do: "Reload"}) }

func (m *manager) Subscribe() *dbus.Error {
	if err := m.gate("Subscribe"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subscribed = true
	m.joined <- struct{}{}
	return nil
}

// unitObjects are the objects of all units; one that is asked for and is not
// loaded is told as "not-found", as systemd does.
type unitObjects struct{ m *manager }

func (o unitObjects) GetAll(msg dbus.Message, _ string) (map[string]dbus.Variant, *dbus.Error) {
	m := o.m
	at, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	select {
	case m.looks <- string(at):
	default:
	}
	if err := m.gate("GetAll"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]dbus.Variant{
		"LoadState": dbus.MakeVariant("not-found"), "ActiveState": dbus.MakeVariant("inactive"),
		"SubState": dbus.MakeVariant("dead"), "Job": dbus.MakeVariant(queued{0, "/"}), "InvocationID": dbus.MakeVariant([]byte{}),
	}
	for name, u := range m.units {
		if unitPath(name) != at {
			continue
		}
		for key, value := range u {
			all[key] = dbus.MakeVariant(value)
		}
		if m.linger[name] > 0 {
			if m.linger[name]--; m.linger[name] == 0 {
				delete(m.units, name)
				delete(m.transient, name)
			}
		}
	}
	return all, nil
}

// set changes a unit, which is then loaded, and tells those who want to know.
func (m *manager) set(unit string, changes props) {
	m.t.Helper()
	m.mu.Lock()
	if m.units[unit] == nil {
		m.units[unit] = props{"LoadState": "loaded"}
	}
	maps.Copy(m.units[unit], changes)
	subscribed := m.subscribed
	m.mu.Unlock()
	if !subscribed {
		return
	}
	changed := map[string]dbus.Variant{}
	for key, value := range changes {
		changed[key] = dbus.MakeVariant(value)
	}
	if err := m.conn.Emit(unitPath(unit), "org.freedesktop.DBus.Properties.PropertiesChanged",
		managerName+".Unit", changed, []string{}); err != nil {
		m.t.Error(err)
	}
}

// end ends a job with a result, and has its unit changed.
func (m *manager) end(id uint32, result string, changes props) {
	m.t.Helper()
	m.mu.Lock()
	unit, ok := m.jobs[id]
	delete(m.jobs, id)
	m.mu.Unlock()
	if !ok {
		m.t.Errorf("there is no job %d", id)
		return
	}
	changes = maps.Clone(changes)
	if changes == nil {
		changes = props{}
	}
	changes["Job"] = queued{0, "/"}
	m.set(unit, changes)
	at := dbus.ObjectPath(fmt.Sprint(jobRoot, "/", id))
	if err := m.conn.Emit(managerPath, managerIface+".JobRemoved", id, at, unit, result); err != nil {
		m.t.Error(err)
	}
}

// with changes how the manager behaves.
func (m *manager) with(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// silence has the manager answer nothing until speak is called.
func (m *manager) silence() (speak func()) {
	mute := make(chan struct{})
	m.with(func() { m.mute = mute })
	speak = sync.OnceFunc(func() {
		m.with(func() { m.mute = nil })
		close(mute)
	})
	m.t.Cleanup(speak)
	return speak
}

// told waits for the next order, which must be that one, and returns its job.
func (m *manager) told(do, unit, mode string) uint32 {
	m.t.Helper()
	got := receive(m.t, m.orders)
	if got.Do != do || got.Unit != unit || got.Mode != mode {
		m.t.Fatalf("the manager was told %+v, want %s %s %s", got, do, unit, mode)
	}
	return got.job
}

// untold reports an order that nobody should have given.
func (m *manager) untold() {
	m.t.Helper()
	select {
	case o := <-m.orders:
		m.t.Errorf("the manager was told %+v", o)
	default:
	}
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("it never comes")
	}
	return v
}

// during does something that takes until the test has done its part.
func during(do func() error) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- do() }()
	return ended
}

// serve returns a manager that answers on the bus.
func serve(t *testing.T, address string) *manager {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	m := &manager{
		t: t, conn: conn,
		orders: make(chan order, 64), looks: make(chan string, 64), joined: make(chan struct{}, 64),
		units: map[string]props{}, jobs: map[uint32]string{}, transient: map[string][]property{},
		linger: map[string]int{}, at: map[string]string{},
	}
	if err := conn.Export(m, managerPath, managerIface); err != nil {
		t.Fatal(err)
	}
	if err := conn.ExportSubtree(unitObjects{m}, unitRoot, "org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName(managerName, 0); err != nil {
		t.Fatal(err)
	}
	return m
}

type node struct {
	*manager
	*systemd.Client
	ctx  context.Context
	dir  string // of the bus
	logs string
	cut  func() // ends the bus
}

// start returns a manager on a bus of its own and a client of it.
func start(t *testing.T) *node {
	t.Helper()
	dir, logs := t.TempDir(), filepath.Join(t.TempDir(), "jobs")
	address, cut := bus(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	n := &node{
		manager: serve(t, address), Client: systemd.New(systemd.Options{Address: address, JobDir: logs}),
		ctx: ctx, dir: dir, logs: logs, cut: cut,
	}
	t.Cleanup(n.Close)
	return n
}

func (n *node) log(name string) string { return filepath.Join(n.logs, name+".log") }

// write has a job write something.
func (n *node) write(name string, data []byte) {
	n.t.Helper()
	if err := os.MkdirAll(n.logs, 0o700); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(n.log(name), data, 0o600); err != nil {
		n.t.Fatal(err)
	}
}

var (
	started = time.Date(2026, 3, 1, 12, 0, 0, 5000, time.UTC)
	later   = started.Add(90 * time.Second)
)

func micro(t time.Time) uint64 { return uint64(t.UnixMicro()) }

const web, jobUnit = "web-1@a.service", "ecsnode-job-packages.service"

func TestAUnitIsToldAsItIs(t *testing.T) {
	n := start(t)
	n.set(web, props{
		"ActiveState": "active", "SubState": "running", "Result": "success", "UnitFileState": "enabled",
		"NeedDaemonReload": true, "Job": queued{0, "/"}, "InvocationID": bytes.Repeat([]byte{0xab}, 16),
		"ExecMainStartTimestamp": micro(started), "ActiveEnterTimestamp": micro(later), "InactiveEnterTimestamp": uint64(0),
		"Environment": []string{"PORT=80"},
		"ExecStart":   []execStart{{Path: "/bin/web", Argv: []string{"/bin/web", "--port=${PORT}"}}},
	})
	n.set("queued.service", props{"ActiveState": "inactive", "SubState": "dead", "Job": queued{7, jobRoot + "/7"}})
	n.set("failed.service", props{
		"ActiveState": "failed", "SubState": "failed", "Result": "exit-code",
		"ExecMainStartTimestamp": micro(started), "InactiveEnterTimestamp": micro(later),
	})
	n.set("masked.service", props{"LoadState": "masked", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": "masked"})
	n.set("web.socket", props{
		"ActiveState": "active", "SubState": "listening", "ActiveEnterTimestamp": micro(later),
		"ExecMainStartTimestamp": uint64(0),
	})
	for what, want := range map[string]facts.Unit{
		"one that runs": {
			Name: web, Load: "loaded", Active: "active", Sub: "running", Result: "success", Enabled: "enabled", NeedReload: true,
			Invocation: strings.Repeat("ab", 16), Started: started, Argv: []string{"/bin/web", "--port=80"},
		},
		"one with a job":            {Name: "queued.service", Load: "loaded", Active: "inactive", Sub: "dead", Queued: true},
		"one that failed":           {Name: "failed.service", Load: "loaded", Active: "failed", Sub: "failed", Result: "exit-code", Started: started, Stopped: later},
		"one that is masked":        {Name: "masked.service", Load: "masked", Active: "inactive", Sub: "dead", Enabled: "masked"},
		"one without a process":     {Name: "web.socket", Load: "loaded", Active: "active", Sub: "listening", Started: later},
		"one that there is nowhere": {Name: "no.service", Load: "not-found", Active: "inactive", Sub: "dead"},
	} {
		got, err := n.Unit(n.ctx, want.Name)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	n.untold()
}

func TestAnOrderIsWaitedForUntilItsJobHasEnded(t *testing.T) {
	n := start(t)
	n.set(web, props{"ActiveState": "active", "SubState": "running"})
	for _, tc := range []struct {
		do   string
		give func(context.Context, string) error
		verb string
	}{
		{"StartUnit", n.Start, "start"},
		{"RestartUnit", n.Restart, "restart"},
		{"ReloadUnit", n.Client.Reload, "reload"},
		{"StopUnit", n.Stop, "stop"},
	} {
		for _, result := range []string{"done", "failed", "dependency", "timeout", "canceled", "skipped"} {
			ended := during(func() error { return tc.give(n.ctx, web) })
			job := n.told(tc.do, web, "replace")
			if u, err := n.Unit(n.ctx, web); err != nil || !u.Queued {
				t.Errorf("%s: %+v, %v", tc.do, u, err)
			}
			select {
			case err := <-ended:
				t.Errorf("%s does not wait for its job: %v", tc.do, err)
			default:
			}
			n.end(job, result, nil)
			err := receive(t, ended)
			if result == "done" {
				if err != nil {
					t.Errorf("%s: %v", tc.do, err)
				}
				continue
			}
			if want := fmt.Sprintf("cannot %s %s: the job ended with %q", tc.verb, web, result); err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", tc.do, err, want)
			}
			if errors.Is(err, facts.ErrUnavailable) || errors.Is(err, facts.ErrRefused) {
				t.Errorf("%s, %s: the manager did answer: %v", tc.do, result, err)
			}
		}
	}
}

func TestAJobThatEndsBeforeItsAnswerIsNotMissed(t *testing.T) {
	n := start(t)
	n.set(web, nil)
	n.with(func() { n.atOnce = true })
	for range 20 {
		if err := n.Restart(n.ctx, web); err != nil {
			t.Fatal(err)
		}
		n.told("RestartUnit", web, "replace")
	}
}

func TestOrdersThatOverlapGetEachTheirOwnResult(t *testing.T) {
	n := start(t)
	n.set(web, nil)
	n.set("db.service", nil)
	first := during(func() error { return n.Restart(n.ctx, web) })
	one := n.told("RestartUnit", web, "replace")
	second := during(func() error { return n.Start(n.ctx, "db.service") })
	two := n.told("StartUnit", "db.service", "replace")
	n.end(two, "failed", nil)
	if err := receive(t, second); err == nil {
		t.Error("the second has not failed")
	}
	n.end(one, "done", nil)
	if err := receive(t, first); err != nil {
		t.Errorf("the first: %v", err)
	}
}

func TestAnOrderForAUnitThatIsNotThereIsAbsent(t *testing.T) {
	n := start(t)
	for what, err := range map[string]error{
		"start": n.Start(n.ctx, "no.service"), "enqueue": n.Enqueue(n.ctx, "no.service"), "restart": n.Restart(n.ctx, "no.service"),
		"reload": n.Client.Reload(n.ctx, "no.service"), "reset": n.ResetFailed(n.ctx, "no.service"),
	} {
		if !errors.Is(err, facts.ErrAbsent) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAUnitThatCannotBeReloadedIsAnError(t *testing.T) {
	n := start(t)
	n.set(web, props{"ActiveState": "inactive"})
	n.with(func() { n.at["ReloadUnit"] = managerName + ".JobTypeNotApplicable" })
	err := n.Client.Reload(n.ctx, web)
	if err == nil || errors.Is(err, facts.ErrUnavailable) || errors.Is(err, facts.ErrRefused) || errors.Is(err, facts.ErrAbsent) {
		t.Errorf("%v", err)
	}
}

func TestAStartThatIsEnqueuedIsNotWaitedFor(t *testing.T) {
	n := start(t)
	n.set(web, props{"ActiveState": "inactive"})
	if err := n.Enqueue(n.ctx, web); err != nil {
		t.Fatal(err)
	}
	job := n.told("StartUnit", web, "replace")
	if u, err := n.Unit(n.ctx, web); err != nil || !u.Queued {
		t.Errorf("%+v, %v", u, err)
	}
	n.end(job, "failed", nil)
	if u, err := n.Unit(n.ctx, web); err != nil || u.Queued {
		t.Errorf("afterwards: %+v, %v", u, err)
	}
}

func TestAFailureIsForgottenAndUnitsAreReadAgain(t *testing.T) {
	n := start(t)
	n.set(web, props{"ActiveState": "failed", "SubState": "failed"})
	if err := n.ResetFailed(n.ctx, web); err != nil {
		t.Fatal(err)
	}
	n.told("ResetFailedUnit", web, "")
	if u, err := n.Unit(n.ctx, web); err != nil || u.Active != "inactive" {
		t.Errorf("%+v, %v", u, err)
	}
	if err := n.ReloadUnits(n.ctx); err != nil {
		t.Fatal(err)
	}
	n.told("Reload", "", "")
}

// questions is everything that a client asks of the manager.
func (n *node) questions() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Unit":        func(ctx context.Context) error { _, err := n.Unit(ctx, web); return err },
		"Start":       func(ctx context.Context) error { return n.Start(ctx, web) },
		"Stop":        func(ctx context.Context) error { return n.Stop(ctx, web) },
		"Restart":     func(ctx context.Context) error { return n.Restart(ctx, web) },
		"Reload":      func(ctx context.Context) error { return n.Client.Reload(ctx, web) },
		"Enqueue":     func(ctx context.Context) error { return n.Enqueue(ctx, web) },
		"ResetFailed": func(ctx context.Context) error { return n.ResetFailed(ctx, web) },
		"ReloadUnits": n.ReloadUnits,
		"Job":         func(ctx context.Context) error { _, err := n.Job(ctx, "packages"); return err },
		"RunJob": func(ctx context.Context) error {
			return n.RunJob(ctx, facts.Command{Name: "packages", Argv: []string{"/bin/true"}})
		},
		"ForgetJob": func(ctx context.Context) error { return n.ForgetJob(ctx, "packages") },
		"Watch":     func(ctx context.Context) error { return n.Watch(ctx, func() {}, web) },
	}
}

func TestAManagerThatRefusesIsRefused(t *testing.T) {
	n := start(t)
	n.set(web, nil)
	for _, name := range []string{"AccessDenied", "InteractiveAuthorizationRequired"} {
		n.with(func() { n.at["*"] = "org.freedesktop.DBus.Error." + name })
		for what, ask := range n.questions() {
			if err := ask(n.ctx); !errors.Is(err, facts.ErrRefused) || errors.Is(err, facts.ErrUnavailable) {
				t.Errorf("%s, %s: %v", what, name, err)
			}
		}
	}
	n.with(func() { clear(n.at); n.at["StartTransientUnit"] = "org.freedesktop.DBus.Error.AccessDenied" })
	if err := n.questions()["RunJob"](n.ctx); !errors.Is(err, facts.ErrRefused) {
		t.Errorf("a job: %v", err)
	}
}

func TestAManagerThatDoesNotAnswerIsUnavailableWhenTheTimeIsUp(t *testing.T) {
	n := start(t)
	n.set(web, nil)
	if _, err := n.Unit(n.ctx, web); err != nil {
		t.Fatal(err)
	}
	speak := n.silence()
	for what, ask := range n.questions() {
		ctx, cancel := context.WithTimeout(n.ctx, 50*time.Millisecond)
		err := receive(t, during(func() error { return ask(ctx) }))
		cancel()
		if !errors.Is(err, facts.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	speak()
	if u, err := n.Unit(n.ctx, web); err != nil || u.Load != "loaded" {
		t.Errorf("when it answers again: %+v, %v", u, err)
	}
}

func TestAManagerThatIsNotOnTheBusIsUnavailable(t *testing.T) {
	n := start(t)
	if _, err := n.conn.ReleaseName(managerName); err != nil {
		t.Fatal(err)
	}
	for what, ask := range n.questions() {
		if err := ask(n.ctx); !errors.Is(err, facts.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestABusThatIsNotThereIsUnavailable(t *testing.T) {
	c := systemd.New(systemd.Options{Address: "unix:path=" + filepath.Join(t.TempDir(), "none"), JobDir: t.TempDir()})
	for what, ask := range (&node{Client: c}).questions() {
		if err := ask(t.Context()); !errors.Is(err, facts.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAJobThatDoesNotEndIsWaitedForNoLongerThanTheContext(t *testing.T) {
	n := start(t)
	n.set(web, nil)
	ctx, cancel := context.WithCancel(n.ctx)
	ended := during(func() error { return n.Restart(ctx, web) })
	job := n.told("RestartUnit", web, "replace")
	cancel()
	if err := receive(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// Its result comes late, and is in nobody's way.
	n.end(job, "done", nil)
	ended = during(func() error { return n.Restart(n.ctx, web) })
	n.end(n.told("RestartUnit", web, "replace"), "done", nil)
	if err := receive(t, ended); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

func TestAConnectionThatIsLostIsUnavailableAndMadeAgain(t *testing.T) {
	n := start(t)
	n.set(web, nil)
	n.silence()
	asked := during(func() error { _, err := n.Unit(n.ctx, web); return err })
	receive(t, n.looks)
	ordered := during(func() error { return n.Restart(n.ctx, web) })
	n.told("RestartUnit", web, "replace")
	n.cut()
	if err := receive(t, asked); !errors.Is(err, facts.ErrUnavailable) || n.ctx.Err() != nil {
		t.Errorf("a question without an answer: %v", err)
	}
	if err := receive(t, ordered); !errors.Is(err, facts.ErrUnavailable) || n.ctx.Err() != nil {
		t.Errorf("an order without an answer: %v", err)
	}
	for what, ask := range n.questions() {
		if err := ask(n.ctx); !errors.Is(err, facts.ErrUnavailable) {
			t.Errorf("%s without a bus: %v", what, err)
		}
	}
	address, _ := bus(t, n.dir)
	serve(t, address).set(web, props{"ActiveState": "active"})
	if u, err := n.Unit(n.ctx, web); err != nil || u.Active != "active" {
		t.Errorf("on the next bus: %+v, %v", u, err)
	}
}

func TestAJobWhoseBusIsLostIsNotWaitedFor(t *testing.T) {
	n := start(t)
	n.set(web, nil)
	ended := during(func() error { return n.Restart(n.ctx, web) })
	n.told("RestartUnit", web, "replace")
	n.cut()
	if err := receive(t, ended); !errors.Is(err, facts.ErrUnavailable) || n.ctx.Err() != nil {
		t.Errorf("%v", err)
	}
}

// Who found no connection may come to make one only after somebody else has.
func TestALateAttemptToConnectEndsNoConnectionThatOthersUse(t *testing.T) {
	n := start(t)
	n.set(web, nil)
	ended := during(func() error { return n.Restart(n.ctx, web) })
	job := n.told("RestartUnit", web, "replace")
	if err := n.Reconnect(); err != nil {
		t.Fatal(err)
	}
	n.end(job, "done", nil)
	if err := receive(t, ended); err != nil {
		t.Error(err)
	}
}

func TestABusThatAcceptsAndSaysNothingKeepsNobodyLongerThanTheContext(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "bus"))
	if err != nil {
		t.Fatal(err)
	}
	c := systemd.New(systemd.Options{Address: "unix:path=" + listener.Addr().String(), JobDir: t.TempDir()})
	for what, ask := range (&node{Client: c}).questions() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := receive(t, during(func() error { return ask(ctx) }))
		cancel()
		if !errors.Is(err, facts.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	listener.Close() // ends the one attempt there was
}

func TestAJobIsStartedAsAUnitWithItsProperties(t *testing.T) {
	base := map[string]string{
		"Description": "s ecsnode job: packages", "Type": "s exec", "RemainAfterExit": "b true", "UMask": "u 63",
		"ExecStart": "a(sasb) [[/bin/sh [/bin/sh -c echo $$HOME 5$$] false]]",
	}
	argv := []string{"/bin/sh", "-c", "echo $HOME 5$"}
	for what, tc := range map[string]struct {
		cmd  facts.Command
		want map[string]string // besides the base; LOG is the file
	}{
		"a plain one": {facts.Command{}, map[string]string{"StandardOutputFileToAppend": "s LOG"}},
		"one with every bound": {
			facts.Command{Env: []string{"A=1", "B=$x"}, RuntimeMax: time.Hour, Grace: 1500 * time.Millisecond, MemoryMax: 64 << 20},
			map[string]string{
				"StandardOutputFileToAppend": "s LOG", "Environment": "as [A=1 B=$x]", "RuntimeMaxUSec": "t 3600000000",
				"TimeoutStopUSec": "t 1500000", "MemoryMax": "t 67108864", "OOMPolicy": "s kill",
			},
		},
		"one that writes to the journal": {facts.Command{Journal: true}, nil},
		"one that is never killed": {
			facts.Command{Journal: true, NoKill: true},
			map[string]string{"SendSIGKILL": "b false", "TimeoutStopUSec": "t 18446744073709551615"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			n := start(t)
			tc.cmd.Name, tc.cmd.Argv = "packages", argv
			if err := n.RunJob(n.ctx, tc.cmd); err != nil { // and does not wait
				t.Fatal(err)
			}
			n.told("StartTransientUnit", jobUnit, "fail")
			want, got := maps.Clone(base), map[string]string{}
			for key, value := range tc.want {
				want[key] = strings.ReplaceAll(value, "LOG", n.log("packages"))
			}
			n.with(func() {
				for _, p := range n.transient[jobUnit] {
					if _, twice := got[p.Name]; twice {
						t.Errorf("%s is set twice", p.Name)
					}
					got[p.Name] = fmt.Sprint(p.Value.Signature(), " ", p.Value.Value())
				}
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if info, err := os.Stat(n.logs); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("where the output goes: %v, %v", info, err)
			}
		})
	}
	if argv[2] != "echo $HOME 5$" {
		t.Errorf("the caller's command is now %q", argv)
	}
}

func TestWhatIsNoJobIsNotStarted(t *testing.T) {
	n := start(t)
	for _, cmd := range []facts.Command{
		{Name: "", Argv: []string{"/bin/true"}},
		{Name: "a b", Argv: []string{"/bin/true"}},
		{Name: "../a", Argv: []string{"/bin/true"}},
		{Name: "A", Argv: []string{"/bin/true"}},
		{Name: "a"},
		{Name: "a", Argv: []string{"true"}},
	} {
		if err := n.RunJob(n.ctx, cmd); err == nil {
			t.Errorf("%+v is started", cmd)
		}
	}
	n.untold()
}

func TestASecondJobOfANameIsRefusedWhileTheFirstRuns(t *testing.T) {
	n := start(t)
	cmd := facts.Command{Name: "packages", Argv: []string{"/bin/true"}}
	if err := n.RunJob(n.ctx, cmd); err != nil {
		t.Fatal(err)
	}
	job := n.told("StartTransientUnit", jobUnit, "fail")
	again := func(when string) {
		t.Helper()
		if err := n.RunJob(n.ctx, cmd); err == nil || err.Error() != "cannot run job packages: it is running already" {
			t.Errorf("%s: %v", when, err)
		}
		n.untold()
	}
	again("while it starts")
	n.end(job, "done", props{"ActiveState": "active", "SubState": "running"})
	again("while it runs")
	n.set(jobUnit, props{"ActiveState": "deactivating", "SubState": "stop-sigterm"})
	again("while it ends")

	// One that has ended gives way, with what it wrote.
	n.write("packages", []byte("old"))
	n.set(jobUnit, props{"ActiveState": "active", "SubState": "exited"})
	second := during(func() error { return n.RunJob(n.ctx, cmd) })
	stop := n.told("StopUnit", jobUnit, "replace")
	n.with(func() { n.linger[jobUnit] = 3 })
	n.end(stop, "done", props{"ActiveState": "inactive", "SubState": "dead"})
	n.told("StartTransientUnit", jobUnit, "fail")
	if err := receive(t, second); err != nil {
		t.Error(err)
	}
	if j, err := n.Job(n.ctx, "packages"); err != nil || j.State != facts.JobRunning || j.Output != "" {
		t.Errorf("%+v, %v", j, err)
	}
}

func TestOfTwoJobsAtOnceTheManagerTakesOne(t *testing.T) {
	n := start(t)
	n.with(func() { n.at["StartTransientUnit"] = managerName + ".UnitExists" })
	err := n.RunJob(n.ctx, facts.Command{Name: "packages", Argv: []string{"/bin/true"}})
	if err == nil || errors.Is(err, facts.ErrUnavailable) || errors.Is(err, facts.ErrRefused) {
		t.Errorf("%v", err)
	}
}

func TestAJobIsToldAsItStands(t *testing.T) {
	n := start(t)
	ran := func(active, sub, result string, status int32) props {
		return props{
			"ActiveState": active, "SubState": sub, "Result": result, "ExecMainStatus": status,
			"ExecMainStartTimestamp": micro(started), "ExecMainExitTimestamp": micro(later),
		}
	}
	running := facts.Job{State: facts.JobRunning, Started: started}
	for what, tc := range map[string]struct {
		unit props
		want facts.Job
	}{
		"it was never run":   {nil, facts.Job{}},
		"its unit is masked": {props{"LoadState": "masked", "ActiveState": "inactive"}, facts.Job{}},
		"it waits to start":  {props{"ActiveState": "inactive", "SubState": "dead"}, facts.Job{}},
		"it starts":          {props{"ActiveState": "activating", "SubState": "start", "ExecMainStartTimestamp": micro(started)}, running},
		"it runs":            {props{"ActiveState": "active", "SubState": "running", "ExecMainStartTimestamp": micro(started)}, running},
		"it is told to end":  {props{"ActiveState": "deactivating", "SubState": "stop-sigterm", "ExecMainStartTimestamp": micro(started)}, running},
		"it has ended well": {
			ran("active", "exited", "success", 0),
			facts.Job{State: facts.JobEnded, Result: "success", Started: started, Ended: later},
		},
		"it has failed": {
			ran("failed", "failed", "exit-code", 3),
			facts.Job{State: facts.JobEnded, Result: "exit-code", ExitStatus: 3, Started: started, Ended: later},
		},
		"it ran out of memory": {
			ran("failed", "failed", "oom-kill", 9),
			facts.Job{State: facts.JobEnded, Result: "oom-kill", ExitStatus: 9, Started: started, Ended: later},
		},
		"it was stopped": {
			ran("inactive", "dead", "success", 15),
			facts.Job{State: facts.JobEnded, Result: "success", ExitStatus: 15, Started: started, Ended: later},
		},
	} {
		n.with(func() { delete(n.units, jobUnit) })
		if tc.unit != nil {
			n.set(jobUnit, tc.unit)
		}
		got, err := n.Job(n.ctx, "packages")
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

func TestTheEndOfWhatAJobWroteIsToldAndTheFileStaysSmall(t *testing.T) {
	n := start(t)
	n.set(jobUnit, props{"ActiveState": "active", "SubState": "running", "ExecMainStartTimestamp": micro(started)})
	const kept, limit = 4 << 10, 1 << 20
	long := func(size int) []byte { return append(bytes.Repeat([]byte{'x'}, size-4), "end\n"...) }
	tail := string(long(kept))
	for what, tc := range map[string]struct {
		data []byte
		want string
		left int
	}{
		"nothing":                 {[]byte{}, "", 0},
		"a few lines":             {[]byte("one\ntwo\n"), "one\ntwo\n", 8},
		"what is not for reading": {[]byte("a\x1b[1mb\x00\xff\x07é\n"), "a[1mbé\n", 12},
		"half a letter":           {append([]byte("é"), long(kept-1)...), string(long(kept - 1)), kept + 1},
		"just what is kept":       {long(kept), tail, kept},
		"one byte more":           {long(kept + 1), tail, kept + 1},
		"as much as a file holds": {long(limit), tail, limit},
		"more than a file holds":  {long(limit + 1), tail, 0},
	} {
		n.write("packages", tc.data)
		j, err := n.Job(n.ctx, "packages")
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if j.Output != tc.want {
			t.Errorf("%s: %d bytes, %.40q, want %d, %.40q", what, len(j.Output), j.Output, len(tc.want), tc.want)
		}
		if info, err := os.Stat(n.log("packages")); err != nil || info.Size() != int64(tc.left) {
			t.Errorf("%s: the file has %v bytes, want %d; %v", what, info.Size(), tc.left, err)
		}
	}
	if err := os.Remove(n.log("packages")); err != nil {
		t.Fatal(err)
	}
	if j, err := n.Job(n.ctx, "packages"); err != nil || j.Output != "" || j.State != facts.JobRunning {
		t.Errorf("without a file: %+v, %v", j, err)
	}
}

// gone reports what is left of the job.
func (n *node) gone() {
	n.t.Helper()
	if _, err := os.Stat(n.log("packages")); !errors.Is(err, os.ErrNotExist) {
		n.t.Errorf("what it wrote: %v", err)
	}
	if j, err := n.Job(n.ctx, "packages"); err != nil || j != (facts.Job{}) {
		n.t.Errorf("it is not forgotten: %+v, %v", j, err)
	}
	n.untold()
}

func TestAJobIsForgotten(t *testing.T) {
	failed := props{"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "ExecMainStartTimestamp": micro(started)}
	t.Run("one that failed", func(t *testing.T) {
		n := start(t)
		n.write("packages", []byte("x"))
		n.set(jobUnit, failed)
		n.with(func() { n.transient[jobUnit] = []property{} })
		if err := n.ForgetJob(n.ctx, "packages"); err != nil {
			t.Fatal(err)
		}
		n.told("ResetFailedUnit", jobUnit, "")
		n.gone()
	})
	t.Run("one that goes by itself", func(t *testing.T) {
		n := start(t)
		n.write("packages", []byte("x"))
		n.set(jobUnit, failed)
		n.with(func() { n.linger[jobUnit] = 1 })
		if err := n.ForgetJob(n.ctx, "packages"); err != nil {
			t.Fatal(err)
		}
		n.told("ResetFailedUnit", jobUnit, "")
		n.gone()
	})
	t.Run("one that runs is stopped", func(t *testing.T) {
		n := start(t)
		n.write("packages", []byte("x"))
		n.set(jobUnit, props{"ActiveState": "active", "SubState": "running", "ExecMainStartTimestamp": micro(started)})
		ended := during(func() error { return n.ForgetJob(n.ctx, "packages") })
		job := n.told("StopUnit", jobUnit, "replace")
		n.with(func() { n.linger[jobUnit] = 3 })
		n.end(job, "done", props{"ActiveState": "inactive", "SubState": "dead"})
		if err := receive(t, ended); err != nil {
			t.Fatal(err)
		}
		n.gone()
	})
	t.Run("one that was never run", func(t *testing.T) {
		n := start(t)
		if err := n.ForgetJob(n.ctx, "packages"); err != nil {
			t.Fatal(err)
		}
		n.gone()
	})
	t.Run("not one that does not stop", func(t *testing.T) {
		n := start(t)
		n.write("packages", []byte("x"))
		n.set(jobUnit, props{"ActiveState": "active", "SubState": "running", "ExecMainStartTimestamp": micro(started)})
		ended := during(func() error { return n.ForgetJob(n.ctx, "packages") })
		n.end(n.told("StopUnit", jobUnit, "replace"), "timeout", nil)
		if err := receive(t, ended); err == nil {
			t.Error("it is")
		}
		if j, err := n.Job(n.ctx, "packages"); err != nil || j.State != facts.JobRunning || j.Output != "x" {
			t.Errorf("%+v, %v", j, err)
		}
	})
	t.Run("not one that is kept", func(t *testing.T) {
		n := start(t)
		n.set(jobUnit, props{"ActiveState": "inactive", "SubState": "dead"})
		ctx, cancel := context.WithCancel(n.ctx)
		ended := during(func() error { return n.ForgetJob(ctx, "packages") })
		for range 2 {
			receive(t, n.looks)
		}
		cancel()
		if err := receive(t, ended); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

// watch begins to watch and returns what is told: one for each change, and how
// it ended. It is in effect.
func (n *node) watch(ctx context.Context, names ...string) (changes <-chan struct{}, ended <-chan error) {
	n.t.Helper()
	woken := make(chan struct{}, 64)
	ended = during(func() error { return n.Watch(ctx, func() { woken <- struct{}{} }, names...) })
	receive(n.t, n.joined)
	receive(n.t, woken) // for what happened before
	return woken, ended
}

func TestAChangeOfAUnitThatIsWatchedWakes(t *testing.T) {
	n := start(t)
	ctx, cancel := context.WithCancel(n.ctx)
	woken, ended := n.watch(ctx, web, "db.service")
	n.set("other.service", props{"ActiveState": "failed"})
	n.set(web+"x", props{"ActiveState": "failed"})
	n.set(web, props{"ActiveState": "failed"})
	receive(t, woken)
	n.set("db.service", props{"ActiveState": "active"})
	receive(t, woken)
	cancel()
	if err := receive(t, ended); !errors.Is(err, context.Canceled) || errors.Is(err, facts.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if len(woken) > 0 {
		t.Error("units that are not watched wake as well")
	}
}

func TestAWatchEndsWhenTheBusGoes(t *testing.T) {
	n := start(t)
	woken, ended := n.watch(n.ctx, web)
	n.set(web, props{"ActiveState": "active"})
	receive(t, woken)
	n.cut()
	if err := receive(t, ended); !errors.Is(err, facts.ErrUnavailable) || n.ctx.Err() != nil {
		t.Errorf("%v", err)
	}
	if err := n.Watch(n.ctx, func() {}, web); !errors.Is(err, facts.ErrUnavailable) {
		t.Errorf("without a bus: %v", err)
	}
}

// A client that is closed connects again when it is next asked.
func TestAClientThatIsClosedMayBeAsked(t *testing.T) {
	n := start(t)
	n.set(web, nil)
	for range 2 {
		if u, err := n.Unit(n.ctx, web); err != nil || !u.Exists() {
			t.Errorf("%+v, %v", u, err)
		}
		n.Close()
	}
}
