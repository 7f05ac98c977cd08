package migrate

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
)

// seed is a node as a local Ansible run from cron and rc.local leaves it.
var seed = map[string]string{
	"/etc/crontab":                           "SHELL=/bin/bash\n17 * * * * root run-parts /etc/cron.hourly\n",
	"/etc/cron.d/ansible":                    "#Ansible: run the playbook\n*/15 * * * * root ansible-playbook -c local /opt/ansible/ecs.yml\n@reboot root /opt/ansible/run.sh\r\n",
	"/etc/cron.d/backup":                     "0 1 * * * root tar cf /backup/ansible.tar /opt/ansible\n",
	"/etc/cron.d/linked":                     "-> /opt/ansible/crontab",
	"/opt/ansible/crontab":                   "5 * * * * root ansible-pull -U git://x\n",
	"/opt/ansible/run.sh":                    "#!/bin/sh\naws s3 sync s3://playbooks /opt/ansible\nansible-playbook -c local /opt/ansible/ecs.yml\n",
	"/etc/cron.daily/refresh":                "-> /opt/ansible/run.sh",
	"/etc/cron.weekly/play":                  "#!/usr/bin/ansible-playbook\n- hosts: localhost\n",
	"/etc/rc.local":                          "-> rc.d/rc.local",
	"/etc/rc.d/rc.local":                     "#!/bin/bash\ntouch /var/lock/subsys/local\n/opt/ansible/run.sh &\nexit 0",
	"/var/spool/cron/root":                   "#Ansible: prune\n0 3 * * * docker system prune -f\n#Ansible: pull\n*/30 * * * * ansible-pull -U git://x\n",
	"/etc/systemd/system/node-setup.service": "[Service]\nExecStart=-/usr/bin/ansible-playbook \\\n  -c local x.yml\n",
	"/etc/systemd/system/node-setup.timer":   "[Timer]\nOnCalendar=hourly\n[Install]\nWantedBy=timers.target\n",
	"/etc/systemd/system/timers.target.wants/node-setup.timer": "-> /etc/systemd/system/node-setup.timer",
	"/etc/container_config/node.config":                        "# Ansible managed\nMY_ENVIRONMENT=\"prod\"\n",
	"/etc/ecs/ecs.config":                                      "ECS_CLUSTER=web\nECS_LOGLEVEL=warn",
}

// seeded makes such a node, each file with a time, and some with a mode, of its
// own.
func seeded(t testing.TB) *fsx.Disk {
	t.Helper()
	disk := tree(t, seed)
	at := func(name string) string { return filepath.Join(disk.Root(), name) }
	if err := os.Chmod(at("/var/spool/cron/root"), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(at("/var/spool/cron/root"), 7, 9); err != nil {
			t.Fatal(err)
		}
	}
	_ = unix.Setxattr(at("/etc/rc.d/rc.local"), "user.label", []byte("initrc"), 0) // where there are any
	sec := int64(1_500_000_000)
	for _, name := range slices.Sorted(maps.Keys(seed)) {
		sec += 1000
		times := []unix.Timespec{{Sec: sec, Nsec: 5}, {Sec: sec, Nsec: 123456789}}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, at(name), times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			t.Fatal(err)
		}
	}
	return disk
}

