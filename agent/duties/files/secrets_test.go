package files_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/files"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
)

var password = facts.ParameterRef{Kind: facts.SSMParameter, Name: "/app/password"}

// supplied lets templates ask for a SecureString of this value.
func (r *rig) supplied(value string) *cell.Cell[facts.References] {
	known := cell.New(facts.Parameters.Equal)
	known.Set(facts.Parameters{password: {Presence: facts.Present, Values: map[string]facts.Parameter{"": {Value: value, Secret: true}}}})
	asked := cell.New(facts.References.Equal)
	r.duty.Supply = render.Supply{Parameters: known, Asked: asked}
	return asked
}

func TestASecretReachesNoFileThatOthersMayRead(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		file files.File
		may  bool
	}{
		"by default":                           {"/etc/app/env", files.File{}, false},
		"world-readable":                       {"/etc/app/env", files.File{Mode: 0o644}, false},
		"executable by its group":              {"/etc/app/env", files.File{Mode: 0o750}, false},
		"writable by its group":                {"/etc/app/env", files.File{Mode: 0o660}, false},
		"for its group":                        {"/etc/app/env", files.File{Mode: 0o640}, true},
		"for its owner":                        {"/etc/app/env", files.File{Mode: 0o400}, true},
		"in what every container mounts":       {"/etc/container_config/env", files.File{Mode: 0o600}, false},
		"in a directory of one application":    {"/etc/container_config/app/env", files.File{Mode: 0o640}, true},
		"a block in a file for its owner":      {"/etc/app/closed", files.File{Block: "b"}, false}, // it may be opened
		"by a link to what containers mount":   {"/etc/alias/env", files.File{Mode: 0o600}, false},
		"a block in a file for everybody":      {"/etc/app/open", files.File{Block: "b"}, false},
		"a block that closes a file like that": {"/etc/app/open", files.File{Block: "b", Mode: 0o600}, true},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, r *rig) {
				if err := os.MkdirAll(filepath.Join(r.root, "/etc/container_config/app"), 0o755); err != nil {
					t.Fatal(err)
				}
				r.write("/etc/app/open", "x\n")
				r.write("/etc/app/closed", "x\n")
				if err := os.Chmod(filepath.Join(r.root, "/etc/app/closed"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("container_config", filepath.Join(r.root, "/etc/alias")); err != nil {
					t.Fatal(err)
				}
				asked := r.supplied("hunter2")
				c.file.Content = text(`P={{ ssm "/app/password" }}`)
				other := text("plain")
				r.items(map[string]files.File{c.path: c.file, "/etc/app/other": {Content: other}})
				now, _ := r.config.Get()
				now.Shared = "/etc/container_config"
				r.config.Set(now)
				err := r.pass()
				if there := strings.Contains(r.tree(), "hunter2"); there != c.may || (err == nil) != c.may || err != nil && !errors.Is(err, render.ErrSecret) {
					t.Errorf("there: %v, %v", there, err)
				}
				r.want(`/etc/app/other -rw-r--r-- "plain"`)
				if refs, _ := asked.Get(); !refs.Equal(facts.References{password}) {
					t.Errorf("asked for %v", refs)
				}
			})
		})
	}
}

func TestWhereNoSecretMayBeIsToldBeforeAnyIsRead(t *testing.T) {
	c := files.Default()
	c.Shared = "/etc/container_config"
	c.Items["/etc/a"] = files.File{Content: text(`{{ if false }}{{ secret "x" }}{{ end }}`)}
	c.Items["/etc/container_config/b"] = files.File{Content: text(`{{ secret "x" }}`), Mode: 0o600}
	c.Items["/etc/c"] = files.File{Content: text(`{{ secret "x" }}`), Mode: 0o600}
	c.Items["/etc/d"] = files.File{Content: text(`{{ ssm "/x" }}`)} // a String, it may be
	var said []string
	c.Validate(func(path, _ string) { said = append(said, path) })
	if got := fmt.Sprint(said); got != `[items."/etc/a".content items."/etc/container_config/b".content]` {
		t.Error(got)
	}
}

