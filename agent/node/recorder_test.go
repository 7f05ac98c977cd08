package node

import (
	"slices"
	"testing"

	"github.com/ecsnode/ecsnode/agent/facts"
)

func TestADryRunSaysWhatAJobDoes(t *testing.T) {
	r := &recorder{}
	for _, c := range []facts.Command{
		{Argv: []string{"/usr/bin/dnf", "install", "rsyslog"}, Does: []string{"remove telnet", "install rsyslog"}},
		{Argv: []string{"/usr/sbin/mkfs.xfs", "/dev/xvdcz"}},
	} {
		if err := r.RunJob(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"remove telnet", "install rsyslog", "run /usr/sbin/mkfs.xfs /dev/xvdcz"}; !slices.Equal(r.calls, want) {
		t.Errorf("%q", r.calls)
	}
}