func lookAt(t testing.TB, disk Disk) *Report {
	t.Helper()
	r, err := Look(Inputs{
		Disk: disk, Config: "/etc/ecsnode/ecsnode.yaml", Output: "/root/draft.yaml", NodeConfig: "/etc/container_config/node.config",
		ECSConfig: "/etc/ecs/ecs.config", Owner: fsx.Owner{UID: os.Geteuid(), GID: os.Getegid()},
		Facts: render.Inputs{Instance: facts.Instance{ID: "i-1", Region: "eu-west-1", Tags: facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{"env": "prod", "cluster": "web"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// bytesOf is all of a node, as far as an undo promises it: what is there, content,
// mode, owner and time. What ecsnode keeps is left out, and so are the times of
// directories, by which cron notices.
func bytesOf(t testing.TB, disk *fsx.Disk) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(disk.Root(), func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(at, disk.Root()), "/")
		if name == "/var/lib" {
			return fs.SkipDir
		}
		if d.IsDir() {
			info, err := d.Info()
			fmt.Fprintf(&b, "%s %v\n", name, info.Mode())
			return err
		}
		e, err := disk.Capture(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v %v %d %q %q %q\n", name, e.Mode, e.Owner, e.ModTime.UnixNano(), e.Target, e.Extra, e.Data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// timers is a service manager.
type timers struct{ active map[string]bool }

func (t *timers) Unit(_ context.Context, name string) (facts.Unit, error) {
	return facts.Unit{Name: name, Active: map[bool]string{true: "active", false: "inactive"}[t.active[name]]}, nil
}

func (t *timers) ReloadUnits(context.Context) error         { return nil }
func (t *timers) Stop(_ context.Context, name string) error { t.active[name] = false; return nil }

func (t *timers) Start(_ context.Context, name string) error { t.active[name] = true; return nil }

func newTimers() *timers { return &timers{map[string]bool{"node-setup.timer": true}} }

func TestASeededNodeIsFoundOut(t *testing.T) {
	t.Parallel()
	r := lookAt(t, seeded(t))
	var got []string
	for _, e := range r.Runs {
		got = append(got, e.place()+" | "+e.When+" | "+e.Via+" | "+e.Cannot)
	}
	want := []string{
		"/etc/systemd/system/timers.target.wants/node-setup.timer | hourly | node-setup.service | ",
		"/etc/cron.d/ansible:2 | */15 * * * * |  | ",
		"/etc/cron.d/ansible:3 | @reboot | /opt/ansible/run.sh | ",
		"/etc/cron.d/linked:1 | 5 * * * * |  | ",
		"/var/spool/cron/root:4 | */30 * * * * |  | ",
		"/etc/rc.d/rc.local:3 | at boot | /opt/ansible/run.sh | ",
		"/etc/cron.daily/refresh | @daily | /opt/ansible/run.sh | ",
		"/etc/cron.weekly/play | @weekly |  | ",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if len(r.Mentions) != 1 || r.Mentions[0].File != "/etc/cron.d/backup" {
		t.Errorf("speaks of it: %+v", r.Mentions)
	}
	if len(r.Jobs) != 1 || r.Jobs[0].Name != "prune" {
		t.Errorf("other jobs: %+v", r.Jobs)
	}
	if len(r.Refusals) > 0 || r.Standing != nil {
		t.Errorf("%v, %v", r.Refusals, r.Standing)
	}
}

func TestAfterTheCutOverNothingRunsAnsibleAndTheUndoGivesAllBack(t *testing.T) {
	t.Parallel()
	disk, units := seeded(t), newTimers()
	was := bytesOf(t, disk)
	names, err := lookAt(t, disk).CutOver(t.Context(), units)
	if err != nil || len(names) != 9 { // and two that are made
		t.Fatalf("%q, %v", names, err)
	}
	r := lookAt(t, disk)
	if len(r.Runs) > 0 || r.Standing == nil || !r.Standing.Done() || units.active["node-setup.timer"] {
		t.Errorf("after the cut-over: %+v, %+v, %v", r.Runs, r.Standing, units.active)
	}
	if names, err := r.CutOver(t.Context(), units); err != nil || len(names) > 0 {
		t.Errorf("a second cut-over: %q, %v", names, err)
	}
	asEcsnode(t, disk)
	u, err := Undo(t.Context(), disk, units, false)
	if err != nil || len(u.Names) != 11 || len(u.Aside) > 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if is := bytesOf(t, disk); is != was {
		t.Errorf("was\n%sis\n%s", was, is)
	}
	if !units.active["node-setup.timer"] {
		t.Error("the timer is off")
	}
	if _, err := disk.Stat(Dir); err == nil {
		t.Errorf("%s is left", Dir)
	}
	if u, err := Undo(t.Context(), disk, units, false); err != nil || !u.None {
		t.Errorf("a second undo: %+v, %v", u, err)
	}
}

// asEcsnode writes what ecsnode writes.
func asEcsnode(t testing.TB, disk *fsx.Disk) {
	t.Helper()
	for name, text := range map[string]string{
		"/etc/container_config/node.config": "NODE_CONFIG_VERSION='1'\nMY_ENVIRONMENT='prod'\n",
		"/etc/ecs/ecs.config":               "ECS_CLUSTER=web\nECS_LOGLEVEL=warn\n# BEGIN ecsnode: x\n# The line break before this block is ecsnode's too.\nECS_CLUSTER=web\n# END ecsnode\n",
	} {
		if _, err := disk.WriteFile(name, []byte(text), fsx.How{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatOthersChangedIsNotUndone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]struct{ file, text string }{
		"a table of cron":   {"/etc/cron.d/ansible", "* * * * * root true\n"},
		"the configuration": {"/etc/ecsnode/ecsnode.yaml", "cluster: other\n"},
		"node.config":       {"/etc/container_config/node.config", "MY_ENVIRONMENT=mine\n"},
		"ecs.config":        {"/etc/ecs/ecs.config", "ECS_CLUSTER=other\n"},
		"a link is new":     {"/etc/cron.daily/refresh", "#!/bin/sh\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := seeded(t)
			was := bytesOf(t, disk)
			if _, err := lookAt(t, disk).CutOver(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			asEcsnode(t, disk)
			if _, err := disk.Remove(change.file); err != nil {
				t.Fatal(err)
			}
			if _, err := disk.WriteFile(change.file, []byte(change.text), fsx.How{}); err != nil {
				t.Fatal(err)
			}
			is := bytesOf(t, disk)
			u, err := Undo(t.Context(), disk, nil, false)
			if err == nil || !strings.Contains(err.Error(), change.file+" was changed since by others") || len(u.Names) > 0 {
				t.Fatalf("%+v, %v", u, err)
			}
			if bytesOf(t, disk) != is {
				t.Error("a refused undo changed something")
			}
			u, err = Undo(t.Context(), disk, nil, true)
			if err != nil || len(u.Aside) != 1 {
				t.Fatalf("by force: %+v, %v", u, err)
			}
			if data, err := disk.ReadFile(u.Aside[0]); err != nil || string(data) != change.text {
				t.Errorf("aside: %q, %v", data, err)
			}
			if bytesOf(t, disk) != was {
				t.Error("not all is given back")
			}
		})
	}
}

// mortal is a disk whose process is killed at a step: before it, or after it.
type mortal struct {
	*fsx.Disk
	left  int // steps to live
	after bool
	dead  bool
}

var errKilled = fmt.Errorf("killed")

func (m *mortal) step(do func() error) error {
	if m.dead {
		return errKilled
	}
	m.left--
	if m.left >= 0 {
		return do()
	}
	m.dead = true
	if m.after {
		_ = do()
	}
	return errKilled
}

func (m *mortal) WriteFile(name string, data []byte, how fsx.How) (changed bool, err error) {
	err = m.step(func() error { changed, err = m.Disk.WriteFile(name, data, how); return err })
	return changed, err
}

func (m *mortal) MkdirAll(name string, perm fs.FileMode) (changed bool, err error) {
	err = m.step(func() error { changed, err = m.Disk.MkdirAll(name, perm); return err })
	return changed, err
}

func (m *mortal) Remove(name string) (changed bool, err error) {
	err = m.step(func() error { changed, err = m.Disk.Remove(name); return err })
	return changed, err
}

func (m *mortal) Place(name string, e fsx.Exact) error {
	return m.step(func() error { return m.Disk.Place(name, e) })
}

// each kills work at every step, and calls then with the disk as it was left.
func each(t *testing.T, prepare func(*fsx.Disk), work func(Disk) error, then func(t *testing.T, disk *fsx.Disk)) {
	t.Helper()
	for step := 0; ; step++ {
		survived := false
		for _, after := range []bool{false, true} {
			disk := seeded(t)
			prepare(disk)
			m := &mortal{Disk: disk, left: step, after: after}
			err := work(m)
			survived = survived || !m.dead
			if m.dead == (err == nil) {
				t.Fatalf("step %d: dead %v, %v", step, m.dead, err)
			}
			t.Run(fmt.Sprintf("killed at step %d, after it: %v", step, after), func(t *testing.T) { then(t, disk) })
		}
		if survived {
			if step < 10 {
				t.Errorf("there were %d steps only", step)
			}
			return
		}
	}
}

func TestACutOverThatIsKilledGoesOnOrBack(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	was, whole := "", ""
	{
		disk := seeded(t)
		was = bytesOf(t, disk)
		if _, err := lookAt(t, disk).CutOver(ctx, nil); err != nil {
			t.Fatal(err)
		}
		whole = withoutTimes(bytesOf(t, disk))
	}
	cut := func(disk Disk) error {
		_, err := lookAt(t, disk).CutOver(ctx, nil)
		return err
	}
	t.Run("back", func(t *testing.T) {
		t.Parallel()
		each(t, func(*fsx.Disk) {}, cut, func(t *testing.T, disk *fsx.Disk) {
			if _, err := Undo(ctx, disk, nil, false); err != nil {
				t.Fatal(err)
			}
			if is := bytesOf(t, disk); is != was {
				t.Errorf("undone, it is\n%s", is)
			}
		})
	})
	t.Run("on", func(t *testing.T) {
		t.Parallel()
		each(t, func(*fsx.Disk) {}, cut, func(t *testing.T, disk *fsx.Disk) {
			if j, err := Standing(disk); err != nil {
				t.Fatal(err)
			} else if j != nil && !j.Done() {
				if _, err := Resume(ctx, disk, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := cut(disk); err != nil {
				t.Fatal(err)
			}
			if is := withoutTimes(bytesOf(t, disk)); is != whole {
				t.Errorf("gone on with, it is\n%s", is)
			}
			if _, err := Undo(ctx, disk, nil, false); err != nil {
				t.Fatal(err)
			}
			if is := bytesOf(t, disk); is != was {
				t.Errorf("undone, it is\n%s", is)
			}
		})
	})
	t.Run("the undo itself", func(t *testing.T) {
		t.Parallel()
		each(t, func(disk *fsx.Disk) {
			if err := cut(disk); err != nil {
				t.Fatal(err)
			}
			asEcsnode(t, disk)
		}, func(disk Disk) error {
			_, err := Undo(ctx, disk, nil, false)
			return err
		}, func(t *testing.T, disk *fsx.Disk) {
			if _, err := Undo(ctx, disk, nil, false); err != nil {
				t.Fatal(err)
			}
			if is := bytesOf(t, disk); is != was {
				t.Errorf("undone twice, it is\n%s", is)
			}
		})
	})
}

// withoutTimes leaves out when files were written.
func withoutTimes(all string) string {
	var b strings.Builder
	for line := range strings.Lines(all) {
		f := strings.Split(line, " ")
		for i, word := range f {
			if len(word) == 19 && strings.Trim(word, "0123456789") == "" {
				f[i] = "TIME"
			}
		}
		b.WriteString(strings.Join(f, " "))
	}
	return b.String()
}

func TestATimeIsAsItWas(t *testing.T) {
	t.Parallel()
	disk := seeded(t)
	e, err := disk.Capture("/etc/cron.d/ansible")
	if err != nil || e.ModTime.Nanosecond() != 123456789 || time.Since(e.ModTime) < time.Hour {
		t.Errorf("the seed has no times of its own: %v, %v", e, err)
	}
}

func TestWhatComesAfterACutOverIsCutTooAndGivenBack(t *testing.T) {
	t.Parallel()
	disk := seeded(t)
	if _, err := lookAt(t, disk).CutOver(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	const text = "* * * * * root ansible-pull -U git://late\n"
	if _, err := disk.WriteFile("/etc/cron.d/late", []byte(text), fsx.How{}); err != nil {
		t.Fatal(err)
	}
	names, err := lookAt(t, disk).CutOver(t.Context(), nil)
	if err != nil || !slices.Equal(names, []string{"/etc/cron.d/late"}) {
		t.Fatalf("%q, %v", names, err)
	}
	if _, err := disk.WriteFile("/etc/cron.d/ansible", []byte(text), fsx.How{}); err != nil {
		t.Fatal(err)
	}
	if _, err := lookAt(t, disk).CutOver(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "/etc/cron.d/ansible was changed since by others") {
		t.Errorf("a file that was cut before: %v", err)
	}
	if _, err := Undo(t.Context(), disk, nil, true); err != nil {
		t.Fatal(err)
	}
	if data, err := disk.ReadFile("/etc/cron.d/late"); err != nil || string(data) != text {
		t.Errorf("%q, %v", data, err)
	}
}

func TestWhatRunsAnsibleNow(t *testing.T) {
	t.Parallel()
	disk := tree(t, map[string]string{
		"/proc/1/cmdline":    "/sbin/init\x00",
		"/proc/20/cmdline":   "/usr/bin/python3\x00/usr/bin/ansible-playbook\x00-e\x00token=hunter2\x00x.yml\x00",
		"/proc/21/cmdline":   "vim\x00/etc/ansible\x00",
		"/proc/22/cmdline":   "ecsnode\x00migrate\x00",
		"/proc/self/cmdline": "ansible-playbook\x00",
	})
	if got := Running(disk); !slices.Equal(got, []string{"pid 20: /usr/bin/ansible-playbook -e token=(hidden) x.yml"}) {
		t.Errorf("%q", got)
	}
	r := lookAt(t, disk)
	r.Compare(Trial{})
	if len(r.Refusals) != 1 || !strings.Contains(r.Refusals[0], "ansible runs now (pid 20") {
		t.Errorf("%q", r.Refusals)
	}
}
