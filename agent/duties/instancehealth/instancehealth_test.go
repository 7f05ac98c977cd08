package instancehealth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/instancehealth"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// group is an Auto Scaling group that counts what it is told.
type group struct {
	unhealthy map[string]int // by instance
	err       error
}

func (g *group) ReportUnhealthy(_ context.Context, region, id string) error {
	if g.err != nil {
		return g.err
	}
	g.unhealthy[region+"/"+id]++
	return nil
}

type rig struct {
	files    *fsx.Disk
	booted   time.Time
	group    group
	after    *cell.Cell[time.Duration]
	identity *cell.Cell[time.Time]
	instance *cell.Cell[facts.Instance]
	duty     *instancehealth.Duty
}

// pass makes a pass on a node that has been up since booted.
func (r *rig) pass(t *testing.T) error {
	t.Helper()
	up := fmt.Sprintf("%.2f 1.00\n", time.Since(r.booted).Seconds())
	if _, err := r.files.WriteFile("/proc/uptime", []byte(up), fsx.How{}); err != nil {
		t.Fatal(err)
	}
	_, err := r.duty.Reconcile(t.Context())
	return err
}

func inNode(t *testing.T, after time.Duration, f func(t *testing.T, r *rig)) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		files, err := fsx.Open(root)
		if err == nil {
			_, err = files.MkdirAll("/proc", 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{
			files: files, booted: time.Now(), group: group{unhealthy: map[string]int{}},
			after: cell.Comparable[time.Duration](), identity: cell.New(time.Time.Equal), instance: cell.New(facts.Instance.Equal),
		}
		r.after.Set(after)
		r.instance.Set(facts.Instance{ID: "i-1", Region: "eu-west-1"})
		r.duty = &instancehealth.Duty{FS: files, After: r.after, Instance: r.instance, Identity: r.identity, AutoScaling: &r.group}
		f(t, r)
	})
}

func TestANodeWithoutIdentityIsReportedOnce(t *testing.T) {
	inNode(t, 30*time.Minute, func(t *testing.T, r *rig) {
		for range 29 {
			time.Sleep(time.Minute)
			if err := r.pass(t); err != nil {
				t.Fatal(err)
			}
		}
		if len(r.group.unhealthy) > 0 {
			t.Fatalf("reported early: %v", r.group.unhealthy)
		}
		time.Sleep(time.Minute)
		for range 3 {
			if err := r.pass(t); err == nil || !strings.Contains(err.Error(), "reported unhealthy to Auto Scaling at 00:30Z") {
				t.Error(err)
			}
			time.Sleep(time.Minute)
		}
		if r.group.unhealthy["eu-west-1/i-1"] != 1 {
			t.Errorf("reported %v", r.group.unhealthy)
		}
		time.Sleep(15 * time.Minute)
		_ = r.pass(t)
		if r.group.unhealthy["eu-west-1/i-1"] != 2 {
			t.Errorf("reported %v", r.group.unhealthy)
		}
	})
}

func TestANodeIsNotReported(t *testing.T) {
	for name, c := range map[string]struct {
		after   time.Duration
		arrange func(r *rig)
	}{
		"that has its identity":     {time.Minute, func(r *rig) { r.identity.Set(time.Now()) }},
		"that may wait for ever":    {0, func(*rig) {}},
		"that the operator lets be": {time.Minute, func(r *rig) { r.after.Set(0) }},
	} {
		t.Run(name, func(t *testing.T) {
			inNode(t, c.after, func(t *testing.T, r *rig) {
				c.arrange(r)
				time.Sleep(time.Hour)
				if err := r.pass(t); err != nil || len(r.group.unhealthy) > 0 {
					t.Errorf("%v, reported %v", err, r.group.unhealthy)
				}
			})
		})
	}
}

func TestAReportThatIsRefusedIsMadeAgain(t *testing.T) {
	inNode(t, time.Minute, func(t *testing.T, r *rig) {
		time.Sleep(time.Hour)
		r.group.err = fmt.Errorf("no permission: %w", facts.ErrRefused)
		if err := r.pass(t); !errors.Is(err, facts.ErrRefused) {
			t.Error(err)
		}
		r.group.err = nil
		if err := r.pass(t); err == nil || r.group.unhealthy["eu-west-1/i-1"] != 1 {
			t.Errorf("%v, reported %v", err, r.group.unhealthy)
		}
	})
}
