package facts_test

import (
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

func TestTheTimeLeft(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	began := facts.Moment{Wall: noon, Boot: time.Hour, BootID: "a"}
	deadline := began.Add(10 * time.Minute)
	for name, c := range map[string]struct {
		now  facts.Moment
		left time.Duration
	}{
		"at once":                        {began, 10 * time.Minute},
		"later":                          {began.Add(4 * time.Minute), 6 * time.Minute},
		"beyond it":                      {began.Add(11 * time.Minute), -time.Minute},
		"the wall clock was set back":    {facts.Moment{Wall: noon.Add(-time.Hour), Boot: time.Hour + 4*time.Minute, BootID: "a"}, 6 * time.Minute},
		"the wall clock was set forward": {facts.Moment{Wall: noon.Add(time.Hour), Boot: time.Hour + 4*time.Minute, BootID: "a"}, -50 * time.Minute},
		"in another boot":                {facts.Moment{Wall: noon.Add(2 * time.Minute), Boot: time.Second, BootID: "b"}, 8 * time.Minute},
		"where no boot id is to be had":  {facts.Moment{Wall: noon.Add(2 * time.Minute)}, 8 * time.Minute},
	} {
		if left := deadline.Left(c.now); left != c.left {
			t.Errorf("%s: %v, want %v", name, left, c.left)
		}
	}
	if at := began.At(noon.Add(time.Minute)); at != began.Add(time.Minute) {
		t.Errorf("at a time of the wall clock: %+v", at)
	}
}
