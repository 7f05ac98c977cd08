package services_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/services"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// systemd is a service manager.
type systemd struct {
	units map[string]facts.Unit
	calls []string
	err   error // of Start
}

func (s *systemd) change(call, name string, f func(*facts.Unit)) {
	s.calls = append(s.calls, strings.TrimSpace(call+" "+name))
	u := s.units[name]
	f(&u)
	s.units[name] = u
}

func (s *systemd) Unit(_ context.Context, name string) (facts.Unit, error) {
	u, is := s.units[name]
	if !is {
		u.Load = "not-found"
	}
	u.Name = name
	return u, nil
}

func (s *systemd) Start(_ context.Context, name string) error {
	s.change("start", name, func(u *facts.Unit) {
		if s.err == nil {
			u.Active = "active"
		}
	})
	return s.err
}

func (s *systemd) Stop(_ context.Context, name string) error {
	s.change("stop", name, func(u *facts.Unit) { u.Active = "inactive" })
	return nil
}

func (s *systemd) Enable(_ context.Context, name string, on bool) error {
	s.change(map[bool]string{true: "enable", false: "disable"}[on], name, func(u *facts.Unit) {
		u.Enabled = map[bool]string{true: "enabled", false: "disabled"}[on]
	})
	return nil
}

func (s *systemd) Mask(_ context.Context, name string, on bool) error {
	s.change(map[bool]string{true: "mask", false: "unmask"}[on], name, func(u *facts.Unit) {
		u.Load, u.Enabled = map[bool]string{true: "masked", false: "loaded"}[on], map[bool]string{true: "masked", false: "disabled"}[on]
	})
	return nil
}

func (s *systemd) ReloadUnits(context.Context) error {
	s.calls = append(s.calls, "reload")
	for name, u := range s.units {
		u.NeedReload = false
		s.units[name] = u
	}
	return nil
}

func TestUnitsAreBroughtToWhatIsConfiguredOnce(t *testing.T) {
	yes, no := true, false
	down := facts.Unit{Load: "loaded", Active: "inactive", Enabled: "disabled"}
	up := facts.Unit{Load: "loaded", Active: "active", Enabled: "enabled"}
	masked := facts.Unit{Load: "masked", Active: "inactive", Enabled: "masked"}
	for name, c := range map[string]struct {
		unit  facts.Unit
		want  services.Unit
		calls []string
		err   string
	}{
		"nothing is said":                {up, services.Unit{}, nil, ""},
		"up and enabled":                 {down, services.Unit{Enabled: &yes, State: services.Started}, []string{"enable a.service", "start a.service"}, ""},
		"it is so already":               {up, services.Unit{Enabled: &yes, State: services.Started}, nil, ""},
		"down and disabled":              {up, services.Unit{Enabled: &no, State: services.Stopped}, []string{"disable a.service", "stop a.service"}, ""},
		"masked":                         {up, services.Unit{Masked: &yes, State: services.Stopped}, []string{"mask a.service", "stop a.service"}, ""},
		"unmasked and up":                {masked, services.Unit{Masked: &no, State: services.Started}, []string{"unmask a.service", "start a.service"}, ""},
		"masked by others":               {masked, services.Unit{State: services.Started}, nil, "it is masked"},
		"static has nothing to enable":   {facts.Unit{Load: "loaded", Active: "active", Enabled: "static"}, services.Unit{Enabled: &yes}, nil, ""},
		"not installed":                  {facts.Unit{Load: "not-found"}, services.Unit{State: services.Started}, nil, "there is no unit a.service"},
		"not installed, and to be down":  {facts.Unit{Load: "not-found"}, services.Unit{State: services.Stopped}, nil, ""},
		"its files have changed":         {facts.Unit{Load: "loaded", Active: "active", NeedReload: true}, services.Unit{State: services.Started}, []string{"reload"}, ""},
		"on its way up is left to that":  {facts.Unit{Load: "loaded", Active: "activating"}, services.Unit{State: services.Started}, nil, ""},
		"a start that is queued already": {facts.Unit{Load: "loaded", Active: "inactive", Queued: true}, services.Unit{State: services.Started}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &systemd{units: map[string]facts.Unit{"a.service": c.unit}}
			config := cell.New(func(a, b services.Config) bool { return false })
			config.Set(services.Config{Units: map[string]services.Unit{"a.service": c.want}})
			installed := cell.New(facts.Packages.Equal)
			installed.Set(facts.Packages{"failed": {Failed: "no match"}, "there": {Installed: true}})
			d := &services.Duty{Config: config, Manager: s, Packages: installed}
			out, err := d.Reconcile(t.Context())
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
			if !slices.Equal(s.calls, c.calls) || out.Changed != (len(c.calls) > 0) {
				t.Errorf("%q, changed %v, want %q", s.calls, out.Changed, c.calls)
			}
			if _, again := d.Reconcile(t.Context()); c.err == "" && (again != nil || len(s.calls) != len(c.calls)) {
				t.Errorf("the second time: %q, %v", s.calls, again)
			}
		})
	}
}

