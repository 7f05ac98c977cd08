package nodetasks

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Paces and bounds.
const (
	healthy    = time.Hour              // after which ends before are forgotten
	settles    = 15 * time.Second       // a StartTask without an answer: ECS's lists tell of it by then
	appears    = 10 * time.Second       // a task that was started: the agent has it by then
	askPause   = 15 * time.Second       // between questions what became of a task
	restarting = 30 * time.Second       // how long an agent may take to restart a container by its policy
	look       = 100 * time.Millisecond // where the next thing happens at once
	roomPause  = time.Second            // where ECS still holds the room of the task before
	agentPause = 5 * time.Second
	stopAgain  = 30 * time.Second // before what was told to stop is told again
	replaces   = 10 * time.Minute // how long a replacement may keep others from theirs
	maxPause   = 5 * time.Minute
	early      = 3 // ends before it stayed up, after which a new one is taken back
)

// task is a task of the family as its agent and Docker see it.
type task struct {
	arn       string
	revision  int
	created   time.Time // of its first container
	container string    // of those that run, the one that counts
	up        bool      // a container of it runs
	leaving   bool      // it is told to stop
}

// answers are what ECS has said in this pass, each nil if it was not asked.
type answers struct {
	started *[]facts.Task   // by us, those that stop and stopped too
	all     *[]facts.Task   // of the node
	managed *facts.Capacity // how the node's instances are managed
	active  *error          // whether the wanted definition is there to be started

	startedErr, managedErr error // why ECS has not said it
	newestErr              error
}

// view is what a decision about one node task is made on.
type view struct {
	now       time.Time
	id        string // of the node
	task      Task
	want      spec
	wantErr   error  // why want is not known
	tasks     []task // of the family, oldest first
	family    string // of these
	foreign   string // container of others, recognised
	orphan    string // container of the family whose task the agent does not know
	drains    bool
	turn      bool // no other node task is being replaced
	startedBy string
	config    Config
	answers
}

// Actions.
type action int

const (
	nothing action = iota
	askStarted
	askAll
	askManaged
	askActive
	start
	stop
)

// step is what is to be done about one node task, and how it stands.
type step struct {
	do     action
	spec   spec   // to be started
	arn    string // to be stopped
	why    string // it is to be stopped
	holds  bool   // ECS still holds the room of the task before
	status facts.NodeTask
	again  time.Duration
	warn   string
	err    error
}

// decide is pure: it returns the record with what is learnt, and what to do.
func (v view) decide(r record) (record, step) {
	live, leaving := v.live(), v.leaving()
	r = v.learn(r, live)
	s := step{status: facts.NodeTask{
		Wanted: v.want.Definition, Needed: string(cmp.Or(v.task.Needed, Soft)), Restarts: r.Ends, LastEnd: r.LastEnd,
	}}
	if len(live) > 0 {
		s.shows(live[0], v.family)
	}
	if v.drains {
		if s.status.State != facts.NodeTaskRunning {
			s.status.State = facts.NodeTaskLeaving
		}
		s.status.Why = "the node drains: nothing is started"
		return r, s
	}
	if v.orphan != "" {
		s.warn = fmt.Sprintf("container %s is of a task that the ECS agent does not know: docker stop %s", short(v.orphan), short(v.orphan))
	}
	if len(live) == 0 && v.orphan != "" {
		s.status.State, s.status.Container, s.status.Why = facts.NodeTaskAdopted, v.orphan, "its task is not known to the ECS agent"
		return r, s
	}
	if len(live) == 0 && v.foreign != "" {
		s.status.State, s.status.Container, s.status.Why = facts.NodeTaskAdopted, v.foreign, "started by others than ECS"
		return r, s
	}
	if v.foreign != "" {
		s.warn = fmt.Sprintf("container %s, started by others than ECS, does the same work", short(v.foreign))
	}
	switch {
	case len(live) > 0 && r.Calling != nil && v.started == nil && !v.now.Before(r.NextAsk):
		s.do = askStarted // whose it is
		return r, s
	case len(live) > 1:
		return v.onlyOne(r, s, live)
	case v.wantErr != nil:
		s.err = v.wantErr
		if len(live) == 0 {
			s.status.State = facts.NodeTaskWaiting
		}
		s.status.Why = v.wantErr.Error()
		return r, s
	case len(live) == 1:
		return v.running(r, s, live[0])
	case slices.ContainsFunc(leaving, func(t task) bool { return t.up }):
		s.status.State, s.status.Task, s.again = facts.NodeTaskStopping, leaving[0].arn, 5*look
		return r, s
	}
	return v.gone(r, s)
}

func (v view) live() []task {
	return slices.DeleteFunc(slices.Clone(v.tasks), func(t task) bool { return t.leaving })
}

