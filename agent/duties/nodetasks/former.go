package nodetasks

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
)

// forget stops what is no longer configured, if it was started here. While a file
// of the configuration is left out, nobody knows what it asks for.
func (d *Duty) forget(ctx context.Context, c Config) (errs []error) {
	if whole, known := d.Whole.Get(); !whole || !known || time.Now().Before(d.calm) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(d.state.Tasks)) {
		if t, is := c.Tasks[name]; is && cmp.Or(t.Mode, StartTask) == StartTask {
			continue
		}
		err := d.stopFormer(ctx, d.state.Tasks[name])
		if d.heed(err); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		delete(d.state.Tasks, name)
	}
	return errs
}

// stopFormer stops what was started for a node task that is none any longer.
func (d *Duty) stopFormer(ctx context.Context, r record) error {
	ctx, cancel := context.WithTimeout(ctx, sideTime)
	defer cancel()
	arns := []string{r.Running.ARN}
	if r.Calling != nil { // it may have been started
		instance, _ := d.Instance.Get()
		tasks, err := d.ECS.StartedBy(ctx, d.on, startedBy(instance))
		if err != nil {
			return err
		}
		if time.Since(r.Calling.At) < settles {
			return duty.WaitingFor("ECS to tell what became of a StartTask, before it is forgotten")
		}
		for _, t := range tasks {
			if t.Family == r.Family {
				arns = append(arns, t.ARN)
			}
		}
	}
	for _, arn := range arns {
		if arn == "" || arn == r.Running.ARN && (!r.Running.Ours || !r.Running.Told.IsZero()) {
			continue
		}
		if err := d.ECS.StopTask(ctx, d.on, arn, "it is no longer a node task"); err != nil {
			return err
		}
	}
	return nil
}

func familyIn(definition string) string {
	family, _, _ := strings.Cut(definition, ":")
	return family
}
