package instance_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/instance"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/sim"
	"github.com/ecsnode/ecsnode/agent/when"
)

const (
	describe   = "ec2/DescribeTags"
	notEnabled = "instance metadata has none (is InstanceMetadataTags enabled?)"
)

func TestATagHasThreeStates(t *testing.T) {
	for name, tc := range map[string]struct {
		options         sim.Options
		arrange         func(m *machine)
		present, absent facts.Presence // of env, and of a tag that is not set
		source, why     string
		warns           string
	}{
		"from instance metadata": {
			present: facts.Present, absent: facts.Absent, source: facts.TagsFromIMDS,
		},
		"from the EC2 API": {
			options: sim.Options{MetadataTagsDisabled: true},
			present: facts.Present, absent: facts.Absent, source: facts.TagsFromEC2,
		},
		"from nowhere, without permission": {
			options: sim.Options{MetadataTagsDisabled: true},
			arrange: func(m *machine) { m.Deny("ec2:DescribeTags") },
			present: facts.Unavailable, absent: facts.Unavailable,
			why: notEnabled + ", and the EC2 API: cannot describe the tags of " + id +
				": refused: the instance role must allow ec2:DescribeTags (UnauthorizedOperation)",
			warns: "cannot read the tags: ",
		},
		"from nowhere, by choice": {
			options: sim.Options{MetadataTagsDisabled: true},
			arrange: func(m *machine) { m.use(instance.FromIMDS) },
			present: facts.Unavailable, absent: facts.Unavailable,
			why: notEnabled, warns: "cannot read the tags: ",
		},
		"from the EC2 API, by choice": {
			arrange: func(m *machine) { m.use(instance.FromEC2) },
			present: facts.Present, absent: facts.Absent, source: facts.TagsFromEC2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, tc.options, func(t *testing.T, m *machine) {
				if tc.arrange != nil {
					tc.arrange(m)
				}
				out := m.good()
				tags := m.now().Tags
				_, env := tags.Lookup("env")
				_, other := tags.Lookup("other")
				if env != tc.present || other != tc.absent || tags.Source != tc.source || tags.Why != tc.why {
					t.Errorf("env is %v, other is %v, tags %+v", env, other, tags)
				}
				if tc.warns == "" && len(out.Warnings) > 0 || tc.warns != "" && (len(out.Warnings) != 1 || out.Warnings[0] != tc.warns+tc.why) {
					t.Errorf("warnings %q", out.Warnings)
				}
			})
		})
	}
}

func (m *machine) use(source instance.TagSource) {
	c := instance.Default()
	c.TagSource = source
	m.config.Set(c)
}

// Nobody may hold a tag for absent because it could not be read.
func TestTagsThatCouldNotBeReadAreUnavailableAndAFailure(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.fault("imds/meta-data/tags", sim.Fault{Kind: sim.FaultHang})
		_, err := m.pass()
		const why = "cannot read meta-data/tags/instance: unavailable: no answer within 2s"
		if err == nil || err.Error() != "cannot read the tags: "+why {
			t.Errorf("got %v", err)
		}
		i := m.now()
		if diff := cmp.Diff(facts.Tags{Why: why}, i.Tags); i.ID != id || diff != "" {
			t.Error(diff)
		}
		m.ClearFaults()
		m.good()
		if tags := m.now().Tags; tags.Source != facts.TagsFromIMDS || tags.Why != "" {
			t.Errorf("it does not heal: %+v", tags)
		}
	})
}

func TestLateTagsAreSeenSoon(t *testing.T) {
	bubble(t, sim.Options{Tags: map[string]string{"a": "b"}}, func(t *testing.T, m *machine) {
		m.run(62 * time.Second)
		if err := m.SetTag("env", "prod"); err != nil {
			t.Fatal(err)
		}
		m.woken()
		if m.run(5 * time.Second); !m.woken() {
			t.Error("a tag put on after a minute was not seen within 5 s")
		}
		m.run(5 * time.Minute)
		if out := m.good(); out.Again != time.Minute {
			t.Errorf("after 6 minutes the next pass is wanted in %v", out.Again)
		}
	})
	bubble(t, sim.Options{MetadataTagsDisabled: true, Tags: map[string]string{}}, func(t *testing.T, m *machine) {
		m.run(3 * time.Minute)
		if _, p := m.now().Tags.Lookup("env"); p != facts.Absent {
			t.Fatalf("env is %v", p)
		}
		if err := m.SetTag("env", "prod"); err != nil {
			t.Fatal(err)
		}
		m.run(time.Minute)
		if v, _ := m.now().Tags.Lookup("env"); v != "prod" {
			t.Error("a tag put on after 3 minutes was not seen in the EC2 API within a minute")
		}
	})
}

func TestPaceOfTheEC2API(t *testing.T) {
	bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, m *machine) {
		m.run(10 * time.Minute)
		if n := m.Count(describe); n < 10 || n > 12 {
			t.Errorf("%d calls in the first 10 minutes", n)
		}
		m.run(15 * time.Minute)
		c := instance.Default()
		c.Interval = when.Duration(10 * time.Minute)
		m.config.Set(c)
		m.ResetCalls()
		m.run(24 * time.Hour)
		if n := m.Count(describe); n != 96 {
			t.Errorf("%d calls a day, want one each 15 minutes", n)
		}
	})
}

