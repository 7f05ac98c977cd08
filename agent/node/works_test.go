package node

import (
	"errors"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

func TestWhatACheckOfABundleSays(t *testing.T) {
	ok, waits := duty.Record{State: duty.OK}, duty.Record{State: duty.Waiting, Err: "package x is not there yet"}
	fails, outage := duty.Record{State: duty.Failing, Err: "no tag rack"}, duty.Record{State: duty.Failing, Err: "no answer", Outside: true}
	for name, tc := range map[string]struct {
		files, parameters, before duty.Record
		says                      string
		soon                      bool // it is tried again soon
	}{
		"all is well":      {ok, ok, ok, "", false},
		"a file fails":     {fails, ok, ok, "it does not work on this node: files failing: no tag rack", false},
		"it failed before": {fails, ok, fails, "", false},
		"a file comes after a package of its own":  {waits, ok, ok, "", false},
		"a parameter that is of no use to a file":  {ok, outage, ok, "", false},
		"a file waits for a parameter":             {waits, outage, ok, "cannot tell whether it works", true},
		"a file waits for a parameter as before":   {waits, outage, waits, "", false},
		"a parameter that is refused fails a file": {fails, fails, ok, "it does not work", false},
		"a file that somebody else must answer":    {outage, ok, ok, "cannot tell whether it works", true},
	} {
		with := []duty.Record{tc.parameters, tc.files}
		with[0].Name, with[1].Name = parametersName, "files"
		err := works(with, []duty.Record{ok, tc.before})
		if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) || errors.Is(err, facts.ErrUnavailable) != tc.soon {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhoIsToBlame(t *testing.T) {
	out := duty.Record{State: duty.Failing, Outside: true}
	for name, tc := range map[string]struct {
		duty    string
		answers bool // ECS does
		outside bool
	}{
		"a file that Parameter Store has":              {"files", true, true},
		"a Docker that does not answer the guard":      {"guard", true, false},
		"an agent that does not answer":                {"units", true, false},
		"an agent that does not answer, nor does ECS":  {"units", false, true},
		"a Docker that does not answer, nor does ECS":  {"guard", false, false},
		"a repository that a package is in":            {"packages", true, true},
		"a bucket that says whose turn a schedule is ": {"schedules", true, true},
	} {
		r := out
		r.Name = tc.duty
		got := blamable([]duty.Record{r, {Name: "webhook"}}, func() bool { return tc.answers })
		if len(got) != 1 || got[0].Outside != tc.outside {
			t.Errorf("%s: %+v", name, got)
		}
	}
	fine := blamable([]duty.Record{{Name: "units", State: duty.OK}}, func() bool { t.Error("ECS is asked for nothing"); return false })
	if len(fine) != 1 {
		t.Errorf("%+v", fine)
	}
}
