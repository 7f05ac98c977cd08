package systemd_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// What a job writes that is kept goes through this program, which has its share
// of the time and of the memory.
func TestAJobWhoseOutputIsKeptIsRunByThisProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct {
		cmd  facts.Command
		argv string // after "job --output LOG"
	}{
		"on the host":    {facts.Command{Argv: []string{"/bin/echo", "$HOME", "--grace"}}, "--grace 10s -- /bin/echo $$HOME --grace"},
		"in a container": {facts.Command{Argv: []string{"rake", "tidy"}, Container: "4f2a"}, "--grace 10s --container 4f2a -- rake tidy"},
	} {
		t.Run(what, func(t *testing.T) {
			n := start(t)
			tc.cmd.Name, tc.cmd.Kept, tc.cmd.Grace, tc.cmd.MemoryMax = "packages", true, 10*time.Second, 64<<20
			if err := n.RunJob(n.ctx, tc.cmd); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			n.with(func() {
				for _, p := range n.transient[jobUnit] {
					got[p.Name] = fmt.Sprint(p.Value.Value())
				}
			})
			want := fmt.Sprintf("[[%s [%s job --output %s %s] false]]", self, self, n.log("packages"), tc.argv)
			if got["ExecStart"] != want {
				t.Errorf("%s, want %s", got["ExecStart"], want)
			}
			if got["TimeoutStopUSec"] != "15000000" || got["MemoryMax"] != fmt.Sprint(80<<20) {
				t.Errorf("%q", got)
			}
			if _, is := got["StandardOutputFileToAppend"]; is {
				t.Error("systemd writes a file without bound")
			}
			if strings.Contains(strings.Join(tc.cmd.Argv, " "), "$$") {
				t.Errorf("the caller's command is now %q", tc.cmd.Argv)
			}
		})
	}
}

// A job that is kept is one run: if the answer to its start was lost, asking again
// finds it, running or ended, with what it wrote.
func TestAJobThatIsKeptIsStartedOnce(t *testing.T) {
	n := start(t)
	cmd := facts.Command{Name: "packages", Argv: []string{"/bin/true"}, Kept: true}
	if err := n.RunJob(n.ctx, cmd); err != nil {
		t.Fatal(err)
	}
	job := n.told("StartTransientUnit", jobUnit, "fail")
	again := func(when string) {
		t.Helper()
		if err := n.RunJob(n.ctx, cmd); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		n.untold()
	}
	again("while it starts")
	n.end(job, "done", props{"ActiveState": "active", "SubState": "running"})
	again("while it runs")
	n.write("packages", []byte("what it wrote\n"))
	n.set(jobUnit, props{
		"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "ExecMainStatus": int32(3),
		"ExecMainStartTimestamp": micro(started), "ExecMainExitTimestamp": micro(later),
	})
	again("once it has ended")
	if j, err := n.Job(n.ctx, "packages"); err != nil || j.ExitStatus != 3 || j.Output != "what it wrote\n" {
		t.Errorf("%+v, %v", j, err)
	}
	// One that is about to start is not told from one that is not there.
	n.with(func() {
		delete(n.units, jobUnit)
		n.at["StartTransientUnit"] = managerName + ".UnitExists"
	})
	if err := n.RunJob(n.ctx, cmd); err != nil {
		t.Error(err)
	}
}

func TestAJobIsToldToEndAndNotWaitedFor(t *testing.T) {
	n := start(t)
	if err := n.EndJob(n.ctx, "packages"); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
	n.told("StopUnit", jobUnit, "replace")
	n.set(jobUnit, props{"ActiveState": "active", "SubState": "running"})
	if err := n.EndJob(n.ctx, "packages"); err != nil {
		t.Fatal(err)
	}
	n.told("StopUnit", jobUnit, "replace")
	n.with(func() { n.at["StopUnit"] = "org.freedesktop.DBus.Error.AccessDenied" })
	if err := n.EndJob(n.ctx, "packages"); !errors.Is(err, facts.ErrRefused) || !strings.HasPrefix(err.Error(), "cannot end job packages: ") {
		t.Errorf("%v", err)
	}
}
