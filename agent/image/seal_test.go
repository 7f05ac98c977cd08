package image_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/image"
)

// machine is a root with these files; a text that begins with "-> " is a link.
func machine(t *testing.T, files map[string]string) *fsx.Disk {
	t.Helper()
	root := t.TempDir()
	disk, err := fsx.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		put(t, disk, name, text)
	}
	return disk
}

func put(t *testing.T, disk *fsx.Disk, name, text string) {
	t.Helper()
	at := filepath.Join(disk.Root(), name)
	err := os.MkdirAll(filepath.Dir(at), 0o755)
	if target, ok := strings.CutPrefix(text, "-> "); err == nil && ok {
		err = os.Symlink(target, at)
	} else if err == nil && strings.HasSuffix(name, "/") {
		err = os.MkdirAll(at, 0o755)
	} else if err == nil {
		err = os.WriteFile(at, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// tree returns what is there, directories left out.
func tree(t *testing.T, disk *fsx.Disk) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(disk.Root(), func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(at, disk.Root())
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(at)
			all[name] = "-> " + target
			return err
		}
		text, err := os.ReadFile(at)
		all[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const enabled = "/etc/systemd/system/multi-user.target.wants/ecs.service"

// stays is what an image must have, and must keep over a seal.
func stays() map[string]string {
	return map[string]string{
		"/var/cache/ecs/ecs-agent.tar": "agent", "/var/cache/ecs/state": "2",
		"/var/lib/ecs/deps/serviceconnect/ecs-service-connect-agent.tar": "envoy",
		"/etc/ecs/ecs.config": "ECS_LOGLEVEL=info\n",
		enabled:               "-> /usr/lib/systemd/system/ecs.service",

		"/etc/ecsnode/ecsnode.yaml": "cluster: '{{ tag \"cluster\" }}'\n", "/etc/ecsnode/conf.d/10-fleet.yaml": "",
		"/etc/ecsnode/hooks/notice.d/page": "#!/bin/sh\n", "/etc/ssh/sshd_config": "Port 22\n", "/etc/docker/daemon.json": "{}",
		"/root/.bashrc": "", "/home/ec2-user/.bashrc": "", "/home/ec2-user/.ssh/config": "", "/var/lib/docker/image/x": "layer",
		"/var/lib/dnf/history.sqlite": "", "/var/lib/cloud/seed/nocloud/user-data": "", "/usr/bin/ecsnode": "program",
		"/var/lib/rpm/rpmdb.sqlite": "packages", "/etc/machine-info": "", "/var/lib/systemd/catalog/database": "",
	}
}

// goes is what is of one machine alone.
func goes() map[string]string {
	return map[string]string{
		"/var/lib/ecs/data/agent.db": "", "/var/lib/ecs/data/ecs_agent_data.json": "", "/var/lib/ecs/data/deep/er": "",
		"/var/lib/ecsnode/drains/1.json": "", "/var/lib/ecsnode/agentstate.json": "", "/run/ecsnode/identity.json": "",
		"/etc/container_config/node.config": "", "/etc/container_config/app/env": "", "/etc/ecsnode/conf.d/50-user-data.yaml": "", "/etc/ecsnode/conf.d/60-user-data.yaml": "",
		"/var/lib/cloud/instance": "-> instances/i-1", "/var/lib/cloud/instances/i-1/user-data.txt": "", "/var/lib/cloud/sem/x": "",
		"/var/lib/amazon/ssm/Vault/Store/RegistrationKey": "", "/var/lib/docker/engine-id": "", "/etc/docker/key.json": "",
		"/var/lib/dbus/machine-id": "-> /etc/machine-id", "/var/lib/systemd/random-seed": "", "/etc/ssh/ssh_host_rsa_key": "",
		"/etc/ssh/ssh_host_ed25519_key.pub": "", "/root/.ssh/authorized_keys": "", "/home/ec2-user/.ssh/authorized_keys": "",
		"/home/ec2-user/.ssh/authorized_keys2": "", "/root/.bash_history": "", "/home/other/.python_history": "",
		"/var/lib/dhclient/a.lease": "", "/var/cache/dnf/x/repodata/a": "", "/var/tmp/a": "", "/tmp/a/b": "",
		"/var/log/messages": "", "/var/log/ecs/ecs-agent.log": "", "/var/log/journal/0123/system.journal": "", "/var/log/audit/audit.log": "",
	}
}

func plan(t *testing.T, disk *fsx.Disk) []image.Step {
	t.Helper()
	steps, err := image.Plan(disk, image.Items(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

func do(t *testing.T, disk *fsx.Disk, steps []image.Step) {
	t.Helper()
	told := 0
	if err := image.Do(t.Context(), disk, steps, func(image.Step) { told++ }); err != nil || told != len(steps) {
		t.Fatalf("%d of %d steps are told: %v", told, len(steps), err)
	}
}

func TestASealRemovesWhatIsListedAndNothingElse(t *testing.T) {
	t.Parallel()
	disk := machine(t, stays())
	for name, text := range goes() {
		put(t, disk, name, text)
	}
	put(t, disk, "/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	before := tree(t, disk)
	steps := plan(t, disk)
	if got := tree(t, disk); !maps.Equal(got, before) {
		t.Fatal("a plan changed something")
	}
	do(t, disk, steps)

	want := stays()
	want["/etc/machine-id"] = ""
	got := tree(t, disk)
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is still there", name)
		}
	}
	for name, text := range want {
		if left, ok := got[name]; !ok || left != text {
			t.Errorf("%s is %q, want %q", name, left, text)
		}
	}
	for _, dir := range []string{"/var/log/audit", "/var/log/ecs", "/var/log/journal", "/var/lib/ecs/data", "/etc/container_config"} {
		if info, err := disk.Stat(dir); err != nil || !info.IsDir() {
			t.Errorf("the directory %s must stay: %v", dir, err)
		}
	}
	told := map[string]bool{}
	for _, s := range steps {
		if told[s.Path] {
			t.Errorf("%s is told twice", s.Path)
		}
		told[s.Path] = true
	}
	for name := range goes() {
		if !told[name] {
			t.Errorf("%s was removed and not told", name)
		}
	}
	if again := plan(t, disk); len(again) > 0 {
		t.Errorf("a second seal would do: %v", again)
	}
}

func TestWhatCannotBeRemovedIsToldAndTheRestIsRemoved(t *testing.T) {
	t.Parallel()
	disk := machine(t, stays())
	put(t, disk, "/var/tmp/d/e", "")
	put(t, disk, "/var/tmp/f", "")
	steps := plan(t, disk)
	put(t, disk, "/var/tmp/d/late", "") // written meanwhile
	remove(t, disk, "/var/tmp/d/e")
	var told []string
	err := image.Do(t.Context(), disk, steps, func(s image.Step) { told = append(told, s.Path) })
	if err == nil || !strings.Contains(err.Error(), "cannot remove /var/tmp/d ") || !slices.Equal(told, []string{"/var/tmp/f"}) {
		t.Errorf("told %q, %v", told, err)
	}
}

func TestASealThatIsInterruptedSaysSo(t *testing.T) {
	t.Parallel()
	disk := machine(t, stays())
	put(t, disk, "/var/tmp/f", "")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("it is late"))
	err := image.Do(ctx, disk, plan(t, disk), func(s image.Step) { t.Errorf("%s", s) })
	if err == nil || err.Error() != "cannot seal to the end: it is late: do it again" {
		t.Error(err)
	}
}

// TestAFullDirectoryIsSealedInTime: what each removal costs must not grow with
// what is beside it.
func TestAFullDirectoryIsSealedInTime(t *testing.T) {
	t.Parallel()
	const files = 5_000
	disk := machine(t, stays())
	put(t, disk, "/var/log/many/0", "")
	for i := range files {
		f, err := os.Create(filepath.Join(disk.Root(), "var/log/many", strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	steps := plan(t, disk)
	if len(steps) != files {
		t.Fatalf("%d steps", len(steps))
	}
	start := time.Now()
	do(t, disk, steps)
	if took := time.Since(start); took > 10*time.Second { // one by one: a minute
		t.Errorf("took %v", took)
	} else {
		t.Logf("took %v", took)
	}
}

func TestASealThatWasCutShortIsDoneAgain(t *testing.T) {
	t.Parallel()
	for cut := range 8 {
		disk := machine(t, stays())
		for name, text := range goes() {
			put(t, disk, name, text)
		}
		steps := plan(t, disk)
		do(t, disk, steps[:len(steps)*cut/8])
		do(t, disk, plan(t, disk))
		if got, want := tree(t, disk), stays(); !maps.Equal(got, want) {
			t.Errorf("after %d/8: %v", cut, slices.Sorted(maps.Keys(got)))
		}
	}
}

func TestLinksAreRemovedAndNotFollowed(t *testing.T) {
	t.Parallel()
	disk := machine(t, stays())
	put(t, disk, "/srv/data/precious", "x")
	put(t, disk, "/var/log/elsewhere", "-> ../../srv/data")
	put(t, disk, "/var/lib/ecs/data/elsewhere", "-> ../../../../srv/data")
	put(t, disk, "/root/.ssh/authorized_keys", "-> ../../srv/data/precious")
	do(t, disk, plan(t, disk))
	want := stays()
	want["/srv/data/precious"] = "x"
	if got := tree(t, disk); !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestALinkInPlaceOfADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	for link, named := range map[string]string{
		"/var/log": "/var/log", "/home/ec2-user/.ssh": "/home/ec2-user/.ssh", "/var/lib/ecs/data": "/var/lib/ecs/data",
	} {
		disk := machine(t, map[string]string{"/srv/data/authorized_keys": "x", link: "-> /srv/data"})
		_, err := image.Plan(disk, image.Items(), nil)
		if err == nil || !strings.Contains(err.Error(), "cannot seal: "+named+" is a symbolic link") {
			t.Errorf("%s: %v", link, err)
		}
	}
}

func TestDirectoriesWithoutEndAreRefused(t *testing.T) {
	t.Parallel()
	disk := machine(t, map[string]string{"/var/tmp" + strings.Repeat("/d", 70) + "/f": ""})
	if _, err := image.Plan(disk, image.Items(), nil); err == nil || !strings.Contains(err.Error(), "directories deep") {
		t.Errorf("%v", err)
	}
}

func TestTheAgentIsUnmaskedAndEnabled(t *testing.T) {
	t.Parallel()
	for name, mask := range map[string]string{
		"/etc/systemd/system/ecs.service": "-> /dev/null", "/run/systemd/system/ecs.service": "",
	} {
		disk := machine(t, map[string]string{name: mask})
		do(t, disk, plan(t, disk))
		if got, want := tree(t, disk), map[string]string{enabled: "-> /usr/lib/systemd/system/ecs.service"}; !maps.Equal(got, want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	// A unit of the team's own is no mask.
	disk := machine(t, map[string]string{"/etc/systemd/system/ecs.service": "[Unit]\n", enabled: "-> x"})
	if steps := plan(t, disk); len(steps) > 0 {
		t.Errorf("%v", steps)
	}
}

func TestAFileIsEdited(t *testing.T) {
	t.Parallel()
	disk := machine(t, map[string]string{"/etc/ecs/ecs.config": "A=1\nB=2\n", enabled: "-> x"})
	edit := image.Edit{Path: "/etc/ecs/ecs.config", Why: "B", Do: func(file []byte) ([]byte, error) {
		return []byte(strings.ReplaceAll(string(file), "B=2\n", "")), nil
	}}
	for _, want := range []int{1, 0} {
		steps, err := image.Plan(disk, nil, []image.Edit{edit})
		if err != nil || len(steps) != want {
			t.Fatalf("got %v, %v, want %d", steps, err, want)
		}
		do(t, disk, steps)
	}
	if text, _ := disk.ReadFile(edit.Path); string(text) != "A=1\n" {
		t.Errorf("%q", text)
	}
	edit.Do = func([]byte) ([]byte, error) { return nil, errors.New("line 3: no end") }
	if _, err := image.Plan(disk, nil, []image.Edit{edit}); err == nil || err.Error() != "cannot seal: /etc/ecs/ecs.config: line 3: no end" {
		t.Errorf("%v", err)
	}
}

func TestTheListIsInOrder(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, item := range image.Items() {
		if path.Clean(item.Path) != item.Path || !path.IsAbs(item.Path) || strings.Count(item.Path, "/") < 2 && item.Path != "/tmp" {
			t.Errorf("%q is no path to remove anything of", item.Path)
		}
		if item.Why == "" || seen[item.Path] {
			t.Errorf("%s: no reason, or twice", item.Path)
		}
		seen[item.Path] = true
		for _, kept := range []string{"/var/cache/ecs", "/var/lib/ecs/deps", "/etc/ecs", "/etc/ecsnode/ecsnode.yaml", "/usr"} {
			if kept == item.Path || strings.HasPrefix(kept, item.Path+"/") || strings.HasPrefix(item.Path, kept+"/") {
				t.Errorf("%s takes from %s", item.Path, kept)
			}
		}
	}
}

func TestANodeIsNotSealed(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/0123456789abcdef0123456789abcdef"
	for name, tc := range map[string]struct {
		sight image.Sight
		want  string // "": it is sealed
	}{
		"a machine of which nothing is known":         {image.Sight{}, ""},
		"an instance that never was a node":           {image.Sight{Instance: "i-1", Agent: facts.Unit{Load: "masked", Active: "inactive"}}, ""},
		"an agent that is registered":                 {image.Sight{Registered: facts.ContainerInstance{Cluster: "web", ARN: arn}}, "this is " + arn + " in cluster web"},
		"an agent that runs":                          {image.Sight{Agent: facts.Unit{Active: "active"}}, "ecs.service is active: stop it"},
		"an agent that is held back":                  {image.Sight{Agent: facts.Unit{Active: "activating"}}, "ecs.service is activating"},
		"an agent that waits for its turn":            {image.Sight{Agent: facts.Unit{Active: "inactive", Queued: true}}, "ecs.service is inactive"},
		"state of this instance":                      {image.Sight{Instance: "i-1", Saved: []facts.AgentState{{InstanceID: "i-1", ARN: arn, File: facts.AgentDB}}}, "agent.db says that this instance is registered as " + arn},
		"state of this instance, never registered":    {image.Sight{Instance: "i-1", Saved: []facts.AgentState{{InstanceID: "i-1"}}}, ""},
		"state that came with the image built on":     {image.Sight{Instance: "i-1", Saved: []facts.AgentState{{InstanceID: "i-0", ARN: arn}}}, ""},
		"an identity of this boot":                    {image.Sight{Identity: true}, "made a node of this instance"},
		"a root whose instance is not known (--root)": {image.Sight{Saved: []facts.AgentState{{ARN: arn}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := image.Refuse(tc.sight)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
