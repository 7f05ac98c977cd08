package agentstate_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/agentstate"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

const (
	here   = "i-0123456789abcdef0"
	baked  = "i-0fedcba9876543210"
	record = "/var/lib/ecsnode/agentstate.json"
	arn    = "arn:aws:ecs:eu-west-1:123456789012:container-instance/prod/0123456789abcdef0123456789abcdef"
)

// agent is the ECS agent: what it has saved, and its unit.
type agent struct {
	files    fsx.FS
	states   map[string]facts.AgentState
	damaged  map[string]bool
	unit     facts.Unit
	busErr   error
	unitRead int
}

func (a *agent) State(file string) (facts.AgentState, error) {
	_, err := a.files.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = facts.ErrAbsent
	case err != nil:
	case a.unit.Active == "active" && file == facts.AgentDB:
		err = fmt.Errorf("%w: the ECS agent has it locked", facts.ErrUnavailable)
	case a.damaged[file]:
		err = errors.New("it is damaged: invalid database")
	}
	if err != nil {
		return facts.AgentState{}, fmt.Errorf("cannot read %s: %w", file, err)
	}
	state := a.states[file]
	state.File = file
	return state, nil
}

func (a *agent) Unit(_ context.Context, name string) (facts.Unit, error) {
	a.unitRead++
	if name != "ecs.service" {
		return facts.Unit{}, fmt.Errorf("no such unit: %s", name)
	}
	return a.unit, a.busErr
}

type rig struct {
	t        *testing.T
	files    fsx.FS
	agent    *agent
	instance *cell.Cell[facts.Instance]
	cluster  *cell.Cell[string]
	duty     *agentstate.Duty
}

func newRig(t *testing.T) *rig {
	t.Helper()
	disk, err := fsx.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, files: disk, instance: cell.New(facts.Instance.Equal), cluster: cell.Comparable[string]()}
	r.agent = &agent{files: disk, states: map[string]facts.AgentState{}, damaged: map[string]bool{}}
	r.unit("inactive", "dead")
	r.instance.Set(facts.Instance{ID: here})
	r.duty = &agentstate.Duty{FS: disk, Instance: r.instance, Cluster: r.cluster, Data: r.agent, Manager: r.agent}
	return r
}

