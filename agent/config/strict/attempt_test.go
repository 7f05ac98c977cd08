package strict

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAttemptAppliesWhatIsGood(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		layers []string
		want   func(*sample)
	}{
		"what Decode applies": {
			[]string{"channel: a\necs: {weight: 1}", "ecs: {priority: 2}"},
			func(s *sample) { s.Channel, s.ECS.Weight, s.ECS.Priority = "a", 1, 2 },
		},
		"fields beside wrong ones, which keep their defaults": {
			[]string{"channel: []\necs: {priority: 999, reserved_memory: 7, stop_timeout: soon, spot_draining: maybe, weight: x}\nclustre: a"},
			func(s *sample) { s.ECS.ReservedMemory = 7 },
		},
		"entries beside wrong ones": {
			[]string{"ecs: {attributes: {a: x, b: [], lifecycle: {}}}\nnode_config: {values: {GOOD: 1, not-good: 2}, files: {f: {mode: rw, missing: empty}, g: 5}}"},
			func(s *sample) {
				s.ECS.Attributes["a"] = "x"
				s.NodeConfig.Values = map[varName]string{"GOOD": "1"}
				s.NodeConfig.Files["f"] = sampleFile{Mode: 0o644, Missing: "empty"}
			},
		},
		"no list with a wrong entry": {
			[]string{"ecs: {log_drivers: [a, null]}\nnode_config: {tags: [a, {b: c}]}\ntasks: [{family: a, count: x}, {}]"},
			func(s *sample) { s.Tasks = []sampleTask{{Family: "a", Count: new(int)}, {}} },
		},
		"nothing in place of what is refused": {
			[]string{"cluster: {{ x }}\nchannel: *a\ndrain: &b\n  force: true"},
			func(s *sample) { s.Drain = &sampleDrain{Deadline: duration(2 * time.Minute), Force: true} },
		},
		"that something wrong is there, by its pointer": {
			[]string{"drain: soon"},
			func(s *sample) { s.Drain = &sampleDrain{Deadline: duration(2 * time.Minute)} },
		},
		"nothing of what is no YAML": {
			[]string{"channel: a\necs: {"},
			func(*sample) {},
		},
		"a later layer over a wrong one": {
			[]string{"channel: []\nchannel: b\necs: 5", "channel: c\necs: {weight: 2}", "ecs:\nnode_config: 7\n"},
			func(s *sample) { s.Channel, s.ECS.Weight = "c", 2 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, want := sampleDefaults(), sampleDefaults()
			test.want(want)
			r := Attempt(got, layers(test.layers...)...)
			if diff := cmp.Diff(want, got, exported); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(r.Problems) > 0 || len(r.LeftOut) > 0 {
				t.Errorf("problems %v, left out %v", r.Problems, r.LeftOut)
			}
		})
	}
}
