package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// Budgets of all watchers of notices together, in percent of one core.
const (
	watchersOnDemand = 0.05
	watchersSpot     = 0.3
)

// unwatched asks for no notice while it is measured.
const unwatched = `interruption:
  spot: {interval: 24h}
  rebalance: {policy: "off"}
  autoscaling: {interval: 24h}
  maintenance: {interval: 24h}
`

// watchers measures what asking for notices costs an idle node: the share of a
// core of a daemon that asks, less that of one that does not. They run side by
// side, each in a world of its own.
func (b *bench) watchers(ctx context.Context, dir string) error {
	nodes := []struct{ name, lifecycle, config string }{
		{"unwatched", "on-demand", unwatched}, {"on demand", "on-demand", ""}, {"spot", "spot", ""},
	}
	shares := make([]float64, len(nodes))
	requests := make([]int, len(nodes))
	var all errgroup.Group
	for i, node := range nodes {
		one, err := newBench(ctx, b.binary, filepath.Join(dir, node.name), node.config)
		if err != nil {
			return err
		}
		one.world.SetLifecycle(node.lifecycle)
		all.Go(func() (err error) {
			shares[i], requests[i], err = one.idle()
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	for i, budget := range []float64{1: watchersOnDemand, 2: watchersSpot} {
		if i == 0 {
			continue
		}
		share := shares[i] - shares[0]
		b.row(fmt.Sprintf("all watchers of notices, idle, %s (%d requests a minute)", nodes[i].name, requests[i]-requests[0]),
			fmt.Sprintf("%.3f %%", share), fmt.Sprintf("%.2f %%", budget), share <= budget)
	}
	return nil
}

const watched = 2 * time.Minute

// idle runs a daemon and returns its share of a core in percent, once it has
// settled, and its requests of a minute.
func (b *bench) idle() (share float64, requests int, err error) {
	cmd := b.command("run")
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	defer func() { _ = stop(cmd) }()
	time.Sleep(10 * time.Second)
	_, _, before, err := usage(cmd.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	b.world.ResetCalls()
	began := time.Now()
	time.Sleep(watched)
	_, _, after, err := usage(cmd.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	return float64(after-before) / float64(time.Since(began)) * 100, b.world.Count("imds") / int(watched/time.Minute), nil
}
