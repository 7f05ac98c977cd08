package guard_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/guard"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// host is a packet filter and an engine.
type host struct {
	rules      map[facts.IPVersion][]facts.MetadataRule // nil: there is no chain
	asked      int
	behind     bool // others have put theirs before ours
	containers []facts.Container
	engineErr  error
	probes     int
	hops       int // that answers of instance metadata live
	metadata   error
}

func (h *host) Forwarded(context.Context) (bool, error) {
	h.probes++
	return h.hops > 1, h.metadata
}

func (h *host) Rules(v facts.IPVersion) ([]facts.MetadataRule, bool, error) {
	h.asked++
	r, ok := h.rules[v]
	if !ok {
		return nil, false, fmt.Errorf("cannot filter IPv%d: %w", v, facts.ErrAbsent)
	}
	return r, !h.behind, nil
}

func (h *host) Replace(v facts.IPVersion, rules []facts.MetadataRule) error {
	h.behind = false
	h.rules[v] = rules
	return nil
}

func (h *host) Containers(context.Context) ([]facts.Container, error) {
	return h.containers, h.engineErr
}

func container(family string, addresses ...string) facts.Container {
	c := facts.Container{Labels: map[string]string{facts.LabelFamily: family}}
	for _, a := range addresses {
		c.Addresses = append(c.Addresses, netip.MustParseAddr(a))
	}
	return c
}

func newDuty(c guard.Config) (*host, *guard.Duty, *cell.Cell[guard.Config], *cell.Cell[bool]) {
	h := &host{hops: 2, rules: map[facts.IPVersion][]facts.MetadataRule{facts.IPv4: {}, facts.IPv6: {}}}
	config := cell.New(func(guard.Config, guard.Config) bool { return false })
	config.Set(c)
	blocked := cell.Comparable[bool]()
	blocked.Set(true)
	return h, &guard.Duty{Config: config, Filter: h, Engine: h, AwsvpcBlocked: blocked, Metadata: h}, config, blocked
}

// shown is the rules of both versions, in words.
func (h *host) shown() string {
	var all []string
	for _, v := range []facts.IPVersion{facts.IPv4, facts.IPv6} {
		for _, r := range h.rules[v] {
			word := "refuse"
			if r.Allow {
				word = "allow " + r.From.String()
			}
			all = append(all, fmt.Sprintf("%d: %s", v, word))
		}
	}
	return strings.Join(all, ", ")
}

func TestTheGuard(t *testing.T) {
	h, d, config, _ := newDuty(guard.Config{Enabled: true})
	h.containers = []facts.Container{container("web", "172.17.0.2", "fd00::2"), container("datadog", "172.17.0.9", "172.18.0.9", "fd00::9")}
	pass := func(changed bool, want string) {
		t.Helper()
		out, err := d.Reconcile(t.Context())
		if err != nil || out.Changed != changed || h.shown() != want {
			t.Errorf("%+v, %v; rules: %s, want %s", out, err, h.shown(), want)
		}
	}
	pass(true, "4: refuse, 6: refuse")
	pass(false, "4: refuse, 6: refuse")
	h.rules[facts.IPv4] = nil // flushed
	pass(true, "4: refuse, 6: refuse")

	config.Set(guard.Config{Enabled: true, AllowFamilies: []string{"datadog"}})
	pass(true, "4: allow 172.17.0.9, 4: allow 172.18.0.9, 4: refuse, 6: allow fd00::9, 6: refuse")
	pass(false, "4: allow 172.17.0.9, 4: allow 172.18.0.9, 4: refuse, 6: allow fd00::9, 6: refuse")
	h.containers = h.containers[:1] // it has gone
	pass(true, "4: refuse, 6: refuse")

	config.Set(guard.Config{})
	pass(true, "")
	asked := h.asked
	pass(false, "")
	if h.asked != asked {
		t.Error("a guard that is off asks again and again")
	}
	config.Set(guard.Config{Enabled: true})
	pass(true, "4: refuse, 6: refuse")
	config.Set(guard.Config{})
	pass(true, "")
}

