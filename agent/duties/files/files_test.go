package files_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/files"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/agent/when"
)

// systemd is a service manager with units that start when they are told to.
type systemd struct {
	units    map[string]facts.Unit
	restarts map[string]int
	reloads  map[string]int
	jobs     map[string]facts.Command
	read     int                             // times that it has read its files again
	says     func(c facts.Command) facts.Job // of a check
	err      error
}

func (s *systemd) Unit(_ context.Context, name string) (facts.Unit, error) {
	u, is := s.units[name]
	if !is {
		u.Load = "not-found"
	}
	u.Name = name
	return u, nil
}

func (s *systemd) Restart(_ context.Context, name string) error {
	s.restarts[name]++
	if s.err == nil {
		s.runs(name)
	}
	return s.err
}

func (s *systemd) Reload(_ context.Context, name string) error {
	s.reloads[name]++
	return s.err
}

func (s *systemd) ReloadUnits(context.Context) error {
	if s.err == nil {
		s.read++
	}
	return s.err
}

func (s *systemd) RunJob(_ context.Context, c facts.Command) error {
	s.jobs[c.Name] = c
	return nil
}

func (s *systemd) Job(_ context.Context, name string) (facts.Job, error) {
	c, is := s.jobs[name]
	if !is {
		return facts.Job{}, nil
	}
	return s.says(c), nil
}

func (s *systemd) ForgetJob(_ context.Context, name string) error {
	delete(s.jobs, name)
	return nil
}

// runs makes a unit run since now.
func (s *systemd) runs(name string) {
	s.units[name] = facts.Unit{Load: "loaded", Active: "active", Started: time.Now()}
}

type rig struct {
	t       *testing.T
	root    string
	disk    fsx.FS
	config  *cell.Cell[files.Config]
	systemd *systemd
	inputs  *cell.Cell[facts.Inputs]
	whole   *cell.Cell[bool]
	rpms    *cell.Cell[facts.Packages]
	duty    *files.Duty
	out     duty.Outcome
}