func TestWhatACheckSaysOfASecretIsNotShown(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.supplied("hunter2")
		r.systemd.says = func(facts.Command) facts.Job {
			return facts.Job{State: facts.JobEnded, Result: "exit-code", ExitStatus: 1, Output: "bad line: P=hunter2\n"}
		}
		check := []string{"/bin/check", "{}"}
		r.items(map[string]files.File{
			"/etc/app/env":  {Content: text(`P={{ ssm "/app/password" }}`), Mode: 0o600, Check: check},
			"/etc/app/open": {Content: text(`x`), Check: check},
		})
		_ = r.pass()
		err := r.pass()
		if err == nil || strings.Count(err.Error(), "hunter2") != 1 || !strings.Contains(err.Error(), "/etc/app/env: its check says no: exit status 1: what it says is not shown") {
			t.Errorf("%v", err)
		}
	})
}

func TestWhatACheckSaysOfAFileThatIsNotForEverybodyIsNotShown(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.write("/etc/app/closed", "password=hunter2\n")
		if err := os.Chmod(filepath.Join(r.root, "/etc/app/closed"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.systemd.says = func(facts.Command) facts.Job {
			return facts.Job{State: facts.JobEnded, Result: "exit-code", ExitStatus: 1, Output: "line 1: password=hunter2\n"}
		}
		r.items(map[string]files.File{"/etc/app/closed": {Content: text("x"), Block: "b", Check: []string{"/bin/check", "{}"}}})
		_ = r.pass()
		if err := r.pass(); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "says no") {
			t.Errorf("%v", err)
		}
	})
}

func TestADirectoryGetsItsOwnerAndGivesItBack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	onNode(t, func(t *testing.T, r *rig) {
		owner := func(name string) string {
			info, err := os.Stat(filepath.Join(r.root, name))
			if err != nil {
				t.Fatal(err)
			}
			s := info.Sys().(*syscall.Stat_t)
			return fmt.Sprintf("%d:%d %04o", s.Uid, s.Gid, info.Mode().Perm())
		}
		r.write("/etc/group", "root:x:0:\napp:x:1234:\n")
		r.items(map[string]files.File{
			"/etc/app":     {Directory: true, Group: "app", Mode: 0o750},
			"/etc/app/new": {Directory: true, Owner: "77", Group: "app"},
		})
		r.settle()
		if a, b := owner("/etc/app"), owner("/etc/app/new"); a != "0:1234 0750" || b != "77:1234 0755" {
			t.Errorf("%s, %s", a, b)
		}
		if err := os.Chown(filepath.Join(r.root, "/etc/app"), 5, 5); err != nil {
			t.Fatal(err)
		}
		r.settle()
		if a := owner("/etc/app"); a != "0:1234 0750" {
			t.Errorf("after somebody else took it: %s", a)
		}
		r.items(nil)
		r.settle()
		if a := owner("/etc/app"); a != "0:0 0755" {
			t.Errorf("taken back: %s", a)
		}
		if _, err := os.Stat(filepath.Join(r.root, "/etc/app/new")); err == nil {
			t.Error("the new one is still there")
		}
	})
}

func TestOriginalsAreKeptAsLongAsTheyAreNeeded(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		kept := func() int {
			entries, err := os.ReadDir(filepath.Join(r.root, "/var/lib/ecsnode/replaced"))
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		r.write("/etc/app/a", "one")
		r.write("/etc/app/b", "two")
		both := map[string]files.File{"/etc/app/a": {Content: text("x")}, "/etc/app/b": {Content: text("y")}}
		r.items(both)
		r.settle()
		delete(both, "/etc/app/a")
		r.items(both)
		r.settle()
		r.restart()
		r.settle()
		if n := kept(); n != 1 {
			t.Errorf("%d originals are kept", n)
		}
		r.items(nil)
		r.settle()
		r.want(`"one"`, `"two"`)
	})
}