func TestAUnitThatDoesNotStartKeepsNoOther(t *testing.T) {
	s := &systemd{units: map[string]facts.Unit{"a.service": {Load: "loaded"}, "b.service": {Load: "loaded", Active: "active"}}, err: errors.New("the job ended with failed")}
	config := cell.New(func(a, b services.Config) bool { return false })
	config.Set(services.Config{Units: map[string]services.Unit{"a.service": {State: services.Started}, "b.service": {State: services.Stopped}}})
	installed := cell.New(facts.Packages.Equal)
	installed.Set(facts.Packages{})
	_, err := (&services.Duty{Config: config, Manager: s, Packages: installed}).Reconcile(t.Context())
	if err == nil || !slices.Contains(s.calls, "stop b.service") {
		t.Errorf("%v %q", err, s.calls)
	}
}

func TestAUnitThatDoesNotStayUpIsStartedLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const unit = "a.service"
		failed := facts.Unit{Load: "loaded", Active: "failed", Result: "start-limit-hit"}
		s := &systemd{units: map[string]facts.Unit{unit: failed}}
		config := cell.New(func(a, b services.Config) bool { return false })
		config.Set(services.Config{Units: map[string]services.Unit{unit: {State: services.Started}}})
		d := &services.Duty{Config: config, Manager: s}
		told := 0
		for range 24 * 60 * 6 { // a pass each 10 s, for a day
			s.units[unit] = failed
			if _, err := d.Reconcile(t.Context()); err != nil && strings.Contains(err.Error(), "a.service does not stay up (start-limit-hit)") {
				told++
			}
			time.Sleep(10 * time.Second)
		}
		if n := len(s.calls); n < 24*60/5 || n > 24*60/5*3/2 || told < 24*60*6-n {
			t.Errorf("%d starts in a day, told %d times", n, told)
		}
		time.Sleep(time.Hour)
		for range 2 { // up, and still up later
			s.units[unit] = facts.Unit{Load: "loaded", Active: "active"}
			if out, err := d.Reconcile(t.Context()); err != nil || out.Changed {
				t.Errorf("%v, %+v", err, out)
			}
			time.Sleep(time.Hour)
		}
		s.units[unit] = facts.Unit{Load: "loaded", Active: "inactive"} // by hand
		if out, err := d.Reconcile(t.Context()); err != nil || !out.Changed {
			t.Errorf("one that was up for long is not started at once: %v, %+v", err, out)
		}
	})
}

func TestACrashLoopIsLeftToSystemdAndTold(t *testing.T) {
	s := &systemd{units: map[string]facts.Unit{"a.service": {Load: "loaded", Active: "activating", Sub: "auto-restart", Result: "exit-code"}}}
	config := cell.New(func(a, b services.Config) bool { return false })
	config.Set(services.Config{Units: map[string]services.Unit{"a.service": {State: services.Started}}})
	out, err := (&services.Duty{Config: config, Manager: s}).Reconcile(t.Context())
	if err == nil || out.Changed || len(s.calls) != 0 || !strings.Contains(err.Error(), "a.service does not stay up (exit-code)") {
		t.Errorf("%v, %+v, %q", err, out, s.calls)
	}
}

func TestWhatIsWrongWithTheConfigurationIsSaid(t *testing.T) {
	yes := true
	for unit, want := range map[string]services.Unit{
		"rsyslog": {}, "docker.service": {State: services.Started}, "ecsnode-boot.service": {}, "a.service": {Masked: &yes, State: services.Started},
	} {
		c := services.Config{Units: map[string]services.Unit{unit: want}}
		told := 0
		c.Validate(func(string, string) { told++ })
		if told != 1 {
			t.Errorf("%s: told %d times", unit, told)
		}
	}
}

func TestAUnitThatAPackageMayBring(t *testing.T) {
	config := cell.New(func(a, b services.Config) bool { return false })
	config.Set(services.Config{Units: map[string]services.Unit{"rsyslog.service": {State: services.Started}}})
	s := &systemd{units: map[string]facts.Unit{}}
	states := cell.New(facts.Packages.Equal)
	d := &services.Duty{Config: config, Manager: s, Packages: states}
	waits := func(says string) {
		t.Helper()
		if _, err := d.Reconcile(t.Context()); !errors.Is(err, duty.ErrNotReady) || !strings.Contains(err.Error(), says) {
			t.Error(err)
		}
	}
	waits("there is no unit rsyslog.service yet: packages have not been looked at")
	states.Set(facts.Packages{"rsyslog": {}, "chrony": {Installed: true}})
	waits("there is no unit rsyslog.service yet: rsyslog is not installed yet")
	states.Set(facts.Packages{"rsyslog": {Failed: "no match"}})
	if _, err := d.Reconcile(t.Context()); !errors.Is(err, facts.ErrAbsent) || errors.Is(err, duty.ErrNotReady) {
		t.Error(err)
	}
	states.Set(facts.Packages{"rsyslog": {Failed: "no answer", Outside: true}})
	if _, err := d.Reconcile(t.Context()); !errors.Is(err, facts.ErrUnavailable) {
		t.Error(err)
	}
	states.Set(facts.Packages{"rsyslog": {Installed: true}})
	s.units["rsyslog.service"] = facts.Unit{Load: "loaded", Active: "inactive"}
	if _, err := d.Reconcile(t.Context()); err != nil || s.units["rsyslog.service"].Active != "active" {
		t.Error(err, s.units)
	}
}
