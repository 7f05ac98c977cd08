package migrate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

// places are where ansible is run, with the command and what goes with it.
func places(r *Report) string {
	var all []string
	for _, e := range r.Runs {
		all = append(all, strings.TrimRight(e.place()+" "+e.Via+" "+strings.Join(e.Along, " ")+" "+e.Cannot, " "))
	}
	return strings.Join(all, "\n")
}

func TestTablesAndScriptsAsTheyAreFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		runs  string
	}{
		"variables of a table": {
			map[string]string{
				"/etc/cron.d/a":    "PLAY='ansible-playbook -c local'\nPATH=/opt/bin:/usr/bin\n0 * * * * root $PLAY x.yml\n5 * * * * root refresh\n",
				"/opt/bin/refresh": "#!/bin/sh\nexec ansible-pull -U y\n",
			},
			"/etc/cron.d/a:3\n/etc/cron.d/a:4 /opt/bin/refresh",
		},
		"a variable below its job": {map[string]string{"/etc/cron.d/a": "0 * * * * root $PLAY x.yml\nPLAY=ansible-playbook\n"}, ""},
		"wrappers of wrappers": {
			map[string]string{
				"/etc/cron.d/a": "@reboot root flock -n /run/l nice /opt/outer.sh\n",
				"/opt/outer.sh": "#!/bin/bash\n. /opt/env\n\"$HERE\"/inner.sh \"$@\" 2>&1 | logger\n", "/opt/env": "HERE=/opt\n",
				"/opt/inner.sh": "#!/bin/sh\nsudo -E ansible-playbook x\n",
			},
			"",
		},
		"wrappers of wrappers, by their names": {
			map[string]string{
				"/etc/cron.d/a": "@reboot root flock -n /run/l nice /opt/outer.sh\n",
				"/opt/outer.sh": "#!/bin/bash\nHERE=/opt\n\"$HERE\"/inner.sh \"$@\" 2>&1 | logger\n",
				"/opt/inner.sh": "#!/bin/sh\nsudo -E ansible-playbook x\n",
			},
			"/etc/cron.d/a:1 /opt/outer.sh",
		},
		"other commands in the job":       {map[string]string{"/etc/cron.d/a": "0 3 * * * root /opt/backup && cd /x && git pull && ansible-playbook x || mail ops\n"}, "/etc/cron.d/a:1  backup"},
		"other commands in the statement": {map[string]string{"/etc/rc.local": "#!/bin/sh\nmount -a && ansible-playbook x\n"}, "/etc/rc.local:2  mount"},
		"after the end of a script":       {map[string]string{"/etc/rc.local": "#!/bin/sh\ntrue\nexit 0\nansible-playbook x\n"}, "/etc/rc.local:4"},
		"lines that end in CRLF":          {map[string]string{"/etc/crontab": "A=1\r\n* * * * * root ansible-playbook x\r\n", "/etc/rc.local": "#!/bin/sh\r\nansible-playbook x\r\nexit 0\r\n"}, "/etc/crontab:2\n/etc/rc.local:2"},
		"a timer that is masked": {
			map[string]string{
				"/usr/lib/systemd/system/play.service": "[Service]\nExecStart=/usr/bin/ansible-pull\n", "/usr/lib/systemd/system/play.timer": "[Timer]\nOnCalendar=daily\n",
				"/etc/systemd/system/play.timer": "-> /dev/null", "/etc/systemd/system/timers.target.wants/play.timer": "-> /usr/lib/systemd/system/play.timer",
			},
			"",
		},
		"a link to a link":       {map[string]string{"/etc/cron.d/a": "-> /opt/b", "/opt/b": "-> c", "/opt/c": "* * * * * root ansible-playbook x\n"}, "/etc/cron.d/a:1"},
		"a link with other jobs": {map[string]string{"/etc/cron.d/a": "-> ../../opt/b", "/opt/b": "* * * * * root ansible-playbook x\n@daily root tidy\n"}, "/etc/cron.d/a:1   it is a link to /opt/b, which has other jobs too"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.files["/var/lib/other"] = "" // as every node has something there
			disk := tree(t, c.files)
			was := bytesOf(t, disk)
			r := lookAt(t, disk)
			if got := places(r); got != c.runs {
				t.Errorf("got\n%s", got)
			}
			if strings.Contains(c.runs, "it is a link") || c.runs == "" {
				return
			}
			if _, err := r.CutOver(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if left := places(lookAt(t, disk)); left != "" {
				t.Errorf("cut over, it has\n%s", left)
			}
			if _, err := Undo(t.Context(), disk, nil, false); err != nil || bytesOf(t, disk) != was {
				t.Errorf("%v, undone it is\n%s", err, bytesOf(t, disk))
			}
		})
	}
}

