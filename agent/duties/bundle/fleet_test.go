//go:build !race

package bundle

import (
	"fmt"
	"os"
	"path/filepath"
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

// TestAFleetAsksEvenly: what 10,000 nodes ask in each minute of an hour.
func TestAFleetAsksEvenly(t *testing.T) {
	const nodes, most = 10_000, 1.15
	looks := map[int]int{}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range nodes {
		p := &pass{Duty: &Duty{ID: fmt.Sprintf("i-%017x", i)}, settings: Settings{Config: Default()}}
		for at := p.schedule(start); at.Before(start.Add(time.Hour)); at = p.schedule(at) {
			looks[int(at.Sub(start)/time.Minute)]++
		}
	}
	mean := float64(nodes*4) / 60
	for minute := range 60 {
		if n := float64(looks[minute]); n > mean*most || n < mean/most {
			t.Errorf("minute %d: %v looks, %v on average", minute, n, mean)
		}
	}
	t.Logf("%.1f requests a second; by minute of the first 15: %v", mean/60, func() (all []int) {
		for minute := range 15 {
			all = append(all, looks[minute])
		}
		return all
	}())
}
