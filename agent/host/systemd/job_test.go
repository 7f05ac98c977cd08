package systemd

import (
	"reflect"
	"testing"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// systemd 252 writes an ExecStartEx into the unit's file and refuses the file
// when it reloads: the job that runs would be lost.
func TestTheCommandOfAJobSurvivesAReloadAndKeepsItsDollars(t *testing.T) {
	argv := []string{"/bin/sh", "-c", "echo $HOME 5$"}
	for _, p := range jobProperties(facts.Command{Name: "x", Argv: argv}, "/run/x.log") {
		switch p.Name {
		case "ExecStartEx":
			t.Error("ExecStartEx is set")
		case "ExecStart":
			exec := reflect.ValueOf(p.Value.Value()).Index(0)
			want := []string{"/bin/sh", "-c", "echo $$HOME 5$$"}
			if exec.Field(0).String() != "/bin/sh" || !reflect.DeepEqual(exec.Field(1).Interface(), want) {
				t.Errorf("ExecStart = %v", p.Value)
			}
			argv = nil
		}
	}
	if argv != nil {
		t.Error("there is no ExecStart")
	}
}
