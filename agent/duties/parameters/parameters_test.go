package parameters_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/parameters"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// aws is both stores, with what is in them.
type aws struct {
	parameters map[string]facts.Parameter
	secrets    map[string]facts.Parameter
	fails      map[string]error // by name
	down       error
	hangs      bool
	asking     sync.Mutex // both stores are asked at the same time
	asked      []string
}

func (a *aws) ask(name string) {
	a.asking.Lock()
	defer a.asking.Unlock()
	a.asked = append(a.asked, name)
}

func (a *aws) one(name string, of map[string]facts.Parameter) (facts.Parameter, error) {
	a.ask(name)
	if err := errors.Join(a.down, a.fails[name]); err != nil {
		return facts.Parameter{}, err
	}
	p, is := of[name]
	if !is {
		return p, fmt.Errorf("cannot read %s: %w", name, facts.ErrAbsent)
	}
	return p, nil
}

func (a *aws) Parameters(ctx context.Context, _ string, names []string) map[string]facts.ParameterResult {
	if a.hangs {
		<-ctx.Done()
	}
	results := map[string]facts.ParameterResult{}
	for _, name := range names {
		p, err := a.one(name, a.parameters)
		results[name] = facts.ParameterResult{Parameter: p, Err: errors.Join(err, ctx.Err())}
	}
	return results
}

func (a *aws) Tree(_ context.Context, _, path string) (map[string]facts.Parameter, error) {
	a.ask(path)
	tree := map[string]facts.Parameter{}
	for name, p := range a.parameters {
		if strings.HasPrefix(name, path) {
			tree[name] = p
		}
	}
	return tree, errors.Join(a.down, a.fails[path])
}

func (a *aws) Secret(_ context.Context, _, name string) (facts.Parameter, error) {
	return a.one(name, a.secrets)
}

type rig struct {
	t     *testing.T
	root  string
	aws   *aws
	asked *cell.Cell[facts.References]
	other *cell.Cell[facts.References]
	known *cell.Cell[facts.Parameters]
	duty  *parameters.Duty
	out   duty.Outcome
}

func onNode(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, root: t.TempDir(), aws: &aws{
			parameters: map[string]facts.Parameter{"/a": {Value: "1"}, "/t/x": {Value: "2"}, "/t/y/z": {Value: "3", Secret: true}},
			secrets:    map[string]facts.Parameter{"db": {Value: "hunter2", Secret: true}},
			fails:      map[string]error{},
		}}
		r.start("i-1")
		f(t, r)
	})
}

// start is a new process.
func (r *rig) start(id string) {
	files, err := fsx.Open(r.root)
	if err != nil {
		r.t.Fatal(err)
	}
	config, instance := cell.Comparable[parameters.Config](), cell.New(facts.Instance.Equal)
	config.Set(parameters.Default())
	instance.Set(facts.Instance{ID: id, Region: "eu-west-1"})
	r.asked, r.other, r.known = cell.New(facts.References.Equal), cell.New(facts.References.Equal), cell.New(facts.Parameters.Equal)
	r.duty = &parameters.Duty{
		FS: files, ID: id, Config: config, Instance: instance, Asked: []cell.Reader[facts.References]{r.asked, r.other},
		Store: r.aws, Secrets: r.aws, Parameters: r.known,
	}
}

func ref(kind, name string) facts.ParameterRef { return facts.ParameterRef{Kind: kind, Name: name} }

var (
	a    = ref(facts.SSMParameter, "/a")
	tree = ref(facts.SSMTree, "/t")
	db   = ref(facts.ASecret, "db")
)

func (r *rig) ask(refs ...facts.ParameterRef) {
	r.asked.Set(refs)
	r.other.Set(nil)
}

func (r *rig) pass() (err error) {
	r.aws.asked = nil
	r.out, err = r.duty.Reconcile(r.t.Context())
	return err
}

