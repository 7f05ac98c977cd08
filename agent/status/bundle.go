package status

import (
	"fmt"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

const shownDigest = 12

func short(digest string) string {
	if digest == "" || digest == facts.NoBundle {
		return "the baked configuration"
	}
	return "bundle " + digest[:min(len(digest), shownDigest)]
}

// BundleLines say how a node stands with bundles: the first which one is in
// effect, since when and why.
func BundleLines(b facts.Bundle, now time.Time) (lines []string) {
	text := short(b.Digest)
	if !b.Since.IsZero() {
		text += " for " + Age(now.Sub(b.Since))
	}
	if b.Why != "" {
		text += ": " + b.Why
	}
	lines = append(lines, text)
	if b.Watched.After(now) {
		lines = append(lines, fmt.Sprintf("it is watched for %s more, and goes back to %s if what was well fails", Age(b.Watched.Sub(now)), short(b.Good)))
	}
	var about []string
	if b.Channel != "" {
		about = append(about, fmt.Sprintf("channel %s, serial %d", b.Channel, b.Serial))
		if b.Looked.IsZero() {
			about = append(about, "not looked at yet")
		} else {
			about = append(about, "looked at "+Age(now.Sub(b.Looked))+" ago")
		}
		if b.Next.After(now) {
			about = append(about, "next in "+Age(b.Next.Sub(now)))
		}
	} else {
		about = append(about, "no channel is followed")
	}
	if b.Pinned != "" {
		about = append(about, `pinned to `+short(b.Pinned)+` until "ecsnode bundle unpin"`)
	}
	lines = append(lines, strings.Join(about, ", "))
	switch {
	case b.Wanted != "":
		lines = append(lines, fmt.Sprintf("%s is wanted and not in effect: %s", short(b.Wanted), b.Waits))
	case b.Waits != "":
		lines = append(lines, b.Waits)
	}
	for _, bad := range b.Bad {
		what := "was bad"
		if bad.Refused {
			what = "was refused"
		}
		lines = append(lines, fmt.Sprintf("%s %s %s ago: %s", short(bad.Digest), what, Age(now.Sub(bad.At)), bad.Why))
	}
	return lines
}