// What a cut-over would have to leave in doubt, it refuses.
func TestWhatIsInDoubtIsRefused(t *testing.T) {
	t.Parallel()
	const table = "* * * * * root ansible-playbook x\n"
	for name, c := range map[string]struct {
		files map[string]string
		made  func(at func(string) string) error
		says  string // "": it is not refused
	}{
		"a table that is too large": {
			map[string]string{"/etc/cron.d/a": strings.Repeat("# nothing to see\n", 300_000) + table},
			nil, "what may run ansible cannot be looked at: cannot read /etc/cron.d/a",
		},
		"a table with two names": {
			map[string]string{"/etc/cron.d/a": table},
			func(at func(string) string) error { return os.Link(at("/etc/cron.d/a"), at("/etc/cron.d/.b")) },
			"2 names (hard links)",
		},
		"a FIFO, a directory and a link to one": {
			map[string]string{"/etc/cron.d/link": "-> /opt", "/opt/x": "x", "/etc/cron.d/dir/x": table},
			func(at func(string) string) error { return unix.Mkfifo(at("/etc/cron.d/fifo"), 0o600) },
			"",
		},
		"a link to itself": {map[string]string{"/etc/cron.d/link": "-> link"}, nil, "cannot be looked at: cannot read /etc/cron.d/link"},
		"a node.config that is a link": {
			map[string]string{"/etc/container_config/node.config": "-> /opt/node.config", "/opt/node.config": "MY_ENVIRONMENT=prod\n"},
			nil, "/etc/container_config/node.config is a link to /opt/node.config, and ecsnode writes a file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := tree(t, c.files)
			if c.made != nil {
				if err := c.made(func(name string) string { return filepath.Join(disk.Root(), name) }); err != nil {
					t.Fatal(err)
				}
			}
			r := lookAt(t, disk)
			if got := strings.Join(r.Refusals, "\n"); !strings.Contains(got, c.says) || (c.says == "") != (got == "") {
				t.Errorf("refused because of %q", got)
			}
			if name == "a node.config that is a link" && len(r.before) != 1 {
				t.Errorf("what it leads to is not read: %+v", r.before)
			}
		})
	}
}

// A draft that is a link is no draft: what it leads to may change.
func TestADraftThatIsALink(t *testing.T) {
	t.Parallel()
	disk := tree(t, map[string]string{"/root/draft.yaml": "-> /tmp/x", "/tmp/x": "cluster: other\n"})
	_, err := Look(Inputs{Disk: disk, Config: "/etc/ecsnode/ecsnode.yaml", Output: "/root/draft.yaml", NodeConfig: "/etc/container_config/node.config", ECSConfig: "/etc/ecs/ecs.config"})
	if err == nil || !strings.Contains(err.Error(), "/root/draft.yaml is a link to /tmp/x") {
		t.Error(err)
	}
}

// A timer that was down before is down after an undo.
func TestATimerThatIsDownStaysDown(t *testing.T) {
	t.Parallel()
	disk, units := seeded(t), &timers{map[string]bool{}}
	if _, err := lookAt(t, disk).CutOver(t.Context(), units); err != nil {
		t.Fatal(err)
	}
	if _, err := Undo(t.Context(), disk, units, false); err != nil || units.active["node-setup.timer"] {
		t.Errorf("%v, %v", err, units.active)
	}
}

// full is a disk that takes so many more writes.
type full struct {
	*fsx.Disk
	left *int
}

func (f full) room() error {
	if *f.left--; *f.left < 0 {
		return unix.ENOSPC
	}
	return nil
}

func (f full) WriteFile(name string, data []byte, how fsx.How) (bool, error) {
	if err := f.room(); err != nil {
		return false, err
	}
	return f.Disk.WriteFile(name, data, how)
}

func (f full) MkdirAll(name string, perm fs.FileMode) (bool, error) {
	if err := f.room(); err != nil {
		return false, err
	}
	return f.Disk.MkdirAll(name, perm)
}

func (f full) Place(name string, e fsx.Exact) error {
	if err := f.room(); err != nil {
		return err
	}
	return f.Disk.Place(name, e)
}

// On a disk that is full, or read-only, a cut-over changes nothing, or says that it
// was cut short and goes back; what it kept is not left behind.
func TestADiskThatFillsUp(t *testing.T) {
	t.Parallel()
	for _, room := range []int{0, 1, 5, 20, 45, 60} {
		disk := seeded(t)
		was := bytesOf(t, disk)
		left := room
		_, err := lookAt(t, full{disk, &left}).CutOver(t.Context(), nil)
		j, wrong := Standing(disk)
		if wrong != nil {
			t.Fatal(wrong)
		}
		switch {
		case err == nil && left >= 0:
			continue // it had room enough
		case !errors.Is(err, unix.ENOSPC):
			t.Errorf("with room for %d writes: %v", room, err)
		case j == nil:
			if entries, err := disk.ReadDir(kept); err == nil {
				t.Errorf("with room for %d writes it leaves %d copies", room, len(entries))
			}
		case !strings.Contains(err.Error(), "--undo takes it back"):
			t.Errorf("with room for %d writes: %v", room, err)
		}
		if _, err := Undo(t.Context(), disk, nil, false); err != nil || bytesOf(t, disk) != was {
			t.Errorf("with room for %d writes: %v, undone it is\n%s", room, err, bytesOf(t, disk))
		}
	}
}