func onNode(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		f(t, r)
	})
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, root: t.TempDir(), config: cell.New(func(a, b files.Config) bool { return false }), whole: cell.Comparable[bool](), rpms: cell.New(facts.Packages.Equal)}
	disk, err := fsx.Open(r.root)
	if err != nil {
		t.Fatal(err)
	}
	r.disk = disk
	r.whole.Set(true)
	r.systemd = &systemd{
		units: map[string]facts.Unit{}, restarts: map[string]int{}, reloads: map[string]int{}, jobs: map[string]facts.Command{},
		says: func(facts.Command) facts.Job { return facts.Job{State: facts.JobEnded, Result: "success"} },
	}
	for _, dir := range []string{"/etc/app", "/var/lib"} {
		if err := os.MkdirAll(filepath.Join(r.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.restart()
	return r
}

// restart is another process.
func (r *rig) restart() {
	instance := cell.New(facts.Instance.Equal)
	instance.Set(facts.Instance{ID: "i-1", Region: "eu-west-1", Tags: facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{"env": "prod"}}})
	cluster := cell.Comparable[string]()
	cluster.Set("web")
	r.inputs = cell.New(facts.Inputs.Equal)
	r.duty = &files.Duty{
		FS: r.disk, ID: "i-1", Config: r.config, Instance: instance, Cluster: cluster, Whole: r.whole, Manager: r.systemd, Inputs: r.inputs,
		Packages: r.rpms,
	}
}

// items makes these the configuration.
func (r *rig) items(items map[string]files.File) {
	r.t.Helper()
	c := files.Default()
	c.Splay = 0
	for name, f := range items {
		hasText := f.Content != nil || f.Literal != nil || f.Source != "" || f.Template != ""
		if f.Owner == "" && hasText {
			f.Owner, f.Group = fmt.Sprint(os.Geteuid()), fmt.Sprint(os.Getegid())
		}
		c.Items[name] = f
	}
	c.Validate(func(path, message string) { r.t.Errorf("%s: %s", path, message) })
	r.config.Set(c)
}

func (r *rig) pass() error {
	var err error
	r.out, err = r.duty.Reconcile(r.t.Context())
	return err
}

// settle makes passes until nothing changes, and checks that it comes to that.
func (r *rig) settle() {
	r.t.Helper()
	for range 10 {
		err := r.pass()
		if err != nil && !errors.Is(err, duty.ErrNotReady) {
			r.t.Fatal(err)
		}
		if err == nil && !r.out.Changed {
			return
		}
	}
	r.t.Fatalf("it does not settle: %+v", r.out)
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.root, name), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// tree is what is below /etc, as text.
func (r *rig) tree() string {
	r.t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(filepath.Join(r.root, "etc"), func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v", strings.TrimPrefix(name, r.root), info.Mode())
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", data)
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(name)
			fmt.Fprintf(&b, " -> %s", target)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return b.String()
}

func (r *rig) want(parts ...string) {
	r.t.Helper()
	tree := r.tree()
	for _, part := range parts {
		if !strings.Contains(tree, part) {
			r.t.Errorf("lacks %q:\n%s", part, tree)
		}
	}
}

func text(src string) *render.Text {
	t := render.NewText(src)
	return &t
}

func TestItemsOfEveryKindAreMadeOnceAndRestored(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.write("/etc/app/old", "was here\n")
		r.write("/etc/app/shared", "first\nlast\n")
		r.write("/etc/app/gone", "to be removed\n")
		before := r.tree()
		literal := "as {{ it }} stands"
		r.items(map[string]files.File{
			"/etc/app/rendered": {Content: text(`env={{ tag "env" }} cluster={{ node "cluster" }}`), Mode: 0o600},
			"/etc/app/old":      {Literal: &literal},
			"/etc/app/shared":   {Content: text("mine"), Block: "test"},
			"/etc/app/gone":     {Absent: true},
			"/etc/app/dir":      {Directory: true, Mode: 0o750},
			"/etc/app/dir/in":   {Content: text("inside")},
			"/etc/app/link":     {Link: "old"},
		})
		r.settle()
		r.want("/etc/app/rendered -rw------- \"env=prod cluster=web\"", `/etc/app/old -rw-r--r-- "as {{ it }} stands"`,
			`"first\nlast\n# BEGIN ecsnode: test\nmine\n# END ecsnode: test\n"`, "/etc/app/dir drwxr-x---", `/etc/app/dir/in -rw-r--r-- "inside"`, "/etc/app/link Lrwxrwxrwx -> old")
		if strings.Contains(r.tree(), "/etc/app/gone") {
			t.Error("what should be absent is there")
		}
		if err := r.pass(); err != nil || r.out.Changed {
			t.Errorf("a second pass changes something: %v %+v", err, r.out)
		}
		r.restart()
		r.items(nil)
		r.settle()
		if after := r.tree(); after != before {
			t.Errorf("after it was taken back:\n%s\nwant:\n%s", after, before)
		}
	})
}

func TestWhatOthersChangedSinceStaysWhenItIsNoLongerConfigured(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.items(map[string]files.File{"/etc/app/a": {Content: text("ours")}, "/etc/app/kept": {Content: text("kept"), Keep: true}})
		r.settle()
		r.write("/etc/app/a", "theirs")
		r.items(nil)
		r.settle()
		r.want(`"theirs"`, `"kept"`)
	})
}

func TestNothingIsTakenBackWhileAFileOfTheConfigurationIsLeftOut(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.items(map[string]files.File{"/etc/app/a": {Content: text("ours")}})
		r.settle()
		r.whole.Set(false)
		r.items(nil)
		r.settle()
		r.want(`"ours"`)
		r.whole.Set(true)
		r.settle()
		if strings.Contains(r.tree(), "ours") {
			t.Error("it is not taken back afterwards")
		}
	})
}