func TestTheSourceFollowsTheInstanceOption(t *testing.T) {
	bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, m *machine) {
		for _, enabled := range []bool{false, true, false, true} {
			if err := m.EnableMetadataTags(enabled); err != nil {
				t.Fatal(err)
			}
			m.good()
			want := map[bool]string{true: facts.TagsFromIMDS, false: facts.TagsFromEC2}[enabled]
			if tags := m.now().Tags; tags.Source != want || tags.Values["env"] != "prod" {
				t.Errorf("enabled %t: %+v", enabled, tags)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestTagsOfTheAPIStayWhileItIsThrottled(t *testing.T) {
	bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, m *machine) {
		m.run(25 * time.Minute)
		m.woken()
		m.SetRate(sim.BucketEC2NonMutating, sim.Rate{})
		m.ResetCalls()
		m.run(20 * time.Minute)
		out := m.good() // the tags are less than two intervals old
		if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "throttled (RequestLimitExceeded); the 2 tags from ec2, read ") {
			t.Errorf("warnings %q", out.Warnings)
		}
		m.run(15 * time.Minute)
		if _, err := m.pass(); err == nil {
			t.Error("no error although the tags are old")
		}
		if m.woken() {
			t.Errorf("what is published changed: %+v", m.now())
		}
		if n := m.Count(describe); n > 60 {
			t.Errorf("%d calls in 35 minutes of throttling", n)
		}
		m.SetRate(sim.BucketEC2NonMutating, sim.Rate{Burst: 100, PerSecond: 20})
		m.run(5 * time.Minute)
		m.good()
	})
}

func TestRevokedPermissionKeepsTheTagsWithAWarning(t *testing.T) {
	bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, m *machine) {
		m.good()
		m.Deny("ec2:DescribeTags")
		m.run(2 * time.Hour)
		out := m.good()
		const want = "ec2:DescribeTags (UnauthorizedOperation); the 2 tags from ec2, read 2000-01-01 00:00Z, stay"
		if len(out.Warnings) != 1 || !strings.HasSuffix(out.Warnings[0], want) {
			t.Errorf("warnings %q", out.Warnings)
		}
	})
}

// plain is instance metadata without tags that never fails.
type plain struct{ is facts.Instance }

func (p plain) Instance(context.Context) (facts.Instance, error) { return p.is, nil }

func (plain) Tags(context.Context) (map[string]string, error) { return nil, facts.ErrAbsent }

// 300 nodes boot in the same second, and share the account's request rate.
func TestAFleetThatBootsTogetherGetsItsTags(t *testing.T) {
	const fleet = 300
	synctest.Test(t, func(t *testing.T) {
		w := sim.New(sim.Options{})
		base, err := fsx.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		start := time.Now()
		had := make([]time.Duration, fleet) // when a node had its tags
		var nodes sync.WaitGroup
		for i := range fleet {
			node, err := w.AddNode(sim.Instance{ID: fmt.Sprintf("i-%017x", i+1)}, map[string]string{"n": fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			network := sim.NewNetwork()
			defer network.Close()
			for addr, h := range map[string]http.Handler{"169.254.169.254:80": node.IMDS(), ":80": w.AWS()} {
				if err := network.Serve(addr, h); err != nil {
					t.Fatal(err)
				}
			}
			_, api := clients(t, network)
			published := cell.New(facts.Instance.Equal)
			d := &instance.Duty{
				FS: fsx.NewOverlay(base), Config: cell.Comparable[instance.Config](), TagAPI: api, Instance: published,
				Metadata: plain{facts.Instance{ID: node.Instance().ID, Region: "eu-west-1", Zone: "eu-west-1a"}},
			}
			nodes.Go(func() {
				for ctx.Err() == nil {
					out, _ := d.Reconcile(ctx)
					got, _ := published.Get()
					if v, p := got.Tags.Lookup("n"); p == facts.Present && v == fmt.Sprint(i) {
						had[i] = time.Since(start)
						return
					}
					time.Sleep(out.Again)
				}
				t.Errorf("node %d has no tags", i)
			})
		}
		nodes.Wait()
		slices.Sort(had)
		// The bucket holds 100 and refills by 20 a second: 10 s would be the least.
		if last := had[fleet-1]; last > 45*time.Second {
			t.Errorf("the last node had its tags after %v", last)
		}
		t.Logf("half of %d nodes had their tags after %v, the last after %v, by %d calls", fleet, had[fleet/2], had[fleet-1], w.Count(describe))
	})
}

func TestIntervalsAreSettings(t *testing.T) {
	bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, m *machine) {
		c := instance.Default()
		c.Interval, c.TagsAPIInterval = when.Duration(30*time.Second), when.Duration(2*time.Minute)
		m.config.Set(c)
		m.run(20 * time.Minute)
		m.ResetCalls()
		m.run(time.Hour)
		if calls, passes := m.Count(describe), m.Count("imds/dynamic"); calls != 30 || passes < 120 || passes > 150 {
			t.Errorf("%d calls and %d passes in an hour", calls, passes)
		}
	})
}
