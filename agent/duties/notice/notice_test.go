package notice_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/notice"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/when"
)

// metadata is an instance metadata service.
type metadata struct {
	action    *facts.SpotAction
	rebalance time.Time
	target    string
	events    []facts.Maintenance
	err       error // of every question
}

func (m *metadata) absent(there bool) error {
	if m.err != nil {
		return m.err
	}
	if !there {
		return fmt.Errorf("cannot read it: %w", facts.ErrAbsent)
	}
	return nil
}

func (m *metadata) SpotAction(context.Context) (facts.SpotAction, error) {
	if err := m.absent(m.action != nil); err != nil {
		return facts.SpotAction{}, err
	}
	return *m.action, nil
}

func (m *metadata) Rebalance(context.Context) (time.Time, error) {
	return m.rebalance, m.absent(!m.rebalance.IsZero())
}

func (m *metadata) TargetLifecycleState(context.Context) (string, error) {
	return m.target, m.absent(m.target != "")
}

func (m *metadata) Maintenance(context.Context) ([]facts.Maintenance, error) { return m.events, m.err }

type source struct {
	t         *testing.T
	metadata  *metadata
	config    *cell.Cell[notice.Config]
	instance  *cell.Cell[facts.Instance]
	container *cell.Cell[facts.ContainerInstance]
	duty      *notice.Duty
}

func newSource(t *testing.T, name string) *source {
	s := &source{
		t: t, metadata: &metadata{},
		config:    cell.New(func(a, b notice.Config) bool { return false }),
		instance:  cell.New(facts.Instance.Equal),
		container: cell.Comparable[facts.ContainerInstance](),
	}
	c := notice.Default()
	c.Splay = 0
	s.config.Set(c)
	s.instance.Set(facts.Instance{ID: "i-1", Lifecycle: facts.Spot})
	s.duty = &notice.Duty{
		Source: name, Config: s.config, Metadata: s.metadata, Instance: s.instance, Registration: s.container, Notices: notices(),
	}
	return s
}

func notices() *cell.Cell[[]facts.Notice] {
	return cell.New(slices.Equal[[]facts.Notice])
}