func (r *rig) good() {
	r.t.Helper()
	if err := r.pass(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) value(ref facts.ParameterRef, of string) string {
	all, _ := r.known.Get()
	answer := all[ref]
	if answer.Presence != facts.Present {
		return fmt.Sprint(answer.Presence)
	}
	return answer.Values[of].Value
}

func TestWhatTemplatesAskForIsReadOnceAndThenRefreshed(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.good()
		if r.out.Summary != "no template asks for a parameter" || len(r.aws.asked) > 0 {
			t.Errorf("%+v, %v", r.out, r.aws.asked)
		}
		r.ask(a, tree, db)
		r.good()
		if got := []string{r.value(a, ""), r.value(tree, "x"), r.value(tree, "y/z"), r.value(db, "")}; !slices.Equal(got, []string{"1", "2", "3", "hunter2"}) {
			t.Errorf("%v", got)
		}
		r.good()
		if len(r.aws.asked) > 0 {
			t.Errorf("asked again at once: %v", r.aws.asked)
		}
		r.aws.parameters["/a"] = facts.Parameter{Value: "new"}
		for range 15 {
			time.Sleep(time.Minute)
			r.good()
		}
		if r.value(a, "") != "new" {
			t.Error("it was not read again within the quarter of an hour")
		}
		r.ask(db)
		time.Sleep(time.Hour)
		r.good()
		if !slices.Equal(r.aws.asked, []string{"db"}) || r.value(a, "") != "new" {
			t.Errorf("what nobody asks for at the moment is asked for, or gone: %v", r.aws.asked)
		}
		time.Sleep(4 * 24 * time.Hour)
		r.good()
		if all, _ := r.known.Get(); len(all) != 1 {
			t.Errorf("what nobody asks for any more is kept: %v", all)
		}
	})
}

func TestWhatCannotBeReadStaysAsItWas(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.ask(a, db)
		r.good()
		read := time.Now().UTC().Format(time.RFC3339)
		r.start("i-1") // also over a restart
		r.ask(a, db, ref(facts.SSMParameter, "/b"))
		time.Sleep(time.Hour)
		r.aws.fails["/a"] = fmt.Errorf("%w: throttled", facts.ErrUnavailable)
		r.aws.fails["/b"] = fmt.Errorf("%w: needs ssm:GetParameters", facts.ErrRefused)
		r.aws.secrets["db"] = facts.Parameter{Value: "hunter3", Secret: true}
		err := r.pass()
		if err == nil || !strings.Contains(err.Error(), "throttled; what was read at "+read+" stays in use") || !errors.Is(err, facts.ErrRefused) {
			t.Errorf("%v", err)
		}
		if r.value(a, "") != "1" || r.value(db, "") != "hunter3" || r.value(ref(facts.SSMParameter, "/b"), "") != "unavailable" {
			t.Error("one that fails keeps others from being read, or took what was known away")
		}
		all, _ := r.known.Get()
		if why := all[ref(facts.SSMParameter, "/b")].Why; !strings.Contains(why, "needs ssm:GetParameters") {
			t.Errorf("templates are not told why: %q", why)
		}
		r.aws.fails = map[string]error{}
		r.aws.parameters["/b"] = facts.Parameter{Value: "b"}
		if err := r.pass(); err == nil || len(r.aws.asked) > 0 {
			t.Errorf("asked again at once: %v, %v", r.aws.asked, err)
		}
		time.Sleep(2 * time.Second)
		r.good()
		if !slices.Equal(r.aws.asked, []string{"/a", "/b"}) || r.value(ref(facts.SSMParameter, "/b"), "") != "b" {
			t.Errorf("asked %v", r.aws.asked)
		}
	})
}

func TestWhatIsGoneIsAbsent(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.ask(a)
		r.good()
		delete(r.aws.parameters, "/a")
		time.Sleep(time.Hour)
		r.good()
		if got := r.value(a, ""); got != "absent" || !strings.Contains(r.out.Summary, "0 of 1 that templates ask for, 1 absent") {
			t.Errorf("%s, %s", got, r.out.Summary)
		}
		r.start("i-1")
		r.ask(a)
		r.good()
		if got := r.value(a, ""); got != "absent" || len(r.aws.asked) > 0 {
			t.Errorf("after a restart: %s, asked %v", got, r.aws.asked)
		}
	})
}

func TestAStoreThatHangsKeepsNothingFromTheOther(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.aws.hangs = true
		r.ask(a, db)
		began := time.Now()
		if err := r.pass(); !errors.Is(err, facts.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if r.value(db, "") != "hunter2" || time.Since(began) > time.Minute {
			t.Errorf("%s after %v", r.value(db, ""), time.Since(began))
		}
		synctest.Wait()
	})
}

func TestAnotherInstanceStartsWithNothing(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.ask(db)
		r.good()
		r.start("i-2") // the image was made from i-1
		r.aws.down = facts.ErrUnavailable
		r.ask(db)
		_ = r.pass()
		if got := r.value(db, ""); got != "unavailable" {
			t.Error(got)
		}
	})
}