func TestAUnitIsRestartedUntilItRunsWithItsFiles(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.systemd.runs("rsyslog.service")
		time.Sleep(time.Minute)
		r.items(map[string]files.File{"/etc/app/a": {Content: text("1"), Restart: []string{"rsyslog.service", "docker.service", "gone.service"}}})
		r.systemd.err = errors.New("the job ended with failed")
		if err := r.pass(); err == nil || !strings.Contains(err.Error(), "rsyslog.service runs with older files") {
			t.Errorf("%v", err)
		}
		r.restart() // it is not forgotten
		r.systemd.err = nil
		time.Sleep(time.Second)
		r.settle()
		r.settle()
		if n := r.systemd.restarts["rsyslog.service"]; n != 2 {
			t.Errorf("%d restarts", n)
		}
		if r.systemd.restarts["docker.service"]+r.systemd.restarts["gone.service"] != 0 {
			t.Errorf("%v", r.systemd.restarts)
		}
		if in, _ := r.inputs.Get(); len(in["docker.service"]) != 1 {
			t.Errorf("what Docker should run with is not published: %v", in)
		}
		time.Sleep(time.Hour)
		r.items(nil)
		r.settle()
		if n := r.systemd.restarts["rsyslog.service"]; n != 3 {
			t.Errorf("%d restarts after it was taken back", n)
		}
	})
}

func TestAUnitIsReloadedOnceForEachChange(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.systemd.runs("nginx.service")
		time.Sleep(time.Minute)
		for _, content := range []string{"1", "2"} {
			r.items(map[string]files.File{"/etc/app/a": {Content: text(content), Reload: []string{"nginx.service"}}})
			r.settle()
			time.Sleep(time.Minute)
			r.restart()
			r.settle()
		}
		if n := r.systemd.reloads["nginx.service"]; n != 2 || r.systemd.restarts["nginx.service"] != 0 {
			t.Errorf("%d reloads, %v", n, r.systemd.restarts)
		}
	})
}

func TestRestartsAreSpreadOverTheFleetButNotAtBoot(t *testing.T) {
	for _, boot := range []bool{true, false} {
		t.Run(fmt.Sprint(boot), func(t *testing.T) {
			onNode(t, func(t *testing.T, r *rig) {
				r.systemd.runs("rsyslog.service")
				time.Sleep(time.Minute)
				r.items(map[string]files.File{"/etc/app/a": {Content: text("1"), Restart: []string{"rsyslog.service"}}})
				c, _ := r.config.Get()
				c.Splay = when.Duration(time.Hour)
				r.config.Set(c)
				r.duty.Now = boot
				if err := r.pass(); err != nil {
					t.Fatal(err)
				}
				if n := r.systemd.restarts["rsyslog.service"]; (n == 1) != boot {
					t.Errorf("%d restarts", n)
				}
				time.Sleep(r.out.Again + time.Second)
				r.settle()
				if n := r.systemd.restarts["rsyslog.service"]; n != 1 {
					t.Errorf("%d restarts", n)
				}
			})
		})
	}
}