func (v view) leaving() []task {
	return slices.DeleteFunc(slices.Clone(v.tasks), func(t task) bool { return !t.leaving })
}

func (s *step) shows(t task, family string) {
	s.status.State = facts.NodeTaskStarting
	if t.up {
		s.status.State, s.status.Since = facts.NodeTaskRunning, t.created
	}
	s.status.Task, s.status.Container = t.arn, t.container
	if s.status.Definition = family; t.revision > 0 {
		s.status.Definition = fmt.Sprintf("%s:%d", family, t.revision)
	}
}

// learn takes in what became of the task that runs or was asked for.
func (v view) learn(r record, live []task) record {
	if len(live) == 0 {
		if r.Running.Seen {
			r = r.ended(v.now, "its container ended")
		}
		return r
	}
	t := live[0]
	if r.Running.ARN != t.arn {
		found := run{ARN: t.arn, At: t.created, Spec: v.want} // nobody knows its environment
		if t.revision > 0 {
			found.Spec.Definition = fmt.Sprintf("%s:%d", v.family, t.revision)
		}
		r.Running = found
	}
	if r.Calling != nil && v.started != nil {
		switch {
		case slices.ContainsFunc(*v.started, func(o facts.Task) bool { return o.ARN == t.arn && v.ours(o) }):
			r.Running.Spec, r.Running.At, r.Running.Ours, r.Calling = r.Calling.Spec, r.Calling.At, true, nil
		case v.now.Sub(r.Calling.At) >= settles:
			r.Calling = nil
		default:
			r.NextAsk = r.Calling.At.Add(settles)
		}
	}
	r.Tries, r.Refusal, r.NextTry = 0, "", time.Time{}
	if r.Change.Begun != (time.Time{}) && t.up && (r.Running.Spec.hash() == r.Change.Hash || r.Bad[r.Change.Hash] != "") {
		r.Change.Begun = time.Time{}
	}
	switch {
	case t.up:
		r.Running.Seen, r.Running.Down = true, time.Time{}
	case r.Running.Seen && r.Running.Down.IsZero():
		r.Running.Down = v.now
	}
	age := v.now.Sub(t.created)
	if t.up && age >= time.Duration(v.config.StaysUp) && r.Bad[r.Running.Spec.hash()] == "" {
		good := r.Running.Spec
		r.Good, r.Early, r.EarlyOf = &good, 0, ""
	}
	if t.up && age >= healthy {
		r.Ends = 0
	}
	return r
}

// ended notes that the task that ran, or was asked for, is no more.
func (r record) ended(now time.Time, why string) record {
	was := r.Running
	r.Running, r.Dead = run{}, was.ARN
	if !was.Told.IsZero() {
		return r
	}
	r.Ends, r.EndedAt, r.LastEnd = r.Ends+1, now, why
	if r.Good != nil && r.Good.hash() == was.Spec.hash() {
		return r
	}
	if of := was.Spec.hash(); r.EarlyOf != of {
		r.Early, r.EarlyOf = 0, of
	}
	r.Early++
	if r.Early >= early && r.Good != nil {
		r = r.takenBack(was.Spec, why)
	}
	return r
}

// takenBack marks a spec as one that is not started again while it is wanted.
func (r record) takenBack(s spec, why string) record {
	bad := map[string]string{s.hash(): fmt.Sprintf("%s did not stay up: %s", s.Definition, why)}
	r.Bad, r.Early, r.EarlyOf, r.Ends = bad, 0, "", 0
	return r
}

// onlyOne stops the newest of several, but for tasks of services.
func (v view) onlyOne(r record, s step, live []task) (record, step) {
	for arn := range r.Extra {
		if !slices.ContainsFunc(live, func(t task) bool { return t.arn == arn }) {
			r.Extra = without(r.Extra, arn)
		}
	}
	if v.all == nil && v.now.Before(r.NextAsk) {
		s.warn, s.again = fmt.Sprintf("%d tasks of family %s run: those of services stay", len(live), v.family), r.NextAsk.Sub(v.now)
		return r, s
	}
	if v.all == nil {
		s.do = askAll
		return r, s
	}
	for _, t := range slices.Backward(live[1:]) {
		o, known := v.inECS(t.arn)
		if !known || o.Service() != "" || o.Desired == facts.TaskStopped || v.now.Sub(r.Extra[t.arn]) < stopAgain {
			continue
		}
		extra := maps.Clone(r.Extra)
		if extra == nil {
			extra = map[string]time.Time{}
		}
		extra[t.arn] = v.now
		r.Extra, r.NextAsk = extra, v.now.Add(time.Second)
		s.do, s.arn, s.why = stop, t.arn, "one of its kind runs on this container instance already"
		return r, s
	}
	pause := 5 * time.Minute
	if len(r.Extra) > 0 {
		pause = stopAgain
	}
	r.NextAsk = v.now.Add(pause)
	s.warn, s.again = fmt.Sprintf("%d tasks of family %s run: those of services stay", len(live), v.family), pause
	return r, s
}

