package status

import (
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

func TestWhatIsSaidOfBundles(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	one, two := strings.Repeat("1", 64), strings.Repeat("2", 64)
	for name, tc := range map[string]struct {
		bundle facts.Bundle
		want   string
	}{
		"nothing": {facts.Bundle{}, "the baked configuration\nno channel is followed"},
		"one that is watched": {facts.Bundle{
			Digest: one, Since: now.Add(-3 * time.Minute), Why: "stable of web, serial 7", Good: two, Watched: now.Add(7 * time.Minute),
			Channel: "web", Serial: 7, Looked: now.Add(-3 * time.Minute), Next: now.Add(12 * time.Minute),
		}, `bundle 111111111111 for 3m: stable of web, serial 7
it is watched for 7m more, and goes back to bundle 222222222222 if what was well fails
channel web, serial 7, looked at 3m ago, next in 12m`},
		"one that was bad": {facts.Bundle{
			Since: now.Add(-time.Hour), Why: "the node went back", Channel: "web", Serial: 8, Waits: "stable was bad for this node",
			Bad: []facts.BadBundle{{Digest: one, Why: "files failing", At: now.Add(-time.Hour)}},
		}, `the baked configuration for 60m: the node went back
channel web, serial 8, not looked at yet
stable was bad for this node
bundle 111111111111 was bad 60m ago: files failing`},
		"one that is pinned beside one that is refused": {facts.Bundle{
			Digest: one, Pinned: one, Wanted: two, Waits: "no", Bad: []facts.BadBundle{{Digest: two, Why: "no", At: now, Refused: true}},
		}, `bundle 111111111111
no channel is followed, pinned to bundle 111111111111 until "ecsnode bundle unpin"
bundle 222222222222 is wanted and not in effect: no
bundle 222222222222 was refused 0s ago: no`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(BundleLines(tc.bundle, now), "\n"); got != tc.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tc.want)
			}
		})
	}
}
