package instance_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/duties/instance"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/sim"
	"github.com/ecsnode/ecsnode/agent/when"
)

func TestIdentityAndTagsArePublished(t *testing.T) {
	bubble(t, sim.Options{Instance: sim.Instance{Lifecycle: "spot"}}, func(t *testing.T, m *machine) {
		out := m.good()
		want := facts.Instance{
			ID: id, Type: "m6i.large", Region: "eu-west-1", Zone: "eu-west-1a", ZoneID: "euw1-az1", AccountID: "123456789012",
			ImageID: "ami-0abcdef1234567890", Architecture: "x86_64", PrivateIP: "10.0.1.23", Lifecycle: facts.Spot,
			Hostname: "ip-10-0-1-23.eu-west-1.compute.internal",
			Tags:     facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{"env": "prod", "cluster": "web"}},
		}
		if diff := cmp.Diff(want, m.now()); diff != "" {
			t.Error(diff)
		}
		if want := id + ", m6i.large in eu-west-1a, spot, 2 tags from imds"; out.Summary != want || len(out.Warnings) > 0 {
			t.Errorf("got %+v, want summary %q", out, want)
		}
	})
}

func TestASteadyPassWakesNobodyAndIsCheap(t *testing.T) {
	tags := map[string]string{}
	for _, key := range strings.Split("abcdefghij", "") {
		tags[key] = "value of " + key
	}
	bubble(t, sim.Options{Tags: tags}, func(t *testing.T, m *machine) {
		m.good()
		m.woken()
		m.ResetCalls()
		m.good()
		if n := m.Count("*"); n != 16 { // 5 of identity, 1 list of tags, 10 tags
			t.Errorf("%d requests: %v", n, m.Counts())
		}
		if m.woken() {
			t.Error("readers were woken although nothing changed")
		}
		if err := m.SetTag("a", "another"); err != nil {
			t.Fatal(err)
		}
		if m.good(); !m.woken() {
			t.Error("readers were not woken by a changed tag")
		}
	})
}

func TestLastGoodStaysWhateverIMDSDoes(t *testing.T) {
	const read = "cannot read the identity of the instance: "
	const document = "cannot read dynamic/instance-identity/document: "
	const stays = "; that of " + id + ", read 2000-01-01 00:00Z, is in force"
	for name, tc := range map[string]struct {
		arrange func(m *machine)
		says    string
	}{
		"401 storm": {
			func(m *machine) { m.fault("imds", sim.Fault{Kind: sim.FaultStatus, Status: 401}) },
			read + document + "refused: 401 also with a new token" + stays,
		},
		"disabled endpoint": {
			func(m *machine) { m.EnableIMDS(false) },
			read + document + "refused: 403: is the metadata endpoint (HttpEndpoint) disabled?" + stays,
		},
		"hang": {
			func(m *machine) { m.fault("imds", sim.Fault{Kind: sim.FaultHang}) },
			read + document + "unavailable: no answer within 2s" + stays,
		},
		"503": {
			func(m *machine) { m.fault("imds/dynamic", sick()) },
			read + document + "unavailable: HTTP status 503 for it" + stays,
		},
		"10 MB": {
			func(m *machine) { m.fault("imds/dynamic", sim.Fault{Kind: sim.FaultHuge, Size: 10 << 20}) },
			read + document + "unavailable: the answer is longer than 256 KiB" + stays,
		},
		"truncated": {
			func(m *machine) { m.fault("imds/dynamic", sim.Fault{Kind: sim.FaultTruncate}) },
			read + document + "unavailable: the answer was cut short" + stays,
		},
		"garbage": {
			func(m *machine) { m.fault("imds/dynamic", sim.Fault{Kind: sim.FaultGarbage}) },
			read + document + "unavailable: not the JSON expected: …",
		},
		"refused connection": {
			func(m *machine) { _ = m.network.Close() },
			read + document + "unavailable: connection refused" + stays,
		},
		"tags only": {
			func(m *machine) { m.fault("imds/meta-data/tags", sick()) },
			"cannot read the tags: cannot read meta-data/tags/instance: unavailable: HTTP status 503 for it; the 2 tags from imds, read 2000-01-01 00:00Z, stay",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
				m.good()
				before := m.now()
				m.woken()
				time.Sleep(5*time.Minute + 10*time.Second)
				tc.arrange(m)
				for range 2 {
					_, err := m.pass()
					if err == nil {
						t.Fatal("no error")
					}
					prefix, open := strings.CutSuffix(tc.says, "…")
					if got := err.Error(); got != tc.says && !(open && strings.HasPrefix(got, prefix)) {
						t.Errorf("got  %s\nwant %s", got, tc.says)
					}
				}
				if diff := cmp.Diff(before, m.now()); diff != "" || m.woken() {
					t.Errorf("what is published changed: %s", diff)
				}
			})
		})
	}
}

func TestFlappingIMDSChangesNothingPublished(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.good()
		m.woken()
		m.fault("imds", sim.Fault{Kind: sim.FaultReset, Probability: 0.2})
		m.run(time.Hour)
		if m.woken() {
			t.Errorf("readers were woken: %+v", m.now())
		}
		if m.ClearFaults(); m.good().Summary == "" {
			t.Error("no summary")
		}
	})
}

func TestTheEngineShowsASickIMDSAfterOnePass(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.fault("imds", sim.Fault{Kind: sim.FaultHang})
		var mu sync.Mutex
		var last duty.Record
		engine := duty.Engine{ID: id, Log: slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil)), Report: func(r duty.Record) {
			mu.Lock()
			defer mu.Unlock()
			last = r
		}}
		_ = engine.Pass(t.Context(), []duty.Entry{{Duty: m.duty, When: when.Every(time.Minute), Timeout: 20 * time.Second}})
		if last.State != duty.Failing || last.Passes != 1 || last.Took != 2*time.Second {
			t.Errorf("got %+v", last)
		}
		want := "cannot read the identity of the instance: cannot read dynamic/instance-identity/document: unavailable: " +
			"no answer within 2s; nothing is known of this instance: there is no " + storeFile
		if last.Err != want {
			t.Errorf("got  %s\nwant %s", last.Err, want)
		}
	})
}

func TestValidate(t *testing.T) {
	t.Parallel()
	report := func(c instance.Config) (problems []string) {
		c.Validate(func(path, message string) { problems = append(problems, path+": "+message) })
		return problems
	}
	if problems := report(instance.Default()); len(problems) > 0 {
		t.Errorf("the defaults are invalid: %q", problems)
	}
	c := instance.Config{Interval: when.Duration(time.Second), TagsAPIInterval: 0}
	want := []string{"interval: 1s is too short: expected 5s or more", "tags_api_interval: 0s is too short: expected 1m0s or more"}
	if diff := cmp.Diff(want, report(c)); diff != "" {
		t.Error(diff)
	}
	var s instance.TagSource
	for _, word := range s.Enum() {
		if err := s.UnmarshalText([]byte(word)); err != nil || string(s) != word {
			t.Errorf("%s: %v", word, err)
		}
	}
	if err := s.UnmarshalText([]byte("dns")); err == nil {
		t.Error("dns is taken")
	}
}