func TestACheckThatSaysNoKeepsTheOldFile(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.write("/etc/app/a", "old")
		var asked []string
		answer := facts.Job{State: facts.JobRunning}
		r.systemd.says = func(c facts.Command) facts.Job {
			data, err := os.ReadFile(filepath.Join(r.root, c.Argv[2]))
			if err != nil {
				t.Errorf("the staged file: %v", err)
			}
			asked = append(asked, string(data))
			return answer
		}
		r.items(map[string]files.File{
			"/etc/app/a":     {Content: text("new"), Check: []string{"/bin/check", "-f", "{}"}},
			"/etc/app/other": {Content: text("x")},
			"/etc/app/later": {Content: text("y"), After: []string{"/etc/app/a"}},
		})
		if err := r.pass(); !errors.Is(err, duty.ErrNotReady) {
			t.Errorf("while it runs: %v", err)
		}
		answer = facts.Job{State: facts.JobEnded, Result: "exit-code", ExitStatus: 3, Output: "line 1: syntax error\n"}
		err := r.pass()
		if err == nil || !strings.Contains(err.Error(), "its check says no: exit status 3: line 1: syntax error") {
			t.Errorf("%v", err)
		}
		r.want(`/etc/app/a -rw-r--r-- "old"`, "/etc/app/other")
		if strings.Contains(r.tree(), "later") {
			t.Error("what comes after it was made")
		}
		if asked[0] != "new" {
			t.Errorf("asked about %q", asked)
		}
		answer = facts.Job{State: facts.JobEnded, Result: "success"}
		time.Sleep(time.Minute)
		r.settle()
		r.want(`/etc/app/a -rw-r--r-- "new"`, "later")
	})
}

func TestAnotherCheckIsAskedAtOnce(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.systemd.says = func(c facts.Command) facts.Job {
			if c.Argv[0] == "/bin/wrong" {
				return facts.Job{State: facts.JobEnded, Result: "timeout"}
			}
			return facts.Job{State: facts.JobEnded, Result: "success"}
		}
		r.items(map[string]files.File{"/etc/app/a": {Content: text("x"), Check: []string{"/bin/wrong", "{}"}}})
		_ = r.pass()
		if err := r.pass(); err == nil || !strings.Contains(err.Error(), "its check says no: no end within the time") {
			t.Fatal(err)
		}
		r.items(map[string]files.File{"/etc/app/a": {Content: text("x"), Check: []string{"/bin/right", "{}"}}})
		r.settle()
		r.want(`"x"`)
	})
}

func TestWhatCannotBeMadeKeepsNothingElse(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		if err := os.Mkdir(filepath.Join(r.root, "/etc/app/taken"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"open", "elsewhere"} {
			if err := os.Mkdir(filepath.Join(r.root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(r.root, "open"), 0o1777); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../elsewhere", filepath.Join(r.root, "open/link")); err != nil {
			t.Fatal(err)
		}
		r.items(map[string]files.File{
			"/etc/app/taken":    {Content: text("a directory is in the way")},
			"/etc/nowhere/file": {Content: text("its directory is not there")},
			"/etc/app/missing":  {Content: text(`{{ tag "missing" }}`)},
			"/etc/app/who":      {Content: text("x"), Owner: "nobody-at-all"},
			"/etc/app/block":    {Content: text("x"), Block: "b"},
			"/open/link/file":   {Content: text("somebody's link")},
			"/etc/app/source":   {Source: "not/there"},
			"/etc/app/fine":     {Content: text("fine")},
		})
		r.write("/etc/passwd", "root:x:0:0::/:/bin/sh\n")
		err := r.pass()
		for _, says := range []string{
			"/etc/app/taken", "/etc/nowhere: directory does not exist: list /etc/nowhere: {directory: true} too", `tag "missing" is absent`, "there is no user nobody-at-all", "there is no such file",
			"/open/link is a link in a directory that others than root may write to", "/etc/ecsnode/files/not/there",
		} {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("it does not say %q: %v", says, err)
			}
		}
		r.want(`"fine"`)
		if _, err := os.Stat(filepath.Join(r.root, "elsewhere/file")); err == nil {
			t.Error("a link of anybody's was followed")
		}
	})
}

// cut is a disk on which the power fails after so many changes.
type cut struct {
	fsx.FS
	left *int
}

var errPower = errors.New("the power is gone")

func (c cut) spend() error {
	if *c.left--; *c.left < 0 {
		return errPower
	}
	return nil
}

func (c cut) WriteFile(name string, data []byte, how fsx.How) (bool, error) {
	if err := c.spend(); err != nil {
		return false, err
	}
	return c.FS.WriteFile(name, data, how)
}

