// Package schedules is the duty that runs things at set times: commands on the
// host and in containers, and tasks of ECS.
//
// A tick, the time that a schedule names, is the identity of a run. It is written
// down as settled before its run is begun, so that none runs twice, whatever
// becomes of this process. What runs is a job or a task, which outlives it.
package schedules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Jobs runs commands as units of their own. A job that was not run in this boot
// is facts.JobAbsent.
type Jobs interface {
	RunJob(ctx context.Context, c facts.Command) error
	Job(ctx context.Context, name string) (facts.Job, error)
	// EndJob tells one to end, and does not wait.
	EndJob(ctx context.Context, name string) error
	ForgetJob(ctx context.Context, name string) error
}

// ECS is the API of ECS.
type ECS interface {
	// StartTask starts a task. An error that is facts.ErrUnavailable and not
	// facts.ErrThrottled leaves open whether it was started.
	StartTask(ctx context.Context, on facts.ContainerInstance, t facts.TaskStart) (facts.Task, error)
	StopTask(ctx context.Context, on facts.ContainerInstance, arn, reason string) error
	StartedBy(ctx context.Context, on facts.ContainerInstance, startedBy string, also ...string) ([]facts.Task, error)
}

// Agent is the ECS agent of the node.
type Agent interface {
	Tasks(ctx context.Context) ([]facts.Task, error)
}

// Docker is the Docker Engine.
type Docker interface {
	Containers(ctx context.Context) ([]facts.Container, error)
	// Ended is what is left of a task, and RemoveEnded removes that.
	Ended(ctx context.Context, task string) (facts.Ended, error)
	RemoveEnded(ctx context.Context, task string) error
}

// Store is S3.
type Store interface {
	Put(ctx context.Context, o facts.Object, body []byte, c facts.Condition) (etag string, err error)
	Get(ctx context.Context, o facts.Object, limit int64) (facts.Content, error)
}

// Clock tells the time by both clocks.
type Clock interface{ Now() facts.Moment }

// Duty runs the schedules.
type Duty struct {
	FS           fsx.FS
	ID           string // of the node, for its own time in the fleet
	Clock        Clock
	Config       cell.Reader[Config]
	Instance     cell.Reader[facts.Instance]
	Cluster      cell.Reader[string]
	Registration cell.Reader[facts.ContainerInstance]
	Drains       cell.Reader[bool] // the node is to be empty, or is not in service again yet
	Requests     string            // directory of what an operator asks for
	Jobs         Jobs
	ECS          ECS
	Agent        Agent
	Docker       Docker
	Store        Store
	// Schedules gets how each stands, in the order of their names.
	Schedules *cell.Cell[[]facts.Schedule]

	loaded bool
	state  state
	kept   []byte
	tries  map[string]try
	parsed map[string]when.Schedule // by Schedule.ticks
	asks   map[string]bool          // files of requests that are there
}

// try is how often in a row a tick could not begin.
type try struct {
	n    int
	next time.Time
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "schedules" }

const (
	callTime  = 10 * time.Second // for one question to the outside
	looksSoon = 500 * time.Millisecond
	looks     = 2 * time.Second // after a job
	looksTask = 5 * time.Second
	retryMin  = time.Second
	retryMax  = 20 * time.Second
	// requestKept is how long an operator's wish for a run counts while no daemon
	// runs, or no such schedule is configured.
	requestKept = 24 * time.Hour
)

// Request is an operator who wants a run now, or a pause.
type Request struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

// RunFile and PauseFile are, below the directory of requests, what asks for a run
// of a schedule, and for its pause as long as it is there.
func RunFile(name string) string   { return "schedule-run-" + name + ".json" }
func PauseFile(name string) string { return "schedule-pause-" + name + ".json" }

