// Package systemd_test holds the units in this directory to what they promise.
package systemd_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/status"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	units := load(t, node(t))
	for _, c := range []struct{ unit, key, want, why string }{
		{"ecsnode.service", "Service.Type", "notify", "the daemon tells when it is ready"},
		{"ecsnode.service", "Service.NotifyAccess", "main", "the daemon alone feeds the watchdog"},
		{"ecsnode.service", "Service.Restart", "always", "the daemon is started again"},
		{"ecsnode.service", "Unit.StartLimitIntervalSec", "0", "the daemon is started again however often it ends"},
		{"ecsnode.service", "Service.OOMPolicy", "continue", "the daemon goes on when a child is killed"},
		{"ecsnode-boot.service", "Service.Type", "oneshot", "what follows waits until boot has ended"},
		{"ecsnode-boot.service", "Service.RemainAfterExit", "yes", "boot is run once"},
		{"ecsnode-boot.service", "Service.SuccessExitStatus", "", "what boot left undone is seen"},
		{"ecsnode-shutdown.service", "Service.Type", "oneshot", "it runs nothing until the host goes"},
		{"ecsnode-shutdown.service", "Service.RemainAfterExit", "yes", "what is not active is not stopped"},
		{"ecsnode-shutdown.service", "Service.ExecStart", "/usr/bin/true", "it is active without doing anything"},
		{"ecsnode-shutdown.service", "Service.ExecStop", "/usr/bin/ecsnode shutdown", "the node is emptied before the host goes"},
		{"ecsnode-shutdown.service", "Unit.DefaultDependencies", "", "a shutdown stops it, and waits for that"},
		{"ecs.service", "Unit.StartLimitIntervalSec", "0", "the ECS agent is tried however long identity takes"},
		{"ecs.service", "Service.Restart", "on-failure", "the unit's own retry stays"},
		{"ecs.service", "Service.RestartSec", "10s", "the unit's own pause stays"},
		{"ecs.service", "Service.ExecCondition", "", "a condition is not tried again"},
	} {
		if got := units[c.unit].last(c.key); got != c.want {
			t.Errorf("%s: %s is %q, want %q: %s", c.unit, c.key, got, c.want, c.why)
		}
	}
}

// The identity of a boot is a file below the runtime directory that the ECS
// agent's unit asks for at each start.
func TestIdentityOutlivesEachUnit(t *testing.T) {
	t.Parallel()
	units := load(t, node(t))
	for _, name := range ours(t) {
		u := units[name]
		if got := u.last("Service.RuntimeDirectory"); "/run/"+got != status.Dir {
			t.Errorf("%s: RuntimeDirectory=%s, want that of %s", name, got, status.Dir)
		}
		if got := u.last("Service.RuntimeDirectoryPreserve"); got != "yes" {
			t.Errorf("%s: RuntimeDirectoryPreserve=%s: stopping it would take the identity away", name, got)
		}
	}
}

func TestAgentAsksForIdentityLast(t *testing.T) {
	t.Parallel()
	pre := load(t, node(t))["ecs.service"].values["Service.ExecStartPre"]
	if len(pre) != 3 {
		t.Fatalf("ecs.service has %d ExecStartPre, want its own two and ours: %q", len(pre), pre)
	}
	if want := "/usr/bin/ecsnode ready identity"; pre[2] != want {
		t.Errorf("the last ExecStartPre of ecs.service is %q, want %q", pre[2], want)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	units := load(t, node(t))
	boot := units["ecsnode-boot.service"]
	budget := time.Duration(config.Default().Boot.Budget)
	if d := boot.duration(t, "Service.TimeoutStartSec") - budget; d < 15*time.Second || d > time.Minute {
		t.Errorf("ecsnode-boot.service: TimeoutStartSec is %v over the budget of boot, want 15s to 1m", d)
	}
	budget = time.Duration(config.Default().Boot.EarlyBudget)
	if d := units["ecsnode-early.service"].duration(t, "Service.TimeoutStartSec") - budget; d < 15*time.Second || d > time.Minute {
		t.Errorf("ecsnode-early.service: TimeoutStartSec is %v over the early budget, want 15s to 1m", d)
	}
	if d := units["ecsnode.service"].duration(t, "Service.WatchdogSec"); d < 4*status.Heartbeat {
		t.Errorf("ecsnode.service: WatchdogSec=%v is too close to the heartbeat of %v", d, status.Heartbeat)
	}
	delay := units["logind.conf"].duration(t, "Login.InhibitDelayMaxSec")
	if d := units["ecsnode-shutdown.service"].duration(t, "Service.TimeoutStopSec") - delay; d < 10*time.Second || d > 30*time.Second {
		t.Errorf("ecsnode-shutdown.service: TimeoutStopSec is %v over InhibitDelayMaxSec of logind, want 10s to 30s", d)
	}
	for _, name := range ours(t) {
		if name == "ecsnode-shutdown.service" {
			continue
		}
		// The engine gives passes in flight 10 s.
		if d := units[name].duration(t, "Service.TimeoutStopSec"); d <= 10*time.Second || d > 30*time.Second {
			t.Errorf("%s: TimeoutStopSec=%v, want 10s to 30s", name, d)
		}
	}
}

// Early, boot and the daemon run the same duties, and all the same program.
func TestOneSandbox(t *testing.T) {
	t.Parallel()
	apart := []string{
		"Type", "NotifyAccess", "ExecStart", "ExecStop", "RemainAfterExit", "Restart", "RestartSec", "WatchdogSec",
		"TimeoutStartSec", "TimeoutStopSec", "OOMPolicy", "OOMScoreAdjust", "MemoryMax",
	}
	sandbox := func(u *unit) map[string][]string {
		have := map[string][]string{}
		for key, v := range u.values {
			if name, ok := strings.CutPrefix(key, "Service."); ok && !slices.Contains(apart, name) {
				have[name] = v
			}
		}
		return have
	}
	units := load(t, shipped(t))
	want := sandbox(units["ecsnode.service"])
	if len(want) < 20 {
		t.Errorf("ecsnode.service has a sandbox of %d settings only: %v", len(want), want)
	}
	for _, name := range ours(t) {
		if diff := cmp.Diff(want, sandbox(units[name])); diff != "" {
			t.Errorf("the sandboxes differ (- daemon, + %s):\n%s", name, diff)
		}
	}
}
