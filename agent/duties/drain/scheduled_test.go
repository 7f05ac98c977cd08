package drain_test

import (
	"errors"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// schedules has the rig's node run a job of a schedule.
func (r *rig) schedules(state facts.JobState) {
	r.jobs.mu.Lock()
	r.jobs.is.State = state
	r.jobs.mu.Unlock()
	r.duty.Scheduled = func() (map[string]string, error) { return map[string]string{"tidy": "schedule-tidy-1"}, nil }
}

func TestWhatRunsAtItsTimeIsGivenItsTime(t *testing.T) {
	tasks := []*running{{Task: facts.Task{Family: "logspout"}, leaves: time.Second}}
	onNode(t, tasks, func(t *testing.T, r *rig) {
		r.schedules(facts.JobRunning)
		r.notice(r.operator(time.Hour))
		r.passes(10 * time.Minute)
		if r.record().DrainedAt != (facts.Moment{}) || len(r.aws.tasks) != 1 || !r.aws.tasks[0].stopping.IsZero() {
			t.Errorf("%+v", r.record())
		}
		r.says("waits with the node for what runs at its time: tidy")
		r.schedules(facts.JobEnded)
		r.passes(time.Minute)
		r.says("no task is left but what leaves last", "told to stop: logspout", "the node is drained")
	})
}

func TestADeadlineIsNotKeptWaitingByWhatRunsAtItsTime(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.schedules(facts.JobRunning)
		r.notice(r.spot(2 * time.Minute))
		r.passes(119 * time.Second)
		r.says("the node is drained")
	})
}

func TestWhatRunsAtItsTimeIsNotInTheWay(t *testing.T) {
	for name, scheduled := range map[string]func() (map[string]string, error){
		"there is none":   func() (map[string]string, error) { return nil, nil },
		"nobody can tell": func() (map[string]string, error) { return nil, errors.New("damaged") },
		"it is gone":      func() (map[string]string, error) { return map[string]string{"tidy": "schedule-tidy-1"}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, nil, func(t *testing.T, r *rig) {
				r.duty.Scheduled = scheduled
				r.notice(r.operator(time.Hour))
				r.passes(time.Minute)
				r.says("the node is drained")
			})
		})
	}
}
