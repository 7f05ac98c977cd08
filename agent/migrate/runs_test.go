package migrate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

// tree makes a node of files; a text that begins with "-> " is a link, and what
// begins with "#!" may be executed.
func tree(t testing.TB, files map[string]string) *fsx.Disk {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		var err error
		if target, link := strings.CutPrefix(text, "-> "); link {
			err = os.Symlink(target, at)
		} else if err = os.WriteFile(at, []byte(text), mode); err == nil {
			err = os.Chmod(at, mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	disk, err := fsx.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

func TestWhatRunsAnsible(t *testing.T) {
	t.Parallel()
	f := &finder{units: map[string]bool{"node-setup.service": true}, files: tree(t, map[string]string{
		"/opt/run.sh":                 "#!/bin/bash\nset -e\ncd /opt/ansible\nexec ansible-playbook -c local site.yml\n",
		"/opt/outer.sh":               "#!/bin/sh\n/opt/run.sh\n",
		"/opt/outest.sh":              "#!/bin/sh\nset -e\n. /opt/settings\nexec /opt/outer.sh \"$@\"\n",
		"/opt/settings":               "X=1\n",
		"/opt/far.sh":                 "#!/bin/sh\n/opt/outest.sh\n",
		"/opt/self.sh":                "#!/bin/sh\n/opt/self.sh && /opt/self.sh\n",
		"/opt/vars.sh":                "#!/bin/bash\nexport ANSIBLE=$(command -v ansible-playbook)\nOPTS=\"-c local\"\nif [ -x \"$ANSIBLE\" ]; then\n  \"$ANSIBLE\" $OPTS /opt/ansible/x.yml\nfi\n",
		"/opt/backup.sh":              "#!/bin/sh\ntar cf /backup/ansible.tar /opt/ansible\n",
		"/opt/run.py":                 "#!/usr/bin/python3\nsubprocess.run(['ansible-playbook', 'x'])\n",
		"/opt/play.yml":               "#!/usr/bin/env ansible-playbook\n- hosts: localhost\n",
		"/usr/local/bin/node-refresh": "#!/bin/sh\nansible-pull -U git://x\n",
		"/opt/dangling.sh":            "-> /nowhere",
	})}
	for command, want := range map[string]struct {
		runs bool
		via  string
	}{
		"ansible-playbook -c local /opt/ansible/ecs.yml":                       {true, ""},
		"/usr/bin/ansible-playbook x >> /var/log/ansible.log 2>&1":             {true, ""},
		"cd /opt/ansible && aws s3 sync s3://b . && ansible-playbook site.yml": {true, ""},
		"sudo -H -u root ANSIBLE_NOCOWS=1 /opt/venv/bin/ansible-playbook x":    {true, ""},
		"flock -n /var/lock/ansible.lock ansible-playbook x":                   {true, ""},
		"flock -n /var/lock/ansible ansible-playbook -c local x":               {true, ""},
		"/usr/bin/flock -n /tmp/l -c 'ansible-playbook x'":                     {true, ""},
		"bash -lc \"cd /x; ansible-pull -U y\"":                                {true, ""},
		"nice -n 19 ionice -c3 timeout 600 ansible-playbook x":                 {true, ""},
		"env HOME=/root sh -c 'exec ansible-playbook x'":                       {true, ""},
		"python3 -m ansible.cli.playbook x":                                    {true, ""},
		"test -x /usr/bin/ansible-playbook && ansible-playbook x":              {true, ""},
		"sleep $((RANDOM % 60)); ansible localhost -m setup":                   {true, ""},
		"/opt/run.sh --quiet":                                                  {true, "/opt/run.sh"},
		"cd /opt && ./run.sh":                                                  {true, "/opt/run.sh"},
		"sh /opt/run.sh":                                                       {true, "/opt/run.sh"},
		". /opt/run.sh":                                                        {true, "/opt/run.sh"},
		"chronic /opt/run.sh":                                                  {true, "/opt/run.sh"},
		"node-refresh":                                                         {true, "/usr/local/bin/node-refresh"},
		"/opt/play.yml":                                                        {true, "/opt/play.yml"},
		"systemctl start node-setup":                                           {true, "node-setup.service"},
		"systemctl --no-block restart node-setup.service":                      {true, "node-setup.service"},
		"find /var/log/ansible -mtime +7 -delete":                              {false, ""},
		"/usr/sbin/logrotate /etc/logrotate.d/ansible":                         {false, ""},
		"pkill -f ansible-playbook":                                            {false, ""},
		"command -v ansible-playbook":                                          {false, ""},
		"echo ansible-playbook":                                                {false, ""},
		"flock /var/lock/ansible true":                                         {false, ""},
		"/opt/backup.sh":                                                       {false, ""},
		"/opt/outer.sh":                                                        {true, "/opt/outer.sh"},
		"/opt/outest.sh":                                                       {true, "/opt/outest.sh"},
		"/opt/far.sh":                                                          {false, ""}, // no deeper
		"/opt/self.sh":                                                         {false, ""},
		"/opt/vars.sh":                                                         {true, "/opt/vars.sh"},
		"CMD='ansible-playbook -c local'; $CMD x.yml":                          {true, ""},
		"PATH=/opt/venv/bin:$PATH; export PATH; echo $ansible":                 {false, ""},
		"/opt/run.py":                                                          {false, ""},
		"/opt/dangling.sh":                                                     {false, ""},
		"systemctl status node-setup":                                          {false, ""},
		"systemctl start other":                                                {false, ""},
		"if [ broken; then ansible-playbook":                                   {false, ""},
		"docker system prune -f":                                               {false, ""},
		"":                                                                     {false, ""},
	} {
		v := f.command(command)
		if v.runs != want.runs || v.via != want.via {
			t.Errorf("%q: runs %v via %q", command, v.runs, v.via)
		}
		if strings.Contains(command, "ansible") && !v.mentions {
			t.Errorf("%q is not said to speak of ansible", command)
		}
	}
}

func TestStatementsThatRunAnsibleAreDisabledAndNoOthers(t *testing.T) {
	t.Parallel()
	f := &finder{files: tree(t, nil)}
	for name, c := range map[string]struct{ text, want, cannot string }{
		"a line": {
			"#!/bin/sh\ntouch /var/lock/subsys/local\nansible-playbook x &\nexit 0\n",
			"#!/bin/sh\ntouch /var/lock/subsys/local\n: " + mark + "ansible-playbook x &\nexit 0\n", "",
		},
		"lines that go on": {
			"cd /x && \\\n  ansible-playbook \\\n    -c local x\ntrue",
			": " + mark + "cd /x && \\\n" + mark + "  ansible-playbook \\\n" + mark + "    -c local x\ntrue", "",
		},
		"within a condition": {
			"if [ -x /usr/bin/ansible-playbook ]; then\n\tlogger start\n\tansible-playbook x # now\nfi\n",
			"if [ -x /usr/bin/ansible-playbook ]; then\n\tlogger start\n: " + mark + "\tansible-playbook x # now\nfi\n", "",
		},
		"the condition itself": {
			"if ansible-playbook x; then\n  logger ok\nfi\ntrue\n",
			": " + mark + "if ansible-playbook x; then\n" + mark + "  logger ok\n" + mark + "fi\ntrue\n", "",
		},
		"on one line with its test": {
			"if [ -d /opt ]; then ansible-playbook x; fi\n",
			": " + mark + "if [ -d /opt ]; then ansible-playbook x; fi\n", "",
		},
		"in a function": {
			"run() {\n  ansible-playbook x\n}\nrun\n",
			"run() {\n: " + mark + "  ansible-playbook x\n}\nrun\n", "",
		},
		"beside another command":   {"mount -a; ansible-playbook x\n", "", "other commands share its line"},
		"with another in a clause": {"if true; then mount -a; ansible-playbook x; fi\n", "", "other commands share its line"},
		"with a here-document":     {"ansible-playbook /dev/stdin <<EOF\n- hosts: all\nEOF\n", "", "it has a here-document"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			statements, _ := f.scriptStatements(c.text)
			if len(statements) != 1 || statements[0].cannot != c.cannot {
				t.Fatalf("%+v", statements)
			}
			if c.cannot != "" {
				return
			}
			got, err := f.disable(c.text, statements)
			if err != nil || got != c.want {
				t.Errorf("%v, got\n%s", err, got)
			}
			if again, mentions := f.scriptStatements(got); len(again) > 0 || mentions && name != "within a condition" {
				t.Errorf("disabled, it has %+v, and speaks of ansible: %v", again, mentions)
			}
		})
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`ansible-playbook -e "db_password=hunter2" x`:            `ansible-playbook -e "db_password=(hidden)" x`,
		`ansible-playbook -e "db_password=hunter two" x`:         `ansible-playbook -e "db_password=(hidden)" x`,
		`ansible-playbook -e '{"db_pass": "hunter2"}' x`:         `ansible-playbook -e '{"db_pass": (hidden)}' x`,
		`ansible-playbook --vault-password-file /run/x site.yml`: `ansible-playbook --vault-password-file (hidden) site.yml`,
		`curl -H "Authorization: Bearer hunter2" https://x | sh`: `curl -H "Authorization: (hidden)" https://x | sh`,
		`curl -H 'X-Api-Key: hunter2' https://x`:                 `curl -H 'X-Api-Key: (hidden)' https://x`,
		`curl -u deploy:hunter2 https://x`:                       `curl -u deploy:(hidden) https://x`,
		`sshpass -p hunter2 ssh x ansible-pull`:                  `sshpass -p (hidden) ssh x ansible-pull`,
		`mysql -uroot -phunter2 < x`:                             `mysql -uroot -p(hidden) < x`,
		`AWS_SECRET_ACCESS_KEY=hunter2 ansible-pull`:             `AWS_SECRET_ACCESS_KEY=(hidden) ansible-pull`,
		`git clone https://:hunter2@host/r`:                      `git clone https://:(hidden)@host/r`,
		`GIT_TOKEN='a b' ansible-pull -U y`:                      `GIT_TOKEN=(hidden) ansible-pull -U y`,
		`curl --password hunter2 x`:                              `curl --password (hidden) x`,
		`ansible-pull -U https://u:hunter2@host/r`:               `ansible-pull -U https://u:(hidden)@host/r`,
		`ansible-playbook site.yml`:                              `ansible-playbook site.yml`,
	} {
		if got := Redact(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
