package duty_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
)

func TestCallsMadeTogetherDoNotWaitForOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var found []string
		call := func(name string, takes time.Duration, err error, deaf bool) func(context.Context) (func(), error) {
			return func(ctx context.Context) (func(), error) {
				done := ctx.Done()
				if deaf {
					done = nil
				}
				select {
				case <-time.After(takes):
				case <-done:
					return nil, ctx.Err()
				}
				return func() { found = append(found, name) }, err
			}
		}
		began := time.Now()
		errs := duty.Together(t.Context(), 2*time.Second,
			call("late", time.Hour, nil, false), call("deaf", 3*time.Second, nil, true),
			call("slow", time.Second, nil, false), call("failed", 0, errors.New("refused"), false),
			func(context.Context) (func(), error) { panic("oh") })
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
		if got := fmt.Sprint(found); got != "[failed slow]" {
			t.Errorf("found %s", got)
		}
		if errs[0] == nil || errs[1] == nil || errs[2] != nil || errs[3].Error() != "refused" || errs[4].Error() != "panic: oh" {
			t.Errorf("%v", errs)
		}
		time.Sleep(time.Minute) // the deaf one ends
		if len(found) != 2 {
			t.Errorf("an answer that came too late was taken: %q", found)
		}
		if errs := duty.Together(t.Context(), time.Second); len(errs) != 0 {
			t.Errorf("no calls: %v", errs)
		}
	})
}
