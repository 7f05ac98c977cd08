//go:build !race

package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// TestAThousandNodesThatAreLaunchedDuringACanary all run a bundle at once: a tenth
// of them the canary, and the others what is stable. A higher percentage takes it
// from none.
func TestAThousandNodesThatAreLaunchedDuringACanary(t *testing.T) {
	const nodes = 1000
	b := newBench(t)
	canary := b.publish(tree("canary", 1))
	slot := b.doc.Stable
	stable := b.publish(tree("stable", 1))
	has := map[string]bundle.Digest{}
	for _, percent := range []int{10, 50} {
		b.doc.Canary = &bundle.Canary{Slot: slot, Percent: percent}
		b.publish(tree("stable", 1))
		trying := 0
		for i := range nodes {
			id := fmt.Sprintf("i-%017x", i*7919)
			root := filepath.Join(b.root, id)
			if err := os.MkdirAll(filepath.Join(root, bundle.Dir), 0o700); err != nil {
				t.Fatal(err)
			}
			disk, err := fsx.Open(root)
			if err != nil {
				t.Fatal(err)
			}
			node := *b
			node.root, node.disk = root, disk
			d, _ := node.start(-1)
			d.ID, d.Instance = id, known(facts.Instance{ID: id, Region: "eu-west-1", Tags: facts.Tags{Source: facts.TagsFromIMDS}})
			if _, err := d.Reconcile(t.Context()); err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			now, err := active(disk)
			switch {
			case err != nil || now != canary && now != stable:
				t.Fatalf("%s runs %q (%v)", id, now, err)
			case now == canary:
				trying++
			case has[id] == canary:
				t.Errorf("a higher percentage took the canary from %s", id)
			}
			has[id] = now
		}
		if share := trying * 100 / nodes; share < percent-3 || share > percent+3 {
			t.Errorf("%d of %d nodes try a canary of %d%%", trying, nodes, percent)
		}
	}
}

// TestAFleetAsksEvenly: when 10,000 nodes look at their channel, which is one
// request each while nothing is new. It prints what make bench shows.
func TestAFleetAsksEvenly(t *testing.T) {
	const (
		nodes, hours = 10_000, 4
		every        = 15 * time.Minute
		ofMean       = 1.15 // of a minute
		mostInSecond = 3    // times the mean: chance alone makes about two of it
	)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	minutes, seconds := make([]int, 60*hours), make([]int, 3600*hours)
	splay := make([]int, every/time.Minute)
	for i := range nodes {
		p := &pass{Duty: &Duty{ID: fmt.Sprintf("i-%017x", i*7919)}, settings: Settings{Config: Default()}}
		first := p.schedule(start)
		splay[first.Sub(start)/time.Minute]++
		looks := 0
		for at := first; at.Before(start.Add(hours * time.Hour)); at = p.schedule(at) {
			minutes[at.Sub(start)/time.Minute]++
			seconds[at.Sub(start)/time.Second]++
			looks++
		}
		if looks != hours*4 {
			t.Fatalf("%s looks %d times in %d hours", p.ID, looks, hours)
		}
	}
	mean := float64(nodes) / every.Seconds()
	for minute, n := range minutes {
		if n := float64(n) / 60; n > mean*ofMean || n < mean/ofMean {
			t.Errorf("minute %d: %.1f requests a second, %.1f on average", minute, n, mean)
		}
	}
	if most := slices.Max(seconds); float64(most) > mean*mostInSecond {
		t.Errorf("%d requests in one second, %.1f on average", most, mean)
	}
	out := t.Output()
	fmt.Fprintf(out, "10,000 nodes that look every 15 minutes, requests a second at the bucket: mean %.1f, of a minute at most %.1f (budget %.1f), of a second at most %d (budget %.0f)\n",
		mean, float64(slices.Max(minutes))/60, mean*ofMean, slices.Max(seconds), mean*mostInSecond)
	for minute, n := range splay {
		fmt.Fprintf(out, "splay of %2d to %2d min %5d nodes %s\n", minute, minute+1, n, strings.Repeat("#", n/20))
	}
}
