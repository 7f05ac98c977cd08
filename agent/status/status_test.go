package status_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
)

var update = flag.Bool("update", false, "rewrite golden files")

var now = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// well is a node with nothing wrong.
func well() *status.Document {
	record := func(name, summary string, next time.Duration) duty.Record {
		return duty.Record{
			Name: name, State: duty.OK, Since: ago(76 * time.Hour), Summary: summary, Passes: 9,
			Started: ago(20 * time.Second), LastPass: ago(20 * time.Second), LastOK: ago(20 * time.Second), Next: now.Add(next), Took: 3217 * time.Microsecond,
		}
	}
	return &status.Document{
		Version: status.Version, Writer: "run", WrittenAt: ago(2 * time.Second), StartedAt: ago(76 * time.Hour), PID: 812, Agent: "1.2.3",
		Node: status.Node{
			Instance:          facts.Instance{ID: "i-0123456789abcdef0", Type: "m6i.large", Region: "eu-west-1", Zone: "eu-west-1a", Lifecycle: facts.Spot},
			Cluster:           "web",
			ContainerInstance: facts.ContainerInstance{ARN: "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/0123456789abcdef0123456789abcdef", Cluster: "web", AgentVersion: "1.108.2"},
			IdentityAt:        ago(76 * time.Hour),
		},
		Duties: []duty.Record{
			record("config", "/etc/ecsnode/ecsnode.yaml", 10*time.Second),
			record("instance", "12 tags from imds", 40*time.Second),
			record("ecsconfig", "cluster web, 6 settings", 40*time.Second),
			record("nodeconfig", "node.config: 14 variables", 40*time.Second),
		},
	}
}

