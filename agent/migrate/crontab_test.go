package migrate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJobsOfATable(t *testing.T) {
	t.Parallel()
	type job struct{ Schedule, User, Command, Managed string }
	for name, c := range map[string]struct {
		format
		text string
		want []job
	}{
		"a table of the system":          {system, "SHELL=/bin/sh\nMAILTO=\"\"\n# m h dom mon dow user command\n*/15 * * * *\troot  ansible-playbook x.yml\n", []job{{"*/15 * * * *", "root", "ansible-playbook x.yml", ""}}},
		"a table of a user":              {ofUser, "  5 4 * * sun echo hi", []job{{"5 4 * * sun", "", "echo hi", ""}}},
		"a word for the times":           {system, "@reboot root /opt/run\n@daily ec2-user true\n", []job{{"@reboot", "root", "/opt/run", ""}, {"@daily", "ec2-user", "true", ""}}},
		"ansible's own comment":          {ofUser, "#Ansible: pull\n*/5 * * * * ansible-pull\n@daily true\n", []job{{"*/5 * * * *", "", "ansible-pull", "pull"}, {"@daily", "", "true", ""}}},
		"a name is for the job below it": {ofUser, "#Ansible: gone\n# a note\n@daily true\n", []job{{"@daily", "", "true", ""}}},
		"variables of ansible between":   {ofUser, "#Ansible: a\nPATH=/bin\n@daily true\n", []job{{"@daily", "", "true", "a"}}},
		"input after a percent sign":     {ofUser, `* * * * * mail -s 10\% x%ansible-playbook`, []job{{"* * * * *", "", "mail -s 10% x", ""}}},
		"silent jobs of cronie":          {system, "-*/5 * * * * root true\n", []job{{"-*/5 * * * *", "root", "true", ""}}},
		"anacron":                        {anacron, "START_HOURS_RANGE=3-22\n1\t5\tcron.daily\tnice run-parts /etc/cron.daily\n@monthly 45 m x\n", []job{{"1 5 cron.daily", "", "nice run-parts /etc/cron.daily", ""}, {"@monthly 45 m", "", "x", ""}}},
		"no job: no command":             {system, "* * * * * root\n* * * *\n", nil},
		"no job: prose":                  {system, "this is a line of prose and no job at all\n", nil},
		"no job: disabled":               {system, mark + "* * * * * root ansible-playbook x\n", nil},
		"lines that end in CRLF":         {system, "* * * * * root true\r\n", []job{{"* * * * *", "root", "true", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []job
			for _, l := range parseCrontab(c.text, c.format) {
				if l.schedule != "" {
					got = append(got, job{l.schedule, l.user, l.command, l.managed})
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzCrontab(f *testing.F) {
	for _, text := range []string{"", "\n", "* * * * * root ansible-playbook x\n#Ansible: a\r\n@daily y", "\x00\\%%"} {
		f.Add(text, uint8(0))
	}
	f.Fuzz(func(t *testing.T, text string, as uint8) {
		lines := parseCrontab(text, format(as%3))
		var whole strings.Builder
		jobs := map[int]bool{}
		for _, l := range lines {
			whole.WriteString(l.text)
			if l.schedule != "" {
				jobs[l.number] = true
			}
		}
		if whole.String() != text {
			t.Fatalf("the lines are not the file: %q", whole.String())
		}
		off := disableLines(lines, jobs)
		for _, l := range parseCrontab(off, format(as%3)) {
			if l.schedule != "" {
				t.Errorf("a job is left: %q", l.text)
			}
		}
		if !strings.Contains(text, mark) && strings.ReplaceAll(off, mark, "") != text {
			t.Errorf("the marks apart it is not the file: %q", off)
		}
	})
}
