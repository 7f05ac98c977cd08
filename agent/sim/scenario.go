package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
)

// Scenario is a world's state at the start and what changes later.
//
//	state:
//	  instance: {type: m6i.xlarge, lifecycle: spot}
//	  tags: {env: prod, cluster: web}
//	steps:
//	  - at: 5s
//	    set_tags: {env: staging}
//	  - at: 10s
//	    faults: {imds: {kind: status, status: 503, count: 3}}
//	  - at: 1m
//	    spot_interruption: {action: terminate, in: 2m}
type Scenario struct {
	State Change `yaml:"state"`
	Steps []Step `yaml:"steps"`
}

// ParseScenario parses YAML or JSON. An unknown or repeated key is an error
// with its line; steps may be written in any order of their times.
func ParseScenario(data []byte) (Scenario, error) {
	var s Scenario
	if err := decodeStrict(data, &s); err != nil {
		return Scenario{}, err
	}
	if err := s.State.validate(); err != nil {
		return Scenario{}, fmt.Errorf("state: %w", err)
	}
	for i, step := range s.Steps {
		err := step.validate()
		if step.At < 0 {
			err = fmt.Errorf("at: %s is before the start", step.At)
		}
		if err != nil {
			return Scenario{}, fmt.Errorf("steps[%d]: %w", i, err)
		}
	}
	slices.SortStableFunc(s.Steps, byTime)
	return s, nil
}

// decodeStrict decodes one YAML or JSON document; an empty one changes
// nothing.
func decodeStrict(data []byte, v any) error {
	err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(v)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Play applies each step at its time after now, calling played after it, and
// returns after the last one, at the first error or when ctx is done. The
// scenario's state is not part of it: Apply(s.State) comes first.
func (w *World) Play(ctx context.Context, s Scenario, played func(Step)) error {
	start := time.Now()
	for _, step := range s.Steps {
		timer := time.NewTimer(time.Until(start.Add(step.At)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		if err := w.Apply(step.Change); err != nil {
			return fmt.Errorf("cannot play the step at %s: %w", step.At, err)
		}
		if played != nil {
			played(step)
		}
	}
	return nil
}
