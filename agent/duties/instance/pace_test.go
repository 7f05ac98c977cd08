package instance_test

import (
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duties/instance"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const noTagsYet = "unavailable: ec2:DescribeTags lists no tags yet"

// until makes passes as often as they are wanted, until done or limit, and
// returns how long that took.
func (m *machine) until(limit time.Duration, done func() bool) time.Duration {
	m.t.Helper()
	for began := time.Now(); ; {
		out, _ := m.pass()
		took := time.Since(began)
		if done() {
			return took
		}
		if took >= limit {
			m.t.Fatalf("not after %v: %+v", took, m.now())
		}
		time.Sleep(out.Again)
	}
}

func (m *machine) presence(key string) facts.Presence {
	_, p := m.now().Tags.Lookup(key)
	return p
}

func tagless() sim.Options {
	return sim.Options{MetadataTagsDisabled: true, Tags: map[string]string{}}
}

func TestAnInstanceWithoutTagsIsKnownAfterHalfAMinute(t *testing.T) {
	for source, says := range map[instance.TagSource]string{
		instance.FromAuto: notEnabled + ", and the EC2 API: " + noTagsYet, instance.FromEC2: noTagsYet,
	} {
		t.Run(string(source), func(t *testing.T) {
			bubble(t, tagless(), func(t *testing.T, m *machine) {
				m.use(source)
				_, err := m.pass()
				if err == nil || err.Error() != "cannot read the tags: "+says || m.presence("env") != facts.Unavailable {
					t.Errorf("got %v, env is %v", err, m.presence("env"))
				}
				took := m.until(time.Minute, func() bool { return m.presence("env") == facts.Absent })
				if took < 30*time.Second || took > 36*time.Second {
					t.Errorf("it was known after %v", took)
				}
				if n := m.Count(describe); n != 3 {
					t.Errorf("%d calls", n)
				}
				for range 2 {
					if out := m.good(); len(out.Warnings) > 0 {
						t.Errorf("warnings %q", out.Warnings)
					}
					m.boot("boot-2") // what is known already needs no second look
				}
			})
		})
	}
}

func TestInstancesThatBootTogetherAskAgainApart(t *testing.T) {
	again := map[time.Duration]bool{}
	for _, id := range []string{id, otherID} {
		o := tagless()
		o.Instance.ID = id
		bubble(t, o, func(t *testing.T, m *machine) {
			m.run(20 * time.Second)
			at := m.answers()
			if len(at) != 2 {
				t.Fatalf("asked at %v", at)
			}
			again[at[1].Sub(at[0])] = true
		})
	}
	if len(again) != 2 {
		t.Errorf("asked again after %v", again)
	}
}

func TestTagsPutOnAfterTheLaunchAreNeverAbsent(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 10 * time.Second, 25 * time.Second} {
		bubble(t, tagless(), func(t *testing.T, m *machine) {
			time.AfterFunc(after, func() { _ = m.SetTag("env", "prod") })
			took := m.until(time.Minute, func() bool {
				if m.presence("env") == facts.Absent {
					t.Errorf("put on after %v, the tag is absent", after)
				}
				return m.presence("env") == facts.Present
			})
			if took > after+18*time.Second {
				t.Errorf("put on after %v, the tag was seen after %v", after, took)
			}
		})
	}
}

func TestTwoAnswersWithoutTagsCountAlsoWithAFailureBetween(t *testing.T) {
	bubble(t, tagless(), func(t *testing.T, m *machine) {
		if _, err := m.pass(); err == nil {
			t.Fatal("the first answer was final")
		}
		m.SetRate(sim.BucketEC2NonMutating, sim.Rate{})
		m.run(40 * time.Second)
		m.SetRate(sim.BucketEC2NonMutating, sim.Rate{Burst: 100, PerSecond: 20})
		m.until(time.Minute, func() bool { return m.Count(describe) > 0 && m.presence("env") == facts.Absent })
		if n := len(m.answers()); n != 2 {
			t.Errorf("%d answers", n)
		}
	})
}

// answers are the times at which the API served a request.
func (m *machine) answers() (at []time.Time) {
	for _, c := range m.Calls() {
		if c.Service+"/"+c.Operation == describe && c.Status == 200 {
			at = append(at, c.Time)
		}
	}
	return at
}

func TestTagsThatAreTakenAway(t *testing.T) {
	for name, tc := range map[string]struct {
		young       bool
		least, most time.Duration
		calls       int
	}{
		"from a node that has just started": {true, 30 * time.Second, 36 * time.Second, 3},
		"from a node that runs":             {false, 0, time.Minute, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, m *machine) {
				m.run(3 * time.Minute)
				if err := m.SetTags(nil); err != nil {
					t.Fatal(err)
				}
				if tc.young {
					m.boot("boot-2")
				}
				m.ResetCalls()
				took := m.until(2*time.Minute, func() bool { return m.presence("env") == facts.Absent })
				if calls := m.Count(describe); took < tc.least || took > tc.most || calls != tc.calls {
					t.Errorf("seen after %v and %d calls", took, calls)
				}
			})
		})
	}
}