func (c cut) MkdirAll(name string, perm fs.FileMode) (bool, error) {
	if err := c.spend(); err != nil {
		return false, err
	}
	return c.FS.MkdirAll(name, perm)
}

func (c cut) Symlink(name, target string) (bool, error) {
	if err := c.spend(); err != nil {
		return false, err
	}
	return c.FS.Symlink(name, target)
}

func (c cut) Remove(name string) (bool, error) {
	if err := c.spend(); err != nil {
		return false, err
	}
	return c.FS.Remove(name)
}

func TestAPowerCutAtAnyStepLeadsToTheSameEnd(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			sets := []map[string]files.File{randomItems(random), randomItems(random), nil}
			before := run(t, []map[string]files.File{nil}, -1)
			// Without a cut, and then cut after each change.
			ends := run(t, sets, -1)
			if last := ends[strings.LastIndex(ends[:len(ends)-1], "\n\n")+2:]; last != before {
				t.Fatalf("after all was taken back:\n%s\nwant:\n%s", last, before)
			}
			for at := 0; ; at++ {
				got, cut := runCut(t, sets, at)
				if got != ends {
					t.Fatalf("cut after %d changes:\n%s\nwant:\n%s", at, got, ends)
				}
				if !cut {
					break
				}
			}
		})
	}
}

func randomItems(random *rand.Rand) map[string]files.File {
	items := map[string]files.File{}
	for i := range 6 {
		name := fmt.Sprintf("/etc/app/%d", i)
		switch random.IntN(7) {
		case 0:
			items[name] = files.File{Absent: true}
		case 1:
			items[name] = files.File{Link: fmt.Sprint("to-", random.IntN(3))}
		case 2:
			items["/etc/app/shared"] = files.File{Content: text(fmt.Sprint(random.IntN(3))), Block: fmt.Sprint("b", i)}
		case 3, 4, 5:
			items[name] = files.File{Content: text(fmt.Sprint("text ", random.IntN(3))), Mode: files.Mode(0o600 + random.IntN(2)*0o40), Restart: []string{"a.service"}}
		}
	}
	return items
}

func run(t *testing.T, sets []map[string]files.File, cutAt int) string {
	end, _ := runCut(t, sets, cutAt)
	return end
}

// runCut applies each set in turn, with the power failing once, and returns what
// came of each.
func runCut(t *testing.T, sets []map[string]files.File, at int) (ends string, wasCut bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.write("/etc/app/0", "before 0\n")
		r.write("/etc/app/1", "before 1\n")
		r.write("/etc/app/shared", "shared\n")
		whole := r.disk
		left := at
		if at >= 0 {
			r.disk = cut{whole, &left}
			r.restart()
		}
		for _, items := range sets {
			r.items(items)
			for range 20 {
				err := r.pass()
				if errors.Is(err, errPower) || left < 0 && at >= 0 && r.disk != whole {
					r.disk, wasCut = whole, true
					r.restart()
					continue
				}
				if err != nil && !strings.Contains(err.Error(), "/etc/app/") {
					t.Fatal(err)
				}
				if !r.out.Changed {
					break
				}
			}
			ends += r.tree() + "\n"
		}
	})
	return ends, wasCut
}