func without(m map[string]time.Time, key string) map[string]time.Time {
	m = maps.Clone(m)
	delete(m, key)
	return m
}

func (v view) inECS(arn string) (facts.Task, bool) {
	i := slices.IndexFunc(*v.all, func(o facts.Task) bool { return o.ARN == arn })
	if i < 0 {
		return facts.Task{}, false
	}
	return (*v.all)[i], true
}

// ours reports whether the task was started by this node.
func (v view) ours(t facts.Task) bool { return t.StartedBy == v.startedBy }

// mayStop reports whether the task is one to be stopped, or what is to be asked
// first: one that was found may be a service's.
func (v view) mayStop(r *record, s *step, t task) bool {
	if r.Running.Ours {
		return true
	}
	if v.all == nil {
		if v.now.Before(r.NextAsk) {
			s.warn, s.again = r.Running.Alone, sooner(s.again, r.NextAsk.Sub(v.now))
		} else {
			s.do = askAll
		}
		return false
	}
	o, known := v.inECS(t.arn)
	if known && o.Service() == "" {
		return true
	}
	s.warn, s.again = fmt.Sprintf("what runs is not what is wanted, and is left alone: it belongs to service %s; set mode: service, or delete that", o.Service()), 5*time.Minute
	if !known {
		s.warn = "what runs is not what is wanted, and is left alone: ECS does not know it"
	}
	r.Running.Alone = s.warn
	return false
}

// running looks whether the task that there is, is the one that is wanted.
func (v view) running(r record, s step, t task) (record, step) {
	if at := r.Running.Told; !at.IsZero() && v.now.Sub(at) < stopAgain {
		s.status.State, s.again = facts.NodeTaskStopping, 2*look
		return r, s
	}
	if down := r.Running.Down; !down.IsZero() {
		s.status.Why = "the agent lists it and Docker has no container of it"
		if s.again = look; v.now.Sub(down) >= restarting && v.mayStop(&r, &s, t) {
			s.do, s.arn, s.why = stop, t.arn, "its container is gone"
		}
		return v.asks(r, s)
	}
	if !t.up {
		s.again = time.Second
	} else if left := time.Duration(v.config.StaysUp) - v.now.Sub(t.created); left > 0 {
		s.again = left
	} else if left := healthy - v.now.Sub(t.created); left > 0 && r.Ends > 0 {
		s.again = left
	}
	wanted := v.want.hash()
	if r.Running.Spec.hash() == wanted {
		r.Change, r.Bad = change{}, nil
		return r, s
	}
	if why := r.Bad[wanted]; why != "" {
		s.status.Rolled = why
		s.err = duty.Lasting(blame(why, fmt.Errorf("%s runs instead of %s: %s", r.Running.Spec.Definition, v.want.Definition, why)))
		return r, s
	}
	if r.Change.Hash != wanted {
		r.Change = change{Hash: wanted, Since: v.now}
	}
	due := r.Change.Since.Add(when.Offset(v.id+"/nodetasks/"+v.task.Family(), time.Duration(v.config.Splay)))
	switch {
	case v.now.Before(due):
		s.status.Why = "is replaced by what is wanted at " + due.UTC().Format("15:04:05Z")
		s.again = sooner(s.again, due.Sub(v.now))
	case !v.turn && t.up:
		s.status.Why, s.again = "is replaced by what is wanted after another one", sooner(s.again, 5*time.Second)
	case !v.mayStop(&r, &s, t):
	case v.managed == nil:
		s.do = askManaged
	case v.refuses() != "":
		s.err = duty.Lasting(fmt.Errorf("cannot replace it: %w: %s", facts.ErrRefused, v.refuses()))
		s.status.Why, s.again = s.err.Error(), managedAgain
	case v.active == nil:
		s.do = askActive
	case *v.active != nil:
		s.err = fmt.Errorf("cannot replace it: %w", *v.active)
		s.status.Why = s.err.Error()
	default:
		r.Change.Begun = v.now
		s.do, s.arn, s.why = stop, t.arn, "it is replaced by "+v.want.Definition
	}
	return v.asks(r, s)
}

// asks bounds how often ECS is asked whose a task is that is left alone.
func (v view) asks(r record, s step) (record, step) {
	if v.all != nil && s.do == nothing && s.warn != "" {
		r.NextAsk = v.now.Add(5 * time.Minute)
	}
	return r, s
}

// refuses says why nothing is started on this instance, or "".
func (v view) refuses() string {
	if cmp.Or(v.config.ManagedCapacity, Refuse) != Refuse {
		return ""
	}
	return pins(*v.managed)
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}