// Reconcile implements duty.Duty.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	drains, told := d.Drains.Get()
	if !told {
		return duty.Outcome{}, duty.WaitingFor("whether the node drains")
	}
	began := time.Now()
	p := &pass{Duty: d, ctx: ctx, c: c, drains: drains, now: d.Clock.Now()}
	instance, known := d.Instance.Get()
	if !known {
		return duty.Outcome{}, duty.WaitingFor("the identity of the instance")
	}
	if !d.loaded {
		s, err := load(d.FS)
		if err != nil && !errors.Is(err, fsx.ErrDamaged) { // what is there must not be written over
			return duty.Outcome{}, err
		}
		if s.Instance != "" && s.Instance != instance.ID { // of the one that an image was made from
			s = state{Schedules: map[string]record{}}
		}
		s.Instance = instance.ID
		d.state, d.loaded, d.tries = s, true, map[string]try{}
		p.fail(err)
	}
	if len(c.Items)+len(d.state.Schedules) == 0 {
		d.Schedules.Set(nil)
		return duty.Outcome{Summary: "nothing is configured"}, errors.Join(p.errs...)
	}
	if err := p.lookForRequests(); p.asks == nil {
		return duty.Outcome{}, err // what is paused must not run
	} else if err != nil {
		p.fail(err)
	}
	var each []*one
	for _, name := range slices.Sorted(maps.Keys(c.Items)) {
		o, err := p.look(name, c.Items[name])
		p.fail(p.named(name, err))
		each = append(each, o)
	}
	p.beginAll(each)
	var all []facts.Schedule
	for _, o := range each {
		all = append(all, p.show(o))
	}
	for _, name := range slices.Sorted(maps.Keys(d.state.Schedules)) {
		if _, is := c.Items[name]; !is {
			p.former(name)
		}
	}
	p.fail(p.save())
	if was, ok := d.Schedules.Get(); !ok || !reflect.DeepEqual(was, all) {
		d.Schedules.Set(all)
	}
	p.out.Summary = strings.Join(append(p.told, summary(all)), "; ")
	if p.out.Again > 0 { // it was reckoned from the beginning
		p.out.Again = max(p.out.Again-time.Since(began), 10*time.Millisecond)
	}
	return p.out, errors.Join(p.errs...)
}

// pass is one.
type pass struct {
	*Duty
	ctx    context.Context
	c      Config
	drains bool
	now    facts.Moment
	out    duty.Outcome
	errs   []error
	told   []string // what happened in it, for the log
	store  error    // S3 does not answer: it is not asked again in this pass
	// What Docker runs, or why that is not known: it is asked once in a pass, so
	// that a Docker that hangs keeps nothing else from running.
	containers []facts.Container
	docker     error
	looked     bool
	// What earlier passes have seen is written down, or why not.
	sure   bool
	unsure error
}

func (p *pass) tell(format string, args ...any) {
	p.told = append(p.told, fmt.Sprintf(format, args...))
}

func (p *pass) fail(err error) {
	if err != nil {
		p.errs = append(p.errs, err)
	}
}

func (p *pass) save() (err error) {
	p.Duty.kept, err = save(p.FS, p.state, p.kept)
	return err
}

func (p *pass) again(after time.Duration) {
	if after = max(after, 10*time.Millisecond); p.out.Again == 0 || after < p.out.Again {
		p.out.Again = after
	}
}

// one is a schedule in a pass.
type one struct {
	view
	before leftOut // as it was when the pass began
}

// record and put are what is known of a schedule.
func (p *pass) record(name string) record { return p.state.Schedules[name] }
func (p *pass) put(name string, r record) { p.state.Schedules[name] = r }