func (r *rig) unit(active, sub string) {
	r.agent.unit = facts.Unit{Name: "ecs.service", Load: "loaded", Active: active, Sub: sub}
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	if _, err := r.files.MkdirAll(path.Dir(name), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.files.WriteFile(name, []byte(text), fsx.How{Mode: 0o600}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) saved(file string, state facts.AgentState) {
	r.t.Helper()
	r.write(file, "state")
	r.agent.states[file] = state
}

func (r *rig) seen(instance, arn string) {
	r.t.Helper()
	r.write(record, fmt.Sprintf(`{"instance_id": %q, "container_instance_arn": %q}`, instance, arn))
}

func (r *rig) there(file string) bool {
	r.t.Helper()
	_, err := r.files.Stat(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	return err == nil
}

func (r *rig) recorded() bool {
	r.t.Helper()
	data, err := r.files.ReadFile(record)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	return strings.Contains(string(data), here)
}

func state(instance, cluster string) facts.AgentState {
	return facts.AgentState{InstanceID: instance, Cluster: cluster, ARN: arn, AgentVersion: "1.108.2"}
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	const db, json = facts.AgentDB, facts.AgentJSON
	for name, tc := range map[string]struct {
		arrange  func(r *rig)
		kept     []string // of the two files
		recorded bool
		changed  bool
		fails    []string // words of the error; none: no error
		waits    bool
		summary  string
		warning  string
	}{
		"a fresh node": {
			arrange:  func(*rig) {},
			recorded: true, changed: true, summary: "the ECS agent has saved nothing yet",
		},
		"state that came with the image": {
			arrange:  func(r *rig) { r.saved(db, state(baked, "build")) },
			recorded: true, changed: true,
			summary: "removed " + db + ", which is of " + baked + " and came with the image: this is " + here,
		},
		"state and a record that came with the image": {
			arrange:  func(r *rig) { r.saved(db, state(baked, "build")); r.seen(baked, arn) },
			recorded: true, changed: true, summary: "removed " + db,
		},
		"both files came with the image": {
			arrange:  func(r *rig) { r.saved(db, state(baked, "build")); r.saved(json, state(baked, "build")) },
			recorded: true, changed: true, summary: json,
		},
		"an old file without an instance id, known by its container instance": {
			arrange:  func(r *rig) { r.saved(json, facts.AgentState{ARN: arn}); r.seen(baked, arn) },
			recorded: true, changed: true, summary: "removed " + json + ", which is of " + baked,
		},
		"state that does not say whose it is, on the first boot": {
			arrange:  func(r *rig) { r.saved(json, facts.AgentState{ARN: arn}) },
			recorded: true, changed: true, summary: "does not say which instance it is of",
		},
		"state that cannot be read, on the first boot": {
			arrange:  func(r *rig) { r.saved(db, facts.AgentState{}); r.agent.damaged[db] = true },
			recorded: true, changed: true, summary: "cannot be read on the first boot of " + here,
		},
		"state that cannot be read, on a reboot": {
			arrange: func(r *rig) { r.saved(db, facts.AgentState{}); r.agent.damaged[db] = true; r.seen(here, arn) },
			kept:    []string{db}, recorded: true,
			fails: []string{"cannot read " + db, "it is damaged", "stop ecs, remove " + db},
		},
		"state of this instance, on the first boot of ecsnode": {
			arrange: func(r *rig) { r.saved(db, state(here, "prod")) },
			kept:    []string{db}, recorded: true, changed: true, summary: "the saved state is of this instance",
		},
		"a reboot": {
			arrange: func(r *rig) { r.saved(db, state(here, "prod")); r.seen(here, arn) },
			kept:    []string{db}, recorded: true, summary: "the saved state is of this instance",
		},
		"a reboot, with a file of an agent before it": {
			arrange: func(r *rig) {
				r.saved(db, state(here, "prod"))
				r.saved(json, state(baked, "old"))
				r.seen(here, arn)
			},
			kept: []string{db, json}, recorded: true, summary: "the saved state is of this instance",
		},
		"a reboot, with state of another instance": {
			arrange: func(r *rig) { r.saved(db, state(baked, "prod")); r.seen(here, arn) },
			kept:    []string{db}, recorded: true, warning: "the ECS agent will overwrite it",
		},
		"a reboot before the agent had registered": {
			arrange: func(r *rig) { r.saved(db, facts.AgentState{}); r.seen(here, "") },
			kept:    []string{db}, recorded: true, summary: "the ECS agent has not registered yet",
		},
		"a running agent": {
			arrange: func(r *rig) { r.saved(db, state(here, "prod")); r.seen(here, arn); r.unit("active", "running") },
			kept:    []string{db}, recorded: true, summary: "not looked at: cannot read " + db + ": unavailable: the ECS agent has it locked",
		},
		"an agent that ran before ecsnode was installed": {
			arrange: func(r *rig) {
				r.saved(db, state(here, "prod"))
				r.saved(json, state(baked, "old"))
				r.unit("active", "running")
			},
			kept: []string{db, json}, recorded: true, changed: true,
		},
		"an agent that runs with a file of another instance": {
			arrange: func(r *rig) { r.saved(json, state(baked, "prod")); r.unit("active", "running") },
			kept:    []string{json}, fails: []string{json, baked, "ecs.service runs", "stop ecs, run ecsnode apply"},
		},
		"an agent that is held back": {
			arrange:  func(r *rig) { r.saved(db, state(baked, "build")); r.unit("activating", "auto-restart") },
			recorded: true, changed: true, summary: "removed " + db,
		},
		"an agent on its way up": {
			arrange: func(r *rig) { r.saved(db, state(baked, "build")); r.unit("activating", "start-pre") },
			kept:    []string{db}, waits: true, fails: []string{"ecs.service is activating"},
		},
		"nobody can tell whether the agent runs": {
			arrange: func(r *rig) {
				r.saved(db, state(baked, "build"))
				r.agent.busErr = fmt.Errorf("cannot ask systemd about ecs.service: %w", facts.ErrUnavailable)
			},
			kept: []string{db}, fails: []string{"cannot remove " + db, "nobody can tell whether the ECS agent runs"},
		},
		"nobody can tell, on a reboot, and it does not matter": {
			arrange: func(r *rig) {
				r.saved(db, state(here, "prod"))
				r.seen(here, arn)
				r.agent.busErr = facts.ErrUnavailable
			},
			kept: []string{db}, recorded: true,
		},
		"another cluster than the saved one": {
			arrange: func(r *rig) { r.saved(db, state(here, "prod")); r.seen(here, arn); r.cluster.Set("staging") },
			kept:    []string{db}, recorded: true,
			fails: []string{"will refuse to start", `"prod"`, `"staging"`, "replace the instance", "remove " + db},
		},
		"another cluster, on the first boot of ecsnode": {
			arrange: func(r *rig) { r.saved(db, state(here, "prod")); r.cluster.Set("staging") },
			kept:    []string{db}, recorded: true, changed: true, fails: []string{"will refuse to start"},
		},
		"the saved cluster spelt as an ARN": {
			arrange: func(r *rig) {
				r.saved(db, state(here, "arn:aws:ecs:eu-west-1:123456789012:cluster/prod"))
				r.cluster.Set("prod")
			},
			kept: []string{db}, recorded: true, changed: true,
		},
		"another cluster than that of the image": {
			arrange:  func(r *rig) { r.saved(db, state(baked, "build")); r.cluster.Set("prod") },
			recorded: true, changed: true, summary: "removed " + db,
		},
		"a damaged record and state of this instance": {
			arrange: func(r *rig) { r.saved(db, state(here, "prod")); r.write(record, "{") },
			kept:    []string{db}, recorded: true, changed: true, warning: "it is written anew",
		},
		"a damaged record and state of another": {
			arrange:  func(r *rig) { r.saved(db, state(baked, "build")); r.write(record, "{") },
			recorded: true, changed: true, summary: "removed " + db, warning: "it is written anew",
		},
		"a damaged record and state that does not say whose it is": {
			arrange: func(r *rig) { r.saved(json, facts.AgentState{ARN: arn}); r.write(record, "{") },
			kept:    []string{json}, fails: []string{"cannot tell whether " + json + " is of this instance", "it is damaged", record},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			tc.arrange(r)
			out, err := r.duty.Reconcile(t.Context())
			r.check(out, err, tc.fails, tc.waits)
			for _, file := range []string{db, json} {
				_, was := r.agent.states[file]
				if want := slices.Contains(tc.kept, file); r.there(file) != want && was {
					t.Errorf("%s is there: %v", file, !want)
				}
			}
			if r.recorded() != tc.recorded || out.Changed != tc.changed {
				t.Errorf("recorded: %v, changed: %v", r.recorded(), out.Changed)
			}
			if !strings.Contains(out.Summary, tc.summary) {
				t.Errorf("summary %q", out.Summary)
			}
			if !strings.Contains(strings.Join(out.Warnings, "\n"), tc.warning) || tc.warning == "" && len(out.Warnings) > 0 {
				t.Errorf("warnings %q", out.Warnings)
			}
			if again, err := r.duty.Reconcile(t.Context()); again.Changed {
				t.Errorf("a second pass changed something: %+v, %v", again, err)
			}
		})
	}
}

func (r *rig) check(out duty.Outcome, err error, fails []string, waits bool) {
	r.t.Helper()
	if (err != nil) != (len(fails) > 0) || errors.Is(err, duty.ErrNotReady) != waits || waits != (out.Again > 0) {
		r.t.Fatalf("err = %v; %+v", err, out)
	}
	for _, words := range fails {
		if !strings.Contains(err.Error(), words) {
			r.t.Errorf("%q does not say %q", err, words)
		}
	}
}

func TestAnInstanceThatIsNotKnownIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.saved(facts.AgentDB, state(baked, "build"))
	r.duty.Instance = cell.New(facts.Instance.Equal)
	if _, err := r.duty.Reconcile(t.Context()); !errors.Is(err, duty.ErrNotReady) || !r.there(facts.AgentDB) {
		t.Errorf("err = %v", err)
	}
}

// An image made of a node, and an instance launched from it, and so on.
func TestTheLifeOfAnImage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, id := range []string{baked, here} {
		r.instance.Set(facts.Instance{ID: id})
		if _, err := r.duty.Reconcile(t.Context()); err != nil || r.there(facts.AgentDB) {
			t.Fatalf("%s does not begin without state: %v", id, err)
		}
		r.saved(facts.AgentDB, state(id, "prod"))
		r.unit("active", "running")
		for range 2 {
			if out, err := r.duty.Reconcile(t.Context()); err != nil || out.Changed {
				t.Fatalf("%+v, %v", out, err)
			}
		}
		r.unit("inactive", "dead") // a reboot
		if out, err := r.duty.Reconcile(t.Context()); err != nil || !r.there(facts.AgentDB) {
			t.Fatalf("%+v, %v", out, err)
		}
	}
}

// While nothing is to be removed nobody needs the service manager.
func TestTheServiceManagerIsAskedOnlyWhenItMatters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.saved(facts.AgentDB, state(here, "prod"))
	for range 3 {
		if _, err := r.duty.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if r.agent.unitRead != 0 {
		t.Errorf("asked %d times", r.agent.unitRead)
	}
}