func TestText(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*status.Document)
		style   status.Style
		verdict status.Verdict
	}{
		"all well":  {func(*status.Document) {}, status.Style{}, status.Well},
		"in colour": {func(*status.Document) {}, status.Style{Color: true, Width: 100}, status.Well},
		"failing on a narrow terminal": {func(d *status.Document) {
			r := &d.Duties[2]
			r.State, r.Since, r.LastOK, r.Failures = duty.Failing, ago(4*time.Minute), ago(5*time.Minute), 7
			r.Err = "cannot write /etc/ecs/ecs.config: no space left on device. The old file is whole; the next pass tries again"
			d.Duties[3].Warnings = []string{"2 tags have no variable: their names collide"}
		}, status.Style{Width: 72}, status.Failing},
		"waiting before anything is known": {func(d *status.Document) {
			d.Node = status.Node{}
			for i := range d.Duties {
				d.Duties[i] = duty.Record{Name: d.Duties[i].Name, State: duty.Starting, Since: ago(time.Second)}
			}
			d.Duties[3].State, d.Duties[3].Err = duty.Waiting, `tag "env" is not known (tags have not been read yet)`
		}, status.Style{}, status.Well},
		"hostile text": {func(d *status.Document) {
			d.Duties[3].State, d.Duties[3].Err = duty.Failing, "the value \x1b[2J\x1b]0;owned\a of\r\nthe tag"
			d.Duties[1].Summary = "\x1b[31mred\nand more"
			d.Hold = &status.Hold{What: []string{"all"}, By: "operator", Why: "\u009b1m"}
		}, status.Style{}, status.Failing},
		"written in the future": {func(d *status.Document) { d.WrittenAt = now.Add(time.Hour) }, status.Style{}, status.Gone},
		"held": {func(d *status.Document) {
			d.Hold = &status.Hold{What: []string{"all"}, By: "operator", Why: "disk swap, alice", Since: ago(10 * time.Minute), Until: now.Add(110 * time.Minute)}
			d.Duties[2].State, d.Duties[2].Summary = duty.Held, "held by the operator: disk swap, alice"
		}, status.Style{}, status.Well},
		"schedules": {func(d *status.Document) {
			every := func(name string) facts.Schedule {
				return facts.Schedule{Name: name, When: "0 * * * * in UTC", Does: "tidy", Once: "node", State: facts.ScheduleIdle, Next: now.Add(time.Hour)}
			}
			well, ill, other, lost, runs := every("well"), every("ill"), every("elsewhere"), every("left-out"), every("runs")
			well.Last = &facts.ScheduleRun{Tick: ago(time.Hour), Started: ago(time.Hour), Ended: ago(time.Hour - 90*time.Second), Result: "success", Output: "1\n2\n3\n4\n"}
			ill.Last = &facts.ScheduleRun{Tick: ago(time.Hour), ByHand: true, Started: ago(time.Hour), Ended: ago(time.Hour), Result: "exit status 3", Failed: true, Output: "\x1b[2Jno"}
			other.Once, other.Elsewhere, other.ElsewhereBy = "cluster", ago(time.Hour), "i-00000000000000001"
			lost.LeftOut, lost.LeftOutWhy, lost.LeftOutN, lost.LeftOutMore = ago(time.Hour), "the node was off", 3, true
			lost.State, lost.Next = facts.SchedulePaused, time.Time{}
			runs.State, runs.Reason, runs.Queued = facts.ScheduleRunning, "timed out", now
			runs.Running = &facts.ScheduleRun{Tick: ago(time.Hour), Started: ago(time.Hour)}
			d.Schedules = []facts.Schedule{other, ill, lost, runs, well}
		}, status.Style{Width: 100}, status.Well},
		"dead":    {func(d *status.Document) { d.PID = 1 << 30; d.WrittenAt = ago(3 * time.Hour) }, status.Style{}, status.Gone},
		"silent":  {func(d *status.Document) { d.WrittenAt = ago(time.Minute) }, status.Style{}, status.Gone},
		"stopped": {func(d *status.Document) { d.StoppedAt = ago(50 * time.Hour) }, status.Style{}, status.Gone},
		"stuck, with lost events, under a scratch root": {func(d *status.Document) {
			d.Off = []string{"Docker, D-Bus, dnf, iptables and hooks are off: --root is /tmp/demo"}
			d.Node.ContainerInstance = facts.ContainerInstance{}
			d.Duties[1].State, d.Duties[1].Running, d.Duties[1].Err = duty.Stuck, true, "the pass that began 02:59:00 ignores its time-out of 20s"
			d.Duties[0].StreamError = "cannot watch /etc/ecsnode: too many open files"
		}, status.Style{}, status.Failing},
	} {
		t.Run(name, func(t *testing.T) {
			d := well()
			c.change(d)
			verdict, gone := d.Judge(now, func(pid int) bool { return pid < 1<<30 })
			if verdict != c.verdict {
				t.Errorf("verdict = %v (%s), want %v", verdict, gone, c.verdict)
			}
			var b strings.Builder
			d.Text(&b, now, verdict, gone, c.style)
			golden(t, strings.ReplaceAll(name, " ", "-")+".txt", b.String())
			if c.style.Color == strings.Contains(b.String(), "\x1b") {
				return
			}
			t.Errorf("colours: %q", b.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(name, ",", ""))
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s (%v):\n%s\nwant:\n%s", path, err, got, want)
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 90 * time.Second: "90s", 119 * time.Minute: "119m",
		47 * time.Hour: "47h", 50 * time.Hour: "2d 2h", 48 * time.Hour: "2d", 400 * 24 * time.Hour: "400d",
	} {
		if got := status.Age(d); got != want {
			t.Errorf("Age(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestBoard(t *testing.T) {
	files, err := fsx.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := status.NewBoard(files, status.Path, func() status.Document { return status.Document{Writer: "run", PID: os.Getpid()} }, table("a", "b"))
	woken := make(chan struct{}, 1)
	defer b.Wake(woken)()
	for _, step := range []struct {
		name string
		rec  duty.Record
		edge bool
	}{
		{"a pass begins", duty.Record{Name: "a", State: duty.Starting, Running: true}, false},
		{"it ends well", duty.Record{Name: "a", State: duty.OK, Summary: "fine"}, true},
		{"so does the next", duty.Record{Name: "a", State: duty.OK, Summary: "fine", Passes: 2}, false},
		{"it changes the node", duty.Record{Name: "a", State: duty.OK, Summary: "fine", LastChange: now}, true},
		{"it warns", duty.Record{Name: "a", State: duty.OK, Summary: "fine", LastChange: now, Warnings: []string{"x"}}, true},
		{"a duty that is not in the table", duty.Record{Name: "status", State: duty.OK}, false},
	} {
		b.Report(step.rec)
		if got := len(woken) == 1; got != step.edge {
			t.Errorf("%s: woken %v", step.name, got)
		}
		if len(woken) == 1 {
			<-woken
		}
	}
	if _, err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	d, err := status.Load(files, status.Path)
	if err != nil || len(d.Duties) != 2 || d.Duties[0].Warnings[0] != "x" || d.Duties[1].State != duty.Starting || d.Version != status.Version {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestABoardThatAttendsIsWokenByEveryPass(t *testing.T) {
	b := status.NewBoard(nil, "", nil, table("a"))
	woken := make(chan struct{}, 1)
	defer b.Wake(woken)()
	b.Report(duty.Record{Name: "a", State: duty.OK})
	<-woken
	b.Attend(true)
	b.Report(duty.Record{Name: "a", State: duty.OK, Running: true})
	b.Report(duty.Record{Name: "a", State: duty.OK})
	if len(woken) != 1 {
		t.Error("not woken")
	}
}

func TestLoad(t *testing.T) {
	for name, c := range map[string]struct{ content, err string }{
		"torn":          {`{"version": 1, "dut`, "cannot read the status in /run/ecsnode/status.json: unexpected end of JSON input"},
		"other version": {`{"version": 2}`, "cannot read the status in /run/ecsnode/status.json: it has version 2, this program reads 1"},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := fsx.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := status.Load(files, status.Path); !errors.Is(err, status.ErrNone) {
				t.Errorf("nothing written: %v", err)
			}
			if _, err := files.MkdirAll(status.Dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if _, err := files.WriteFile(status.Path, []byte(c.content), fsx.How{}); err != nil {
				t.Fatal(err)
			}
			if _, err := status.Load(files, status.Path); err == nil || err.Error() != c.err {
				t.Errorf("err = %v", err)
			}
		})
	}
}

type named string

func (n named) Name() string                                  { return string(n) }
func (named) Reconcile(context.Context) (duty.Outcome, error) { return duty.Outcome{}, nil }

func table(names ...string) (entries []duty.Entry) {
	for _, n := range names {
		entries = append(entries, duty.Entry{Duty: named(n), Identity: n == "a"})
	}
	return entries
}

// Until its first pass a duty must count as one that has not succeeded.
func TestABoardKnowsIdentityDutiesBeforeTheirFirstPass(t *testing.T) {
	r := status.NewBoard(nil, "", nil, table("a", "b")).Records()
	if !r[0].Identity || r[1].Identity || r[0].State != duty.Starting {
		t.Errorf("%+v", r)
	}
}