func TestWhatTheGuardCannotDo(t *testing.T) {
	h, d, config, blocked := newDuty(guard.Config{Enabled: true})
	blocked.Set(false)
	out, err := d.Reconcile(t.Context())
	if err != nil || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "ecs_config.awsvpc_block_imds") {
		t.Errorf("%+v, %v", out, err)
	}
	blocked.Set(true)

	delete(h.rules, facts.IPv6)
	out, err = d.Reconcile(t.Context())
	if err != nil || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "cannot filter IPv6") {
		t.Errorf("%+v, %v", out, err)
	}
	delete(h.rules, facts.IPv4)
	if _, err := d.Reconcile(t.Context()); !errors.Is(err, duty.ErrNotReady) || !strings.Contains(err.Error(), "cannot filter IPv4") {
		t.Errorf("without Docker: %v", err)
	}
	h.rules[facts.IPv4] = []facts.MetadataRule{{}}
	h.engineErr = facts.ErrUnavailable
	config.Set(guard.Config{Enabled: true, AllowFamilies: []string{"datadog"}})
	if _, err := d.Reconcile(t.Context()); !errors.Is(err, facts.ErrUnavailable) || !slices.Equal(h.rules[facts.IPv4], []facts.MetadataRule{{}}) {
		t.Errorf("%v, rules: %s", err, h.shown())
	}
}

func TestValidate(t *testing.T) {
	var got []string
	guard.Config{AllowFamilies: []string{"datadog", "log:3", ""}}.Validate(func(path, message string) { got = append(got, path+": "+message) })
	want := []string{
		`allow_families[1]: "log:3" is no family of task definitions: expected its name, without a revision`,
		`allow_families[2]: "" is no family of task definitions: expected its name, without a revision`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestAHopLimitOfOneIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d, config, _ := newDuty(guard.Config{})
		h.hops = 1
		told := func(summary string, warnings ...string) {
			t.Helper()
			out, err := d.Reconcile(t.Context())
			if err != nil || out.Summary != summary || !slices.Equal(out.Warnings, warnings) {
				t.Errorf("%q, %q, %v", out.Summary, out.Warnings, err)
			}
		}
		h.metadata = facts.ErrUnavailable
		told("off: containers may reach instance metadata")
		h.metadata = nil
		told("off: only the hop limit of 1 keeps containers on a bridge from instance metadata")
		config.Set(guard.Config{Enabled: true})
		told("containers are kept from instance metadata")
		config.Set(guard.Config{Enabled: true, AllowFamilies: []string{"datadog"}})
		told("containers are kept from instance metadata, but for 0 of datadog",
			"no container on a bridge gets an answer, also none of datadog: the hop limit of instance metadata is 1. "+
				"If they need it: aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2")
		if h.probes != 2 {
			t.Errorf("asked %d times within the hour", h.probes)
		}
		time.Sleep(61 * time.Minute)
		h.metadata, h.hops = facts.ErrUnavailable, 2
		config.Set(guard.Config{})
		told("off: only the hop limit of 1 keeps containers on a bridge from instance metadata") // as last known
		h.metadata = nil
		told("off: containers may reach instance metadata")
	})
}

func TestRulesThatOthersHavePutTheirsBeforeArePutFirstAgain(t *testing.T) {
	h, d, _, _ := newDuty(guard.Config{Enabled: true})
	for _, behind := range []bool{false, true} {
		if _, err := d.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.behind = behind
	}
	if out, err := d.Reconcile(t.Context()); err != nil || !out.Changed || h.behind {
		t.Errorf("%+v, %v", out, err)
	}
	if out, err := d.Reconcile(t.Context()); err != nil || out.Changed {
		t.Errorf("%+v, %v", out, err)
	}
}