// look sees how a schedule stands and settles the ticks that have come.
func (p *pass) look(name string, s Schedule) (*one, error) {
	o := &one{view: view{now: p.now, id: p.ID, name: name, s: s, drains: p.drains}}
	var err error
	if o.ticks, err = p.ticks(s); err != nil {
		return o, err
	}
	r, known := p.state.Schedules[name]
	if !known {
		r.Settled = p.now.Wall.Round(0).UTC()
	}
	o.before = r.LeftOut
	err = p.asked(&o.view)
	if r = p.finish(name, r); r.Run != nil {
		r = p.observe(name, r, s)
	}
	r = o.decide(r)
	if r.Run != nil && r.Due != nil && s.Overlap == Replace && r.Run.Ending == "" {
		r.Run.Ending, r.Run.Replaced = "replaced by the run of "+clock(r.Due.Tick), true
	}
	if r.Run != nil && r.Run.Ending != "" {
		r = p.end(name, r)
	}
	p.put(name, r)
	return o, err
}

// ticks are those of a schedule. Of what is written alike they are parsed once.
func (p *pass) ticks(s Schedule) (when.Schedule, error) {
	if ticks := p.parsed[s.ticks()]; ticks != nil {
		return ticks, nil
	}
	ticks, err := s.schedule()
	if err != nil { // the configuration was checked
		return nil, err
	}
	if p.parsed == nil || len(p.parsed) > 2*len(p.c.Items) { // of settings of long ago
		p.parsed = map[string]when.Schedule{}
	}
	p.parsed[s.ticks()] = ticks
	return ticks, nil
}

// show tells how a schedule stands, and when it is to be looked at again.
func (p *pass) show(o *one) facts.Schedule {
	shown := facts.Schedule{Name: o.name, When: o.s.ticks(), Does: o.s.does(), Once: "node"}
	if o.s.perCluster() {
		shown.Once = "cluster"
	}
	if o.ticks == nil {
		return shown
	}
	r := p.record(o.name)
	if l := r.LeftOut; l != o.before && l.N > 0 {
		p.out.Changed = true // into the log
		p.tell("%s of %s is left out: %s", o.name, clock(l.Tick), l.Why)
	}
	p.wake(o.view, r)
	p.warn(o.view, r)
	return show(shown, o.view, r)
}

// lookForRequests finds the files by which operators ask for something.
func (p *pass) lookForRequests() error {
	entries, err := p.FS.ReadDir(p.Requests)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // what was there when it could be read counts
	}
	p.asks = map[string]bool{}
	for _, e := range entries {
		p.asks[e.Name()] = true
	}
	return nil
}

// asked reads what an operator asks for.
func (p *pass) asked(v *view) error {
	v.paused = p.asks[PauseFile(v.name)]
	if !p.asks[RunFile(v.name)] {
		return nil
	}
	file := path.Join(p.Requests, RunFile(v.name))
	data, err := p.FS.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = json.Unmarshal(data, &v.asked)
	if err != nil || v.asked.ID == "" || p.now.Wall.Sub(v.asked.At).Abs() > requestKept {
		v.asked = Request{} // garbage, or of long ago
		_, err := p.FS.Remove(file)
		return err
	}
	if v.asked.ID == p.record(v.name).Asked { // taken, and written down
		_, err := p.FS.Remove(file)
		return err
	}
	p.again(time.Second)
	return nil
}