// The two answers are two in a row.
func TestTagsSeenBetweenTwoAnswersWithoutThem(t *testing.T) {
	bubble(t, tagless(), func(t *testing.T, m *machine) {
		time.AfterFunc(5*time.Second, func() { _ = m.SetTag("env", "prod") })
		m.until(time.Minute, func() bool { return m.presence("env") == facts.Present })
		m.DeleteTag("env")
		n := m.Count(describe)
		m.until(2*time.Minute, func() bool { return m.Count(describe) > n })
		if m.presence("env") != facts.Present {
			t.Error("one answer without tags was enough")
		}
	})
}

func TestWhenTheNextPassIsWanted(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		for _, tc := range []struct{ sleep, want time.Duration }{
			{0, 5 * time.Second}, {5*time.Minute - time.Second, 5 * time.Second}, {time.Second, time.Minute},
		} {
			time.Sleep(tc.sleep)
			if out := m.good(); out.Again != tc.want {
				t.Errorf("after another %v the next pass is wanted in %v, want %v", tc.sleep, out.Again, tc.want)
			}
		}
	})
}

func TestTheAPIIsAskedAgainSoonAfterWhatPassesByItself(t *testing.T) {
	bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, m *machine) {
		m.SetRate(sim.BucketEC2NonMutating, sim.Rate{})
		if _, err := m.pass(); err == nil {
			t.Fatal("no error")
		}
		m.SetRate(sim.BucketEC2NonMutating, sim.Rate{Burst: 100, PerSecond: 20})
		if took := m.until(time.Minute, func() bool { return m.presence("env") == facts.Present }); took > 4*time.Second {
			t.Errorf("the tags were read after %v", took)
		}
	})
}

func TestPausesOfAThrottledAPIGrowToFourMinutes(t *testing.T) {
	bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, m *machine) {
		m.SetRate(sim.BucketEC2NonMutating, sim.Rate{})
		m.run(2 * time.Hour)
		var last time.Time
		var longest time.Duration
		for _, c := range m.Calls() {
			if c.Service+"/"+c.Operation != describe {
				continue
			}
			if !last.IsZero() {
				longest = max(longest, c.Time.Sub(last))
			}
			last = c.Time
		}
		if longest < 200*time.Second || longest > 256*time.Second {
			t.Errorf("the longest pause is %v", longest)
		}
	})
}

// Asking again does not help until somebody changes the role.
func TestARefusalIsNotAskedAgainSoon(t *testing.T) {
	bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, m *machine) {
		m.Deny("ec2:DescribeTags")
		m.run(10 * time.Minute)
		if n := m.Count(describe); n < 10 || n > 12 {
			t.Errorf("%d calls in the first 10 minutes", n)
		}
		m.run(15 * time.Minute)
		m.ResetCalls()
		m.run(6 * time.Hour)
		if n := m.Count(describe); n != 24 {
			t.Errorf("%d calls in 6 hours, want one each 15 minutes", n)
		}
	})
}

// What the API said before counts no more, nor when it was to be asked next.
func TestTheAPIIsAskedAtOnceWhenItIsNeededAgain(t *testing.T) {
	for name, detour := range map[string]struct{ begin, end func(m *machine) }{
		"after tags in instance metadata": {
			func(m *machine) { _ = m.EnableMetadataTags(true) },
			func(m *machine) { _ = m.EnableMetadataTags(false) },
		},
		"after a setting without the API": {
			func(m *machine) { m.use(instance.FromIMDS) },
			func(m *machine) { m.use(instance.FromAuto) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, m *machine) {
				m.run(15 * time.Minute)
				m.Deny("ec2:DescribeTags")
				m.run(20 * time.Minute)
				detour.begin(m)
				m.good()
				detour.end(m)
				m.Allow("ec2:DescribeTags")
				if err := m.SetTag("env", "staging"); err != nil {
					t.Fatal(err)
				}
				out := m.good()
				if tags := m.now().Tags; tags.Source != facts.TagsFromEC2 || tags.Values["env"] != "staging" || len(out.Warnings) > 0 {
					t.Errorf("tags %+v, warnings %q", tags, out.Warnings)
				}
			})
		})
	}
}

// Where no firmware says which instance this is, metadata may change its mind.
func TestTheAPIIsAskedAtOnceForAnotherInstance(t *testing.T) {
	bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, m *machine) {
		m.write(assetTag, "")
		m.boot("boot-1")
		m.good()
		m.SetInstance(sim.Instance{ID: otherID})
		m.good()
		if i := m.now(); i.ID != otherID || i.Tags.Source != facts.TagsFromEC2 {
			t.Errorf("got %+v", i)
		}
	})
}
