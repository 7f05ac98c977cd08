//go:build !race

package schedules_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/host/s3"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const (
	fleetSize = 500
	fleetDays = 30
)

// ledger is what became of each tick in a fleet.
type ledger struct {
	mu   sync.Mutex
	ran  map[string][]string // by tick, which nodes
	why  map[string][]string // by tick, why nodes left it out
	kill int
	lost int
}

// A fleet runs a schedule once per cluster for 30 days, against an S3 that fails,
// loses answers and goes away, with clocks that differ and processes that are
// killed: no tick runs twice, and none is missed while S3 can be reached.
func TestFiveHundredNodesRunATickOnceForThirtyDays(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute of CPU")
	}
	synctest.Test(t, func(t *testing.T) {
		w, network := sim.New(sim.Options{}), sim.NewNetwork()
		defer network.Close()
		if err := w.Connect(network); err != nil {
			t.Fatal(err)
		}
		w.CreateBucket("acme-leases", "")
		api, err := awsapi.Config(awsapi.Options{Metadata: imds.New(imds.Options{Dial: network.DialContext}), Dial: network.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		client := s3.New(api, "http://storage.internal") // TLS would be most of the test
		l := &ledger{ran: map[string][]string{}, why: map[string][]string{}}
		began := time.Date(2026, 3, 2, 0, 59, 0, 0, time.UTC)
		skew := time.Until(began)
		var nodes sync.WaitGroup
		for i := range fleetSize {
			nodes.Go(func() { l.node(t, i, skew, client) })
		}
		// Of four days one is ill in its way; on the others single calls fail.
		outages := map[string]bool{}
		for day := range fleetDays {
			at := began.Add(time.Duration(day) * 24 * time.Hour)
			fault := map[int]sim.Fault{
				0: {Kind: sim.FaultStatus, Status: 503, Probability: 0.3},
				1: {Kind: sim.FaultReset, Processed: true, Probability: 0.5},
				2: {Kind: sim.FaultHang, Processed: true, Probability: 0.2},
				3: {Kind: sim.FaultStatus, Status: 409, Probability: 0.5},
			}[day%4]
			if day%7 == 6 {
				fault = sim.Fault{Kind: sim.FaultReset}
				outages[at.Add(time.Minute).Format("02T15:04")] = true
			}
			if err := w.SetFault("s3", fault); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			w.ClearFaults()
			time.Sleep(23 * time.Hour)
		}
		nodes.Wait()
		missed, twice := 0, 0
		for day := range fleetDays {
			tick := began.Add(time.Duration(day)*24*time.Hour + time.Minute).Format("02T15:04")
			switch ran := l.ran[tick]; {
			case len(ran) > 1:
				twice++
				t.Errorf("%s ran on %v", tick, ran)
			case len(ran) == 0:
				missed++
				if !slices.ContainsFunc(l.why[tick], func(why string) bool { return strings.Contains(why, "no lease could be had in time") }) {
					t.Errorf("%s was missed, and no node says why: %q", tick, l.why[tick])
				}
				if !outages[tick] {
					t.Errorf("%s was missed although S3 could be reached: %q", tick, l.why[tick])
				}
			case outages[tick]:
				t.Errorf("%s ran on %v without S3", tick, ran)
			}
		}
		winners := map[string]bool{}
		for _, ran := range l.ran {
			winners[strings.Join(ran, " ")] = true
		}
		t.Logf("%d ticks: %d twice, %d missed, on %d different nodes; %d calls of S3, %d answers lost, %d processes killed",
			fleetDays, twice, missed, len(winners), w.Count("s3"), l.lost, l.kill)
		if len(winners) < fleetDays/2 {
			t.Errorf("the same nodes do it all: %v", slices.Sorted(maps.Keys(winners)))
		}
	})
}

// node is one node of the fleet for all that time.
func (l *ledger) node(t *testing.T, i int, skew time.Duration, store schedules.Store) {
	random := rand.New(rand.NewPCG(uint64(i), 7))
	disk, err := fsx.Open(t.TempDir())
	if err != nil {
		t.Error(err)
		return
	}
	h := &host{
		t: t, id: fmt.Sprintf("i-%017x", i), files: fsx.NewOverlay(disk), boot: "boot", booted: time.Now(),
		does: map[string]does{"tidy": {takes: time.Minute}}, jobs: map[string]*job{},
		skew: skew + time.Duration(random.Int64N(int64(20*time.Second))) - 10*time.Second,
	}
	h.ecs = &ecs{h: h, tasks: map[string]*task{}}
	h.cells.config, h.cells.drains, h.cells.shown = cell.New(never[schedules.Config]), cell.Comparable[bool](), cell.New(never[[]facts.Schedule])
	h.configure(items{"tidy": {Cron: "0 1 * * *", OncePer: schedules.PerCluster, Splay: minutes(2), StartWithin: minutes(4)}})
	h.cells.drains.Set(false)
	// The answer that is lost, and the kill, come upon a whole call.
	h.store = &line{Store: store, after: func(string) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch n := random.IntN(100); {
		case n < 5:
			l.kill++
			panic(killed{"after a call"})
		case n < 15:
			l.lost++
			return errDown
		}
		return nil
	}}
	h.start()
	for end := time.Now().Add(fleetDays * 24 * time.Hour); time.Now().Before(end); {
		before := len(h.ran)
		h.once(t)
		l.mu.Lock()
		for _, run := range h.ran[before:] {
			tick := strings.TrimPrefix(run, "tidy ")
			l.ran[tick] = append(l.ran[tick], h.id)
		}
		for _, s := range h.shown() {
			if s.LeftOutN > 0 {
				tick := s.LeftOut.Format("02T15:04")
				if !slices.Contains(l.why[tick], s.LeftOutWhy) {
					l.why[tick] = append(l.why[tick], s.LeftOutWhy)
				}
			}
		}
		l.mu.Unlock()
		wait := 24 * time.Hour
		if h.out.Again > 0 {
			wait = h.out.Again
		}
		if h.err != nil {
			wait = min(wait, 5*time.Second)
		}
		time.Sleep(min(max(wait, 10*time.Millisecond), time.Until(end)))
	}
}

// What all of them wrote stays within what a file may have.
func TestWhatManyWriteIsBounded(t *testing.T) {
	on(t, monday, atOnce(1000, schedules.Schedule{Cron: "0 * * * *"}), func(t *testing.T, h *host) {
		for name := range atOnce(1000, schedules.Schedule{}) {
			h.does[name] = does{output: strings.Repeat("\"\\", 2<<10)}
		}
		h.pass(2 * time.Minute)
		if len(h.ran) != 1000 {
			t.Errorf("%d ran", len(h.ran))
		}
		h.wantWell()
	})
}