func TestOnlyRootReadsTheStateAndADamagedOneIsNotUsed(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		name := filepath.Join(r.root, "/var/lib/ecsnode/parameters.json")
		r.ask(db)
		r.good()
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatal(info, err)
		}
		for _, damaged := range []string{"", "{", `{"instance_id":"i-1","parameters":[{"ref":{"kind":"secret","name":"db"},"at":"2026-01-01T00:00:00Z"}]}`, `hunter2`} {
			if err := os.WriteFile(name, []byte(damaged), 0o600); err != nil {
				t.Fatal(err)
			}
			r.start("i-1")
			r.ask(db)
			r.good()
			if r.value(db, "") != "hunter2" || len(r.out.Warnings) != 1 || strings.Contains(r.out.Warnings[0], "hunter2") {
				t.Errorf("%q: %s, %v", damaged, r.value(db, ""), r.out.Warnings)
			}
		}
	})
}

func TestWhatFailsIsAskedForEverLessOften(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.aws.fails["/a"] = facts.ErrUnavailable
		r.ask(a)
		var calls []time.Time
		for end := time.Now().Add(24 * time.Hour); time.Now().Before(end); {
			if err := r.pass(); err == nil {
				t.Fatal("what cannot be read is not told in every pass")
			}
			if len(r.aws.asked) > 0 {
				calls = append(calls, time.Now())
			}
			time.Sleep(max(r.out.Again, time.Second)) // as the engine would
		}
		if n := len(calls); n < 24*4 || n > 24*8+20 {
			t.Errorf("%d calls in a day", n)
		}
		if first := calls[1].Sub(calls[0]); first > 3*time.Second {
			t.Errorf("the first repetition comes after %v", first)
		}
		r.aws.fails = map[string]error{}
		for range 20 { // within two quarters of an hour
			time.Sleep(r.out.Again)
			if r.pass() == nil {
				break
			}
		}
		if r.value(a, "") != "1" {
			t.Error("it is not read once it can be")
		}
	})
}

func TestAFleetAsksEvenly(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		const nodes = 450
		minutes := map[int]int{}
		for i := range nodes {
			r.root = t.TempDir()
			r.start(fmt.Sprintf("i-%04d", i))
			r.ask(a)
			r.good()
			at := time.Now().Add(r.out.Again)
			minutes[int(at.Unix()/60)%15]++
			if at.Nanosecond() == 0 && i > 3 {
				t.Fatalf("at a full second: %v", at)
			}
		}
		for m, n := range minutes {
			if n < nodes/15/3 || n > nodes/15*2 {
				t.Errorf("%d of %d nodes ask in minute %d", n, nodes, m)
			}
		}
	})
}

func TestWhatWasReadIsNotLostToWhatTakesTooLong(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		var refs []facts.ParameterRef
		for i := range 20 {
			name := fmt.Sprintf("s%02d", i)
			r.aws.secrets[name] = facts.Parameter{Value: "v", Secret: true}
			refs = append(refs, ref(facts.ASecret, name))
		}
		r.duty.Secrets = slow{r.aws}
		r.ask(refs...)
		passes := 1
		for ; r.pass() != nil && passes < 20; passes++ {
			time.Sleep(max(r.out.Again, time.Second))
		}
		if passes > 8 {
			t.Errorf("20 secrets of 5 s take %d passes", passes)
		}
	})
}

// slow takes 5 s for an answer.
type slow struct{ *aws }

func (s slow) Secret(ctx context.Context, region, name string) (facts.Parameter, error) {
	select {
	case <-time.After(5 * time.Second):
		return s.aws.Secret(ctx, region, name)
	case <-ctx.Done():
		return facts.Parameter{}, fmt.Errorf("%w: %w", facts.ErrUnavailable, ctx.Err())
	}
}

func TestSomebodyWhoAsksForAPassGetsItAllAnew(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		asks := cell.Comparable[string]()
		r.duty.Asks = asks
		r.ask(a)
		r.good()
		r.aws.parameters["/a"] = facts.Parameter{Value: "new"}
		asks.Set("1")
		r.good()
		if r.value(a, "") != "new" {
			t.Error("it is not read anew")
		}
		r.good()
		if len(r.aws.asked) > 0 {
			t.Error("it is read again and again")
		}
	})
}

func TestNothingIsForgottenBeforeAllTemplatesWereRendered(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.ask(a, db)
		r.good()
		r.start("i-1")
		r.aws.down = facts.ErrUnavailable
		r.asked.Set(facts.References{a}) // the other has not told yet
		_ = r.pass()
		if r.value(db, "") != "hunter2" {
			t.Error("it is gone before anybody could ask for it")
		}
	})
}