func TestWhatIsWrongWithTheConfigurationIsSaid(t *testing.T) {
	literal := ""
	for name, c := range map[string]struct {
		path string
		file files.File
		want string
	}{
		"two contents":        {"/etc/a", files.File{Content: text("x"), Literal: &literal}, "content and literal cannot both be"},
		"nothing":             {"/etc/a", files.File{Mode: 0o600}, "it is not said what it is"},
		"a relative path":     {"etc/a", files.File{Absent: true}, "expected an absolute path"},
		"a path with dots":    {"/etc/../root/a", files.File{Absent: true}, "expected an absolute path"},
		"our own":             {"/var/lib/ecsnode/x", files.File{Absent: true}, "is not written by files"},
		"ecs.config":          {"/etc/ecs/ecs.config", files.File{Absent: true}, "is not written by files"},
		"/proc":               {"/proc/sys/vm/swappiness", files.File{Literal: &literal}, "is not written by files"},
		"a check of nothing":  {"/etc/a", files.File{Absent: true, Check: []string{"/bin/true"}}, "expected a command"},
		"a check by name":     {"/etc/a", files.File{Literal: &literal, Check: []string{"true"}}, "absolute path"},
		"no unit":             {"/etc/a", files.File{Literal: &literal, Restart: []string{"rsyslog"}}, "no name of a unit"},
		"after nothing":       {"/etc/a", files.File{Literal: &literal, After: []string{"/etc/b"}}, "is no other item"},
		"after itself":        {"/etc/a", files.File{Literal: &literal, After: []string{"/etc/a"}}, "is no other item"},
		"a source above":      {"/etc/a", files.File{Source: "../x"}, "no name below its directory"},
		"a block of nothing":  {"/etc/a", files.File{Link: "x", Block: "b"}, "a block has a text"},
		"a name with a break": {"/etc/a", files.File{Literal: &literal, Block: "a\nb"}, "no name of a block"},
	} {
		t.Run(name, func(t *testing.T) {
			config := files.Default()
			config.Items[c.path] = c.file
			var got []string
			config.Validate(func(path, message string) { got = append(got, path+": "+message) })
			if len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestAnItemOfAnotherKindIsTakenBackFirst(t *testing.T) {
	kinds := map[string]files.File{
		"content": {Content: text("ours")}, "block": {Content: text("ours"), Block: "b"}, "other block": {Content: text("ours"), Block: "c", Comment: ";"},
		"link": {Link: "x"}, "absent": {Absent: true},
	}
	for first, a := range kinds {
		for then, b := range kinds {
			t.Run(first+", then "+then, func(t *testing.T) {
				onNode(t, func(t *testing.T, r *rig) {
					r.write("/etc/app/a", "PRECIOUS\n")
					before := r.tree()
					for _, f := range []files.File{a, b} {
						r.items(map[string]files.File{"/etc/app/a": f})
						r.settle()
						r.restart()
					}
					r.items(nil)
					r.settle()
					if after := r.tree(); after != before {
						t.Errorf("%s", after)
					}
				})
			})
		}
	}
}

func TestWhatIsPutThereWhileAnItemWaitsIsKept(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		answer := facts.Job{State: facts.JobRunning}
		r.systemd.says = func(facts.Command) facts.Job { return answer }
		r.items(map[string]files.File{"/etc/app/a": {Content: text("ours"), Check: []string{"/bin/check", "-f", "{}"}}})
		if err := r.pass(); !errors.Is(err, duty.ErrNotReady) {
			t.Fatal(err)
		}
		r.write("/etc/app/a", "a package's\n")
		answer = facts.Job{State: facts.JobEnded, Result: "success"}
		r.settle()
		r.want(`"ours"`)
		r.items(nil)
		r.settle()
		r.want(`"a package's\n"`)
		if left := len(r.systemd.jobs); left != 0 {
			t.Errorf("%d jobs are left", left)
		}
	})
}

func TestAUnitThatDoesNotComeUpAgainIsTriedUntilItDoes(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.systemd.runs("rsyslog.service")
		time.Sleep(time.Minute)
		r.items(map[string]files.File{"/etc/app/a": {Content: text("1"), Restart: []string{"rsyslog.service"}}})
		r.systemd.err = errors.New("the job ended with failed")
		for range 3 {
			for range 2 { // the second time it is too early, and told all the same
				if err := r.pass(); err == nil || !strings.Contains(err.Error(), "the job ended with failed") {
					t.Errorf("it is not told: %v", err)
				}
			}
			r.systemd.units["rsyslog.service"] = facts.Unit{Load: "loaded", Active: "failed"}
			r.restart()
		}
		r.systemd.err = nil
		time.Sleep(time.Second)
		r.settle()
		if u := r.systemd.units["rsyslog.service"]; !u.Running() || r.systemd.restarts["rsyslog.service"] != 4 {
			t.Errorf("%+v after %d restarts", u, r.systemd.restarts["rsyslog.service"])
		}
	})
}