func (p *pass) named(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// former looks after what runs of a schedule that is not configured any longer.
func (p *pass) former(name string) {
	r := p.finish(name, p.state.Schedules[name])
	if r.Run != nil {
		r = p.observe(name, r, Schedule{})
	}
	if r.Run != nil && r.Run.Ending != "" {
		r = p.end(name, r)
	}
	if p.state.Schedules[name] = r; r.Run == nil && r.Forget == "" && r.Clean == "" {
		delete(p.state.Schedules, name)
		return
	}
	p.again(looks)
}

// resultsKept reports whether what earlier passes have seen is written down. It
// looks once in a pass: what this one sees is cleared up after by the next.
func (p *pass) resultsKept() bool {
	if !p.sure {
		p.sure, p.unsure = true, p.save()
	}
	return p.unsure == nil
}

// finish clears up after a run whose result is written down.
func (p *pass) finish(name string, r record) record {
	if r.Forget == "" && r.Clean == "" {
		return r
	}
	if !p.resultsKept() {
		return r
	}
	ctx, cancel := context.WithTimeout(p.ctx, callTime)
	defer cancel()
	if r.Forget != "" {
		if err := p.Jobs.ForgetJob(ctx, r.Forget); err != nil {
			p.fail(p.named(name, err))
			return r
		}
		r.Forget = ""
	}
	if r.Clean != "" {
		if err := p.Docker.RemoveEnded(ctx, r.Clean); err != nil {
			p.fail(p.named(name, err))
			return r
		}
		r.Clean = ""
	}
	return r
}

// wake says when the next pass is due.
func (p *pass) wake(v view, r record) {
	switch {
	case r.Forget != "" || r.Clean != "":
		p.again(looksSoon)
	case r.Run != nil && r.Run.StartedBy != "":
		p.again(looksTask)
	case r.Run != nil && p.now.Wall.Sub(r.Run.Began).Abs() < 10*time.Second:
		p.again(looksSoon)
	case r.Run != nil:
		p.again(looks)
	}
	if r.Due != nil && r.Run == nil && !v.drains {
		p.again(max(time.Until(p.tries[v.name].next), 0))
	}
	if next := v.next(r); !next.IsZero() {
		p.again(next.Sub(p.now.Wall.Round(0)))
	}
}

// warn tells an operator what did not go well.
func (p *pass) warn(v view, r record) {
	say := func(format string, args ...any) {
		p.out.Warnings = append(p.out.Warnings, v.name+": "+fmt.Sprintf(format, args...))
	}
	if last := r.Last; last != nil && last.Failed {
		say("the run of %s: %s", clock(last.Tick), last.Result)
	}
	if l := r.LeftOut; l.N > 0 && !l.Quiet {
		times := ""
		if l.N > 1 {
			times = fmt.Sprintf(" and %s%d before it", map[bool]string{true: "at least "}[l.More], l.N-1)
		}
		say("%s%s did not run: %s", clock(l.Tick), times, l.Why)
	}
	if !r.SetBack.IsZero() {
		say("the clock was set back: what ran up to %s does not run again", clock(r.SetBack))
	}
}

// show is how a schedule stands.
func show(f facts.Schedule, v view, r record) facts.Schedule {
	f.Next, f.State = v.next(r), facts.ScheduleIdle
	f.Elsewhere, f.ElsewhereBy = r.Elsewhere, r.ElsewhereBy
	f.LeftOut, f.LeftOutWhy, f.LeftOutN = r.LeftOut.Tick, r.LeftOut.Why, r.LeftOut.N
	f.LeftOutMore = r.LeftOut.More
	if r.Last != nil {
		last := *r.Last
		last.Output = "" // anybody may read the status
		f.Last = &last
	}
	if r.Queued != nil {
		f.Queued = r.Queued.Tick
	}
	switch {
	case r.Run != nil:
		f.State, f.Reason = facts.ScheduleRunning, r.Run.Ending
		f.Running = &facts.ScheduleRun{Tick: r.Run.Tick, ByHand: r.Run.ByHand, Started: r.Run.Began}
	case v.drains:
		f.State, f.Reason = facts.ScheduleLeaving, whyDrains
	case r.Due != nil:
		f.State, f.Reason = facts.ScheduleStarting, r.Due.Why
	case v.paused:
		f.State = facts.SchedulePaused
	}
	return f
}

func summary(all []facts.Schedule) string {
	var next facts.Schedule
	var running []string
	for _, s := range all {
		if s.State == facts.ScheduleRunning {
			running = append(running, s.Name)
		}
		if !s.Next.IsZero() && (next.Next.IsZero() || s.Next.Before(next.Next)) {
			next = s
		}
	}
	text := fmt.Sprintf("%d configured", len(all))
	if len(running) > 0 {
		text += ", running: " + strings.Join(running, ", ")
	}
	if next.Name != "" {
		text += fmt.Sprintf(", next: %s at %s", next.Name, next.Next.Format("2006-01-02 15:04:05Z"))
	}
	return text
}