// says makes a pass and returns what the source said last.
func (s *source) says() []facts.Notice {
	s.t.Helper()
	if _, err := s.duty.Reconcile(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	all, ok := s.duty.Notices.Get()
	if !ok {
		s.t.Fatal("the source is said not to have answered")
	}
	return all
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestWhatEachSourceSays(t *testing.T) {
	const cap = 15 * time.Minute
	event := facts.Maintenance{ID: "e-1", Code: "system-reboot", State: "active", Description: "reboot", NotBefore: noon}
	with := func(change func(*facts.Maintenance)) facts.Maintenance {
		e := event
		change(&e)
		return e
	}
	maintenance := facts.Notice{
		Source: facts.NoticeMaintenance, What: "system-reboot", ID: "e-1", Why: "reboot",
		Drain: true, Start: noon.Add(-30 * time.Minute), By: noon, Hard: true,
	}
	for name, c := range map[string]struct {
		source  string
		arrange func(s *source)
		want    []facts.Notice
	}{
		"spot: none": {facts.NoticeSpot, func(*source) {}, nil},
		"spot: terminate": {facts.NoticeSpot, func(s *source) {
			s.metadata.action = &facts.SpotAction{Action: "terminate", Time: noon}
		}, []facts.Notice{{Source: facts.NoticeSpot, What: "terminate", ID: "2026-01-02T12:00:00Z", Drain: true, By: noon, Hard: true}}},
		"spot: hibernate has begun, whatever time it says": {facts.NoticeSpot, func(s *source) {
			s.metadata.action = &facts.SpotAction{Action: "hibernate", Time: noon}
		}, []facts.Notice{{Source: facts.NoticeSpot, What: "hibernate", ID: "2026-01-02T12:00:00Z", Drain: true, Hard: true, Cap: 10 * time.Second}}},
		"spot: not asked for on demand": {facts.NoticeSpot, func(s *source) {
			s.instance.Set(facts.Instance{ID: "i-1", Lifecycle: facts.OnDemand})
			s.metadata.err = errors.New("it was asked for")
		}, nil},
		"spot: asked for where the lifecycle is not known": {facts.NoticeSpot, func(s *source) {
			s.instance.Set(facts.Instance{ID: "i-1"})
			s.metadata.action = &facts.SpotAction{Action: "stop", Time: noon}
		}, []facts.Notice{{Source: facts.NoticeSpot, What: "stop", ID: "2026-01-02T12:00:00Z", Drain: true, By: noon, Hard: true}}},
		"rebalance: only told by default": {
			facts.NoticeRebalance, func(s *source) { s.metadata.rebalance = noon },
			[]facts.Notice{{Source: facts.NoticeRebalance, What: "recommendation", ID: "2026-01-02T12:00:00Z"}},
		},
		"rebalance: drain": {facts.NoticeRebalance, func(s *source) {
			s.metadata.rebalance = noon
			c := notice.Default()
			c.Splay, c.Rebalance.Policy = 0, notice.Drain
			s.config.Set(c)
		}, []facts.Notice{{
			Source: facts.NoticeRebalance, What: "recommendation", ID: "2026-01-02T12:00:00Z",
			Drain: true, Start: noon, Cap: cap, Lapses: 2 * time.Hour,
		}}},
		"rebalance: off": {facts.NoticeRebalance, func(s *source) {
			c := notice.Default()
			c.Rebalance.Policy = notice.Off
			s.config.Set(c)
			s.metadata.err = errors.New("it was asked for")
		}, nil},
		"group: none, as in a spot fleet": {facts.NoticeAutoScaling, func(*source) {}, nil},
		"group: in service":               {facts.NoticeAutoScaling, func(s *source) { s.metadata.target = "InService" }, nil},
		"group: standby":                  {facts.NoticeAutoScaling, func(s *source) { s.metadata.target = "Standby" }, nil},
		"group: terminated": {
			facts.NoticeAutoScaling, func(s *source) { s.metadata.target = "Terminated" },
			[]facts.Notice{{Source: facts.NoticeAutoScaling, What: "Terminated", Drain: true, Cap: cap}},
		},
		"group: into a warm pool before it joined": {
			facts.NoticeAutoScaling, func(s *source) {
				s.metadata.target = "Warmed:Stopped"
				s.container.Set(facts.ContainerInstance{})
			},
			[]facts.Notice{{Source: facts.NoticeAutoScaling, What: "Warmed:Stopped", Why: "in a warm pool, not in service"}},
		},
		"group: into a warm pool from service": {facts.NoticeAutoScaling, func(s *source) {
			s.metadata.target = "Warmed:Stopped"
			s.container.Set(facts.ContainerInstance{ARN: "arn:aws:ecs:x", Cluster: "web"})
		}, []facts.Notice{{Source: facts.NoticeAutoScaling, What: "Warmed:Stopped", Drain: true, Cap: cap}}},
		"group: terminated in a warm pool": {
			facts.NoticeAutoScaling, func(s *source) {
				s.metadata.target = "Warmed:Terminated"
				s.container.Set(facts.ContainerInstance{})
			},
			[]facts.Notice{{Source: facts.NoticeAutoScaling, What: "Warmed:Terminated", Drain: true, Cap: cap}},
		},
		"maintenance: none": {facts.NoticeMaintenance, func(*source) {}, nil},
		"maintenance: a reboot": {
			facts.NoticeMaintenance, func(s *source) { s.metadata.events = []facts.Maintenance{event} },
			[]facts.Notice{maintenance},
		},
		"maintenance: completed and cancelled": {facts.NoticeMaintenance, func(s *source) {
			s.metadata.events = []facts.Maintenance{
				with(func(e *facts.Maintenance) { e.State = "completed" }), with(func(e *facts.Maintenance) { e.State = "canceled" }),
			}
		}, nil},
		"maintenance: by code": {facts.NoticeMaintenance, func(s *source) {
			c := notice.Default()
			c.Splay, c.Maintenance.Codes = 0, map[string]notice.Policy{"system-reboot": notice.Notify, "instance-stop": notice.Off}
			s.config.Set(c)
			s.metadata.events = []facts.Maintenance{event, with(func(e *facts.Maintenance) { e.Code = "instance-stop" })}
		}, []facts.Notice{{Source: facts.NoticeMaintenance, What: "system-reboot", ID: "e-1", Why: "reboot"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, c.source)
			c.arrange(s)
			if got := s.says(); !slices.Equal(got, c.want) {
				t.Errorf("%+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestASourceThatDoesNotAnswerIsNeverNoNotice(t *testing.T) {
	for _, name := range []string{facts.NoticeSpot, facts.NoticeRebalance, facts.NoticeAutoScaling, facts.NoticeMaintenance} {
		s := newSource(t, name)
		for _, err := range []error{facts.ErrUnavailable, facts.ErrRefused} {
			s.metadata.err = fmt.Errorf("cannot read it: %w", err)
			if _, got := s.duty.Reconcile(t.Context()); !errors.Is(got, err) {
				t.Errorf("%s: %v", name, got)
			}
			if _, answered := s.duty.Notices.Get(); answered {
				t.Errorf("%s has answered", name)
			}
		}
	}
	s := newSource(t, facts.NoticeAutoScaling)
	s.metadata.target = "Terminated"
	before := s.says()
	s.metadata.err = facts.ErrUnavailable
	if _, err := s.duty.Reconcile(t.Context()); err == nil {
		t.Error("it is not told")
	}
	if now, _ := s.duty.Notices.Get(); len(before) != 1 || !slices.Equal(now, before) {
		t.Errorf("its last word is lost: %+v", now)
	}
}

func TestARegistrationNotReadYetIsNotTakenForNone(t *testing.T) {
	s := newSource(t, facts.NoticeAutoScaling)
	s.metadata.target = "Warmed:Stopped"
	if _, err := s.duty.Reconcile(t.Context()); !errors.Is(err, duty.ErrNotReady) {
		t.Errorf("%v", err)
	}
	if _, answered := s.duty.Notices.Get(); answered {
		t.Error("it has answered")
	}
}

func TestElectiveDrainsAreSpreadAndMaintenanceIsNeverLate(t *testing.T) {
	starts := map[time.Time]bool{}
	for i := range 20 {
		s := newSource(t, facts.NoticeMaintenance)
		s.config.Set(notice.Default())
		s.instance.Set(facts.Instance{ID: fmt.Sprint("i-", i)})
		s.metadata.events = []facts.Maintenance{{ID: "e", Code: "instance-stop", State: "active", NotBefore: noon}}
		start := s.says()[0].Start
		if before := noon.Sub(start); before < 30*time.Minute || before > 35*time.Minute {
			t.Errorf("it begins %v before", before)
		}
		starts[start] = true
	}
	if len(starts) < 15 {
		t.Errorf("20 nodes begin at %d times", len(starts))
	}
}

func TestTheRequestOfAnOperator(t *testing.T) {
	const file = "/requests/drain.json"
	disk, err := fsx.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config := cell.New(func(a, b notice.Config) bool { return false })
	config.Set(notice.Default())
	d := &notice.Operator{FS: disk, File: file, Shutdown: "/requests/shutdown.json", BootID: "b", Config: config, Notices: notices()}
	pass := func() ([]facts.Notice, error) {
		_, err := d.Reconcile(t.Context())
		all, _ := d.Notices.Get()
		return all, err
	}
	if all, err := pass(); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	write := func(data []byte) {
		t.Helper()
		_, _ = disk.MkdirAll("/requests", 0o700)
		if _, err := disk.WriteFile(file, data, fsx.How{Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(r notice.Request) {
		t.Helper()
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		write(data)
	}
	ask(notice.Request{At: noon, Why: "disk swap"})
	want := facts.Notice{Source: facts.NoticeOperator, What: "drain", ID: "2026-01-02T12:00:00Z", Drain: true, Cap: 15 * time.Minute, Why: "disk swap"}
	if all, err := pass(); err != nil || !slices.Equal(all, []facts.Notice{want}) {
		t.Errorf("%+v, %v", all, err)
	}
	ask(notice.Request{At: noon, Deadline: time.Minute, Force: true, Why: "disk swap"})
	want.Cap, want.Force = time.Minute, true
	if all, err := pass(); err != nil || !slices.Equal(all, []facts.Notice{want}) {
		t.Errorf("%+v, %v", all, err)
	}
	write([]byte("{"))
	if all, err := pass(); err == nil || !slices.Equal(all, []facts.Notice{want}) {
		t.Errorf("a request that cannot be read: %+v, %v", all, err)
	}
	if _, err := disk.Remove(file); err != nil {
		t.Fatal(err)
	}
	if all, err := pass(); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	for boot, want := range map[string]int{"b": 1, "another": 0} {
		data, err := json.Marshal(notice.ShutdownRequest{Kind: "reboot", By: noon, BootID: boot})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := disk.WriteFile("/requests/shutdown.json", data, fsx.How{Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		all, err := pass()
		if err != nil || len(all) != want || want > 0 && (!all[0].Hard || all[0].What != "reboot" || !all[0].By.Equal(noon)) {
			t.Errorf("a shutdown asked for in boot %s: %+v, %v", boot, all, err)
		}
	}
}

// logind is a login manager.
type logind struct {
	held      int
	max       time.Duration
	preparing bool
	kind      string
	err       error
}

func (l *logind) Inhibit(context.Context, string) (func() error, error) {
	if l.err != nil {
		return nil, l.err
	}
	l.held++
	return func() error { l.held--; return nil }, nil
}
func (l *logind) DelayMax(context.Context) (time.Duration, error) { return l.max, l.err }
func (l *logind) Preparing(context.Context) (bool, error)         { return l.preparing, l.err }
func (l *logind) Stopping(context.Context) (string, error)        { return l.kind, l.err }

func TestAShutdownIsDelayedUntilTheNodeIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &logind{max: 100 * time.Second, kind: "reboot"}
		drained := cell.Comparable[string]()
		d := &notice.Shutdown{Logind: l, Drained: drained, Notices: notices()}
		pass := func() (duty.Outcome, []facts.Notice) {
			t.Helper()
			out, err := d.Reconcile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all, _ := d.Notices.Get()
			return out, all
		}
		pass()
		if _, all := pass(); l.held != 1 || len(all) != 0 {
			t.Errorf("%d inhibitors, %+v", l.held, all)
		}
		l.preparing = true
		_, all := pass()
		if len(all) != 1 || all[0].What != "reboot" || !all[0].Hard || !all[0].By.Equal(time.Now().Add(100*time.Second)) {
			t.Fatalf("%+v", all)
		}
		time.Sleep(10 * time.Second)
		drained.Set("another")
		if _, again := pass(); l.held != 1 || !slices.Equal(again, all) {
			t.Errorf("%d inhibitors, %+v", l.held, again)
		}
		drained.Set(all[0].Key())
		pass()
		if _, again := pass(); l.held != 0 || !slices.Equal(again, all) {
			t.Errorf("it is not let go: %d inhibitors, %+v", l.held, again)
		}
		l.preparing = false // it was called off
		if _, again := pass(); l.held != 1 || len(again) != 0 {
			t.Errorf("%d inhibitors, %+v", l.held, again)
		}
		l.max = 5 * time.Second
		if out, _ := pass(); len(out.Warnings) != 1 {
			t.Errorf("a delay of 5 s is not told: %+v", out)
		}
		l.err = facts.ErrUnavailable
		if _, err := d.Reconcile(t.Context()); err == nil {
			t.Error("a login manager that does not answer is not told")
		}
	})
}

func TestValidate(t *testing.T) {
	var got []string
	c := notice.Default()
	c.Spot.Interval, c.SoftCap, c.Splay = when.Duration(time.Millisecond), 0, -1
	c.Validate(func(path, message string) { got = append(got, path+": "+message) })
	slices.Sort(got)
	want := []string{
		"soft_cap: 0s is too short: expected 10s or more", "splay: it cannot be negative",
		"spot.interval: 1ms is too short: expected 100ms or more",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	notice.Default().Validate(func(path, message string) { t.Errorf("the default: %s: %s", path, message) })
}

func TestASourceThatIsOffIsNotAsked(t *testing.T) {
	spot, onDemand := facts.Instance{Lifecycle: facts.Spot}, facts.Instance{Lifecycle: facts.OnDemand}
	off := notice.Default()
	off.Rebalance.Policy = notice.Off
	for _, c := range []struct {
		source   string
		config   notice.Config
		instance facts.Instance
		want     time.Duration
	}{
		{facts.NoticeSpot, notice.Default(), spot, 500 * time.Millisecond},
		{facts.NoticeSpot, notice.Default(), facts.Instance{}, 500 * time.Millisecond},
		{facts.NoticeSpot, notice.Default(), onDemand, 0},
		{facts.NoticeRebalance, notice.Default(), spot, 5 * time.Second},
		{facts.NoticeRebalance, off, spot, 0},
		{facts.NoticeAutoScaling, off, onDemand, 5 * time.Second},
		{facts.NoticeMaintenance, off, onDemand, time.Minute},
	} {
		if got := c.config.Interval(c.source, c.instance); got != c.want {
			t.Errorf("%s on %q: each %v, want %v", c.source, c.instance.Lifecycle, got, c.want)
		}
	}
}