// A unit of Type=simple is up as soon as its process is there.
func TestAUnitThatGoesDownAfterItsRestartIsStartedAgainLessAndLessOften(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		const unit = "app.service"
		r.systemd.runs(unit)
		time.Sleep(time.Minute)
		r.items(map[string]files.File{"/etc/app/a": {Content: text("1"), Restart: []string{unit}}})
		if err := r.pass(); err != nil || r.out.Again <= 0 || r.out.Again > 10*time.Second {
			t.Fatalf("%v, %+v", err, r.out)
		}
		told := 0
		for range 24 * 60 * 6 { // a pass each 10 s, for a day
			r.systemd.units[unit] = facts.Unit{Load: "loaded", Active: "failed", Result: "exit-code", Started: time.Now()}
			time.Sleep(10 * time.Second)
			if err := r.pass(); err != nil && strings.Contains(err.Error(), "app.service does not stay up with its files (exit-code)") {
				told++
			}
		}
		if n := r.systemd.restarts[unit]; n < 24*60/5 || n > 24*60/5*3/2 || told < 24*60*6-n {
			t.Errorf("%d restarts in a day, told %d times", n, told)
		}
		was := r.systemd.restarts[unit]
		r.items(map[string]files.File{"/etc/app/a": {Content: text("mended"), Restart: []string{unit}}})
		r.settle()
		time.Sleep(time.Minute)
		r.settle()
		if n := r.systemd.restarts[unit]; n != was+1 {
			t.Errorf("%d restarts for another text", n-was)
		}
		r.systemd.units[unit] = facts.Unit{Load: "loaded", Active: "failed"} // for another reason
		r.settle()
		if n := r.systemd.restarts[unit]; n != was+1 {
			t.Error("files started a unit that had run with them")
		}
	})
}

func TestAUnitInACrashLoopIsLeftToSystemdAndTold(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		const unit = "app.service"
		r.systemd.units[unit] = facts.Unit{Load: "loaded", Active: "activating", Sub: "auto-restart", Result: "exit-code", Started: time.Now()}
		time.Sleep(time.Minute)
		r.items(map[string]files.File{"/etc/app/a": {Content: text("1"), Restart: []string{unit}}})
		r.settle()
		if len(r.out.Warnings) != 1 || !strings.Contains(r.out.Warnings[0], "app.service does not stay up (exit-code)") || r.out.Again != 0 || len(r.systemd.restarts) != 0 {
			t.Errorf("%+v, restarts %v", r.out, r.systemd.restarts)
		}
		r.systemd.runs(unit)
		r.settle()
		if len(r.out.Warnings) != 0 || len(r.systemd.restarts) != 0 {
			t.Errorf("%+v, restarts %v", r.out, r.systemd.restarts)
		}
	})
}

func TestWhatCouldNotBePutBackIsNotReplaced(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		for name, mode := range map[string]os.FileMode{"shadow": 0, "setuid": os.ModeSetuid | 0o755} {
			r.write("/etc/app/"+name, "before")
			if err := os.Chmod(filepath.Join(r.root, "etc/app", name), mode); err != nil {
				t.Fatal(err)
			}
		}
		before := r.tree()
		r.items(map[string]files.File{"/etc/app/shadow": {Content: text("x")}, "/etc/app/setuid": {Absent: true}})
		if err := r.pass(); err == nil || strings.Count(err.Error(), "is one that is not given back") != 2 {
			t.Errorf("%v", err)
		}
		if r.tree() != before {
			t.Errorf("%s", r.tree())
		}
	})
}

