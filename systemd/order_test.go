package systemd_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// order tells for each unit what it waits for when both start.
type order map[string]map[string]bool

func (o order) add(later, earlier string) {
	if o[later] == nil {
		o[later] = map[string]bool{}
	}
	o[later][earlier] = true
}

// newOrder has what units say, and what systemd adds: services start after
// basic.target (systemd.service(5)), targets after what they want unless that is
// itself after the target (systemd.target(5)).
func newOrder(units map[string]*unit) order {
	o := order{}
	for name, u := range units {
		for _, other := range u.words("Unit.After") {
			o.add(name, other)
		}
		for _, other := range u.words("Unit.Before") {
			o.add(other, name)
		}
	}
	implied := func(target, wanted string) {
		if strings.HasSuffix(target, ".target") && !o[wanted][target] {
			o.add(target, wanted)
		}
	}
	for name, u := range units {
		if u.last("Unit.DefaultDependencies") == "no" {
			continue
		}
		if strings.HasSuffix(name, ".service") {
			o.add(name, "basic.target")
		}
		for _, wanted := range slices.Concat(u.words("Unit.Wants"), u.words("Unit.Requires")) {
			implied(name, wanted)
		}
		for _, target := range u.words("Install.WantedBy") {
			implied(target, name)
		}
	}
	return o
}

// path returns how later waits for earlier, from the one to the other; nil if
// it does not.
func (o order) path(later, earlier string) []string {
	seen := map[string]bool{}
	var walk func(string) []string
	walk = func(at string) []string {
		for _, next := range slices.Sorted(maps.Keys(o[at])) {
			if next == earlier {
				return []string{at, next}
			}
			if seen[next] {
				continue
			}
			seen[next] = true
			if rest := walk(next); rest != nil {
				return append([]string{at}, rest...)
			}
		}
		return nil
	}
	return walk(later)
}

func (o order) cycle() []string {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if c := o.path(name, name); c != nil {
			return c
		}
	}
	return nil
}

func TestOrderHasNoCycle(t *testing.T) {
	t.Parallel()
	files := node(t)
	if c := newOrder(load(t, files)).cycle(); c != nil {
		t.Errorf("a unit waits for itself: %s", strings.Join(c, " -> "))
	}

	// Debian's cloud-init runs user data after multi-user.target.
	files["cloud-final.service.d/debian.conf"] = "[Unit]\nAfter=multi-user.target\n"
	c := newOrder(load(t, files)).cycle()
	if !slices.Contains(c, "cloud-final.service") {
		t.Errorf("the cycle that cloud-final.service makes on Debian was not found; found: %q", c)
	}
}

func TestWhoWaitsForWhom(t *testing.T) {
	t.Parallel()
	o := newOrder(load(t, node(t)))
	for _, c := range []struct {
		why            string
		later, earlier string
	}{
		{"user data may write settings", "ecsnode-boot.service", "cloud-final.service"},
		{"boot asks AWS", "ecsnode-boot.service", "network-online.target"},
		{"boot may act on docker", "ecsnode-boot.service", "docker.service"},
		{"the agent reads what boot writes", "ecs.service", "ecsnode-boot.service"},
		{"write_files of user data counts", "ecsnode-early.service", "cloud-init.service"},
		{"volumes come before what is kept on them", "docker.service", "ecsnode-early.service"},
		{"volumes come before what is kept on them", "containerd.service", "ecsnode-early.service"},
	} {
		if o.path(c.later, c.earlier) == nil {
			t.Errorf("%s does not wait for %s: %s", c.later, c.earlier, c.why)
		}
	}
	for _, c := range []struct {
		why            string
		later, earlier string
	}{
		{"user data would never end", "cloud-final.service", "ecsnode-boot.service"},
		{"user data would never end", "cloud-final.service", "ecsnode.service"},
		{"restarting docker in user data would never end", "docker.service", "ecsnode-boot.service"},
		{"restarting docker in user data would never end", "docker.service", "ecsnode.service"},
		{"a daemon that does not get ready would hold the agent", "ecs.service", "ecsnode.service"},
		{"a notice that comes while user data runs would go unseen", "ecsnode.service", "cloud-final.service"},
		{"a notice that comes while boot runs would go unseen", "ecsnode.service", "ecsnode-boot.service"},
		{"what only matters at the end would hold the agent", "ecs.service", "ecsnode-shutdown.service"},
		{"what only matters at the end would hold user data", "cloud-final.service", "ecsnode-shutdown.service"},
		{"what only matters at the end would hold the daemon", "ecsnode.service", "ecsnode-shutdown.service"},
		{"Docker would wait for the network that is asked", "ecsnode-early.service", "cloud-config.service"},
	} {
		if p := o.path(c.later, c.earlier); p != nil {
			t.Errorf("%s: %s", strings.Join(p, " -> "), c.why)
		}
	}
}

// Units stop in the reverse order. Each is named by the unit itself: one that is
// not active, as an ECS agent that is held back, passes no order on.
func TestWhatTheNodeIsEmptiedBefore(t *testing.T) {
	t.Parallel()
	after := load(t, node(t))["ecsnode-shutdown.service"].words("Unit.After")
	for name, why := range map[string]string{
		"docker.service":        "tasks are stopped by Docker",
		"ecs.service":           "tasks are stopped by the agent",
		"ecsnode.service":       "a drain is the daemon's",
		"network-online.target": "a drain asks AWS",
		"dbus.service":          "systemd is asked over D-Bus",
	} {
		if !slices.Contains(after, name) {
			t.Errorf("%s may stop before ecsnode-shutdown.service has: %s", name, why)
		}
	}
}

// What is ordered only can neither fail nor stop with another unit.
func TestNothingFailsWithAnother(t *testing.T) {
	t.Parallel()
	for name, u := range load(t, shipped(t)) {
		for _, key := range []string{"Requires", "Requisite", "BindsTo", "PartOf", "Upholds", "Conflicts", "OnFailure"} {
			if v := u.words("Unit." + key); len(v) > 0 {
				t.Errorf("%s has %s=%s", name, key, strings.Join(v, " "))
			}
		}
		if v := u.words("Install.RequiredBy"); len(v) > 0 {
			t.Errorf("%s has RequiredBy=%s", name, strings.Join(v, " "))
		}
	}
}