func TestAnItemComesAfterAPackage(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		text := "*.* @@logs"
		r.write("/etc/app/main.conf", "as it is shipped")
		r.items(map[string]files.File{
			"/etc/app/own.conf":   {Literal: &text, After: []string{"package:rsyslog", "/etc/app/other.conf"}},
			"/etc/app/other.conf": {Literal: &text},
			"/etc/app/main.conf":  {Literal: &text, After: []string{"package:rsyslog"}},
		})
		for _, c := range []struct {
			name   string
			states facts.Packages
			waits  bool
			says   string
			is     error
		}{
			{"nobody has looked", nil, true, "/etc/app/own.conf: it comes after package rsyslog, which is not there yet", nil},
			{"it is pending", facts.Packages{"rsyslog": {}}, true, "/etc/app/own.conf: it comes after package rsyslog, which is not there yet", nil},
			{"it cannot be had", facts.Packages{"rsyslog": {Failed: "dnf: no match"}}, false, "cannot make /etc/app/own.conf: it comes after package rsyslog, which is not there: dnf: no match", nil},
			{"nobody answers for it", facts.Packages{"rsyslog": {Failed: "dnf: no answer", Outside: true}}, false, "which is not there: dnf: no answer", facts.ErrUnavailable},
		} {
			if c.states != nil {
				r.rpms.Set(c.states)
			}
			err := r.pass()
			if err == nil || !strings.Contains(err.Error(), c.says) || errors.Is(err, duty.ErrNotReady) != c.waits || errors.Is(err, facts.ErrUnavailable) != (c.is != nil) {
				t.Errorf("%s: %v", c.name, err)
			}
			if _, err := os.Stat(filepath.Join(r.root, "/etc/app/own.conf")); err == nil {
				t.Errorf("%s: it was made", c.name)
			}
			if _, err := os.Stat(filepath.Join(r.root, "/etc/app/other.conf")); err != nil {
				t.Errorf("%s: another one was not made", c.name)
			}
		}
		r.write("/etc/app/main.conf", "as the package has it")
		r.rpms.Set(facts.Packages{"rsyslog": {Installed: true}})
		r.settle()
		for _, name := range []string{"own", "main"} {
			if got, err := os.ReadFile(filepath.Join(r.root, "/etc/app", name+".conf")); string(got) != text {
				t.Errorf("%s.conf is %q: %v", name, got, err)
			}
		}
		r.items(nil)
		r.settle()
		if got, _ := os.ReadFile(filepath.Join(r.root, "/etc/app/main.conf")); string(got) != "as the package has it" {
			t.Errorf("given back: %q", got)
		}
	})
}

func TestSystemdReadsItsFilesAgainOnceForEachChange(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		if err := os.MkdirAll(filepath.Join(r.root, "/etc/systemd/system/docker.service.d"), 0o755); err != nil {
			t.Fatal(err)
		}
		dropIn := "/etc/systemd/system/docker.service.d/50-own.conf"
		r.items(map[string]files.File{dropIn: {Content: text("[Service]\nLimitNOFILE=1"), Restart: []string{"docker.service"}}, "/etc/app/a": {Content: text("x")}})
		r.systemd.err = errors.New("no answer")
		if err := r.pass(); err == nil {
			t.Error("that systemd did not read them is not told")
		}
		if in, _ := r.inputs.Get(); len(in) > 0 {
			t.Errorf("Docker is to restart with old ones: %v", in)
		}
		r.restart() // it is not forgotten
		r.systemd.err = nil
		r.settle()
		r.settle()
		if in, _ := r.inputs.Get(); r.systemd.read != 1 || len(in["docker.service"]) != 1 {
			t.Errorf("read %d times, %v", r.systemd.read, in)
		}
		r.items(map[string]files.File{"/etc/app/a": {Content: text("y")}})
		r.settle()
		r.settle()
		if r.systemd.read != 2 {
			t.Errorf("read %d times after it was taken back", r.systemd.read)
		}
	})
}
