package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Entry is a place of the node that speaks of ansible.
type Entry struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	When string `json:"when"`          // it runs: as a table of cron has it, or in words
	Text string `json:"text"`          // without secrets
	Via  string `json:"via,omitempty"` // the script or the unit by which it runs ansible
	// Along are other commands that go with it when it is disabled.
	Along []string `json:"along,omitempty"`
	// Cannot says why cut-over does not disable it; "": it does.
	Cannot string `json:"cannot,omitempty"`
}

// Job is a job of cron that ansible set up and that does not run it.
type Job struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Name     string `json:"name"`
	Schedule string `json:"schedule"`
	User     string `json:"user,omitempty"`
	Command  string `json:"command"` // without secrets
}

// edit is how cut-over changes a file.
type edit struct {
	name   string
	data   []byte // new content; nil: as it is
	remove bool   // a link
	shut   bool   // nobody may execute it
}

// scan is what a look for ansible finds.
type scan struct {
	runs     []Entry
	mentions []Entry
	jobs     []Job
	edits    []edit
	timers   []string // units to be stopped
	problems []string
	cluster  string // file of user data that sets ECS_CLUSTER
}

// Places where jobs stand. Both spellings of a place are looked at where
// distributions differ.
var (
	tables = []struct {
		name string // a file, or with "/" at its end a directory
		format
	}{
		{"/etc/crontab", system},
		{"/etc/anacrontab", anacron},
		{"/etc/cron.d/", system},
		{"/var/spool/cron/", ofUser},
		{"/var/spool/cron/crontabs/", ofUser},
	}
	scripts = []struct{ name, when string }{
		{"/etc/rc.d/rc.local", "at boot"},
		{"/etc/rc.local", "at boot"},
		{"/etc/cron.hourly/", "@hourly"},
		{"/etc/cron.daily/", "@daily"},
		{"/etc/cron.weekly/", "@weekly"},
		{"/etc/cron.monthly/", "@monthly"},
		{"/var/lib/cloud/scripts/per-boot/", "at boot"},
	}
	userData = "/var/lib/cloud/instance/user-data.txt"
)

// maxEntries bounds how many files of a directory are looked at.
const maxEntries = 1000

// look finds what runs ansible on a node.
func look(files fsx.FS) *scan {
	s := &scan{}
	f := &finder{files: files}
	s.lookAtUnits(f)
	for _, t := range tables {
		for _, name := range s.list(files, t.name) {
			s.table(f, name, t.format)
		}
	}
	for _, p := range scripts {
		for _, name := range s.list(files, p.name) {
			s.script(f, name, p.when)
		}
	}
	s.userData(f)
	return s
}

func (s *scan) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// list returns the files of a place. Hidden ones are nobody's: cron and
// run-parts pass them by, and so do editors' copies.
func (s *scan) list(files fsx.FS, place string) (names []string) {
	dir, isDir := strings.CutSuffix(place, "/")
	if !isDir {
		return []string{place}
	}
	entries, err := files.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.problem("%v", err)
	}
	if len(entries) > maxEntries {
		s.problem("%s has %d entries, of which %d are looked at", dir, len(entries), maxEntries)
		entries = entries[:maxEntries]
	}
	for _, e := range entries {
		name := e.Name()
		// not_a_crontab in cronie:src/database.c
		skip := strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || strings.HasSuffix(name, "~") ||
			slices.ContainsFunc([]string{".rpmsave", ".rpmorig", ".rpmnew"}, func(end string) bool { return strings.HasSuffix(name, end) })
		if !skip && !e.IsDir() {
			names = append(names, path.Join(dir, name))
		}
	}
	return names
}

// leadsTo returns where a link leads, as the node sees it, and "" of anything else.
func leadsTo(files fsx.FS, name string, info fs.FileInfo) (string, error) {
	if info.Mode().Type() != fs.ModeSymlink {
		return "", nil
	}
	target, err := files.ReadLink(name)
	if err == nil && !path.IsAbs(target) {
		target = path.Join(path.Dir(name), target)
	}
	return target, err
}

// open reads a file of a place; leads is where it leads if it is a link.
func (s *scan) open(f *finder, name string) (text, leads string, info fs.FileInfo, ok bool) {
	info, err := f.files.Stat(name)
	if err == nil {
		leads, err = leadsTo(f.files, name, info)
	}
	var data []byte
	if err == nil {
		data, err = f.files.ReadFile(cmp.Or(leads, name))
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fsx.ErrNotRegular) { // a link to nowhere, a FIFO: nothing is run
		return "", "", nil, false
	}
	if err != nil {
		s.problem("%v", err)
		return "", "", nil, false
	}
	return string(data), leads, info, true
}

// table looks at one table of cron.
func (s *scan) table(f *finder, name string, as format) {
	text, leads, info, ok := s.open(f, name)
	if !ok {
		return
	}
	lines := parseCrontab(text, as)
	run := map[int]bool{}
	first, others := len(s.runs), 0
	in := &scope{dir: "/"}
	for _, l := range lines {
		if l.schedule == "" {
			if name, value, ok := l.variable(); ok { // of the lines below it
				in.set(name, value)
			}
			continue
		}
		v := f.judge(l.command, in, 0)
		e := Entry{File: name, Line: l.number, When: l.schedule, Text: Redact(l.command), Via: v.via}
		switch {
		case v.runs:
			run[l.number] = true
			e.Along = f.alongText(l.command, in)
			s.runs = append(s.runs, e)
			continue
		case v.mentions:
			s.mentions = append(s.mentions, e)
		}
		others++
		if l.managed != "" {
			user := l.user
			if as == ofUser {
				user = path.Base(name)
			}
			s.jobs = append(s.jobs, Job{name, l.number, l.managed, l.schedule, user, Redact(l.command)})
		}
	}
	if len(run) == 0 {
		return
	}
	if leads == "" && info.Mode().IsRegular() {
		s.edits = append(s.edits, edit{name: name, data: []byte(disableLines(lines, run))})
		return
	}
	if others == 0 {
		s.edits = append(s.edits, edit{name: name, remove: true})
		return
	}
	for i := range s.runs[first:] {
		s.runs[first+i].Cannot = "it is a link to " + leads + ", which has other jobs too"
	}
}

// script looks at a script that something runs at a time.
func (s *scan) script(f *finder, name, when string) {
	text, leads, info, ok := s.open(f, name)
	if !ok || leads != "" && slices.ContainsFunc(scripts, func(p struct{ name, when string }) bool { return p.name == leads }) {
		return
	}
	e := Entry{File: name, When: when}
	if leads == "" && info.Mode()&0o111 == 0 { // nothing runs it
		if speaks.MatchString(text) {
			e.Text = "not executable, so it is not run"
			s.mentions = append(s.mentions, e)
		}
		return
	}
	v := f.judgeScript(text, &scope{}, 0)
	switch {
	case v.runs && leads != "" && strings.HasSuffix(name, "/rc.local"):
		e.Text, e.Cannot = "a link to "+leads, "it is a link: disable it in "+leads
		s.runs = append(s.runs, e)
		return
	case v.runs && leads != "":
		e.Text, e.Via = "a link to "+leads, leads
		s.runs, s.edits = append(s.runs, e), append(s.edits, edit{name: name, remove: true})
		return
	}
	if isOne(interpreter(text), programs) {
		e.Text = "a playbook that is executed"
		s.runs, s.edits = append(s.runs, e), append(s.edits, edit{name: name, shut: true})
		return
	}
	statements, mentions := f.scriptStatements(text)
	if mentions {
		m := e
		m.Text = "its text speaks of ansible"
		s.mentions = append(s.mentions, m)
	}
	if !v.runs {
		return
	}
	disabled, err := f.disable(text, statements)
	for _, st := range statements {
		e := Entry{File: name, Line: st.from, When: when, Text: Redact(st.text), Via: st.via, Along: st.along, Cannot: st.cannot}
		if err != nil && e.Cannot == "" {
			e.Cannot = err.Error()
		}
		s.runs = append(s.runs, e)
	}
	if err == nil {
		s.edits = append(s.edits, edit{name: name, data: []byte(disabled)})
	}
}

// disable returns a script in which these statements are marked, and is sure that
// it runs no ansible then.
func (f *finder) disable(text string, statements []found) (string, error) {
	disabled, err := disableStatements(text, statements)
	if err == nil && f.judgeScript(disabled, &scope{}, 0).runs {
		err = errors.New("it would run ansible still")
	}
	return disabled, err
}

// userData looks at what new instances are told. It is not the node's to change.
func (s *scan) userData(f *finder) {
	text, _, _, ok := s.open(f, userData)
	if !ok {
		return
	}
	if v := f.judgeScript(text, &scope{}, 0); v.runs || v.mentions {
		what := "it speaks of ansible"
		if v.runs {
			what = "it runs ansible"
		}
		s.mentions = append(s.mentions, Entry{File: userData, When: "on new instances", Text: what + ": change it in the launch template"})
	}
	if strings.Contains(text, "ECS_CLUSTER=") {
		s.cluster = userData
	}
}

// Where units are, in the order in which the first counts, and where it is
// written that they are enabled.
var unitDirs = []string{"/etc/systemd/system", "/usr/lib/systemd/system"}

// lookAtUnits finds services that run ansible, and what starts them.
func (s *scan) lookAtUnits(f *finder) {
	units := map[string]string{} // text by name; of one that is masked, ""
	for _, dir := range unitDirs {
		for _, name := range s.list(f.files, dir+"/") {
			base, ext := path.Base(name), path.Ext(name)
			if _, known := units[base]; known || ext != ".service" && ext != ".timer" || strings.HasPrefix(base, "ecsnode") {
				continue
			}
			if text, ok := f.read(name); ok || f.masked(name) {
				units[base] = text
			}
		}
	}
	runs := map[string]verdict{}
	for name, text := range units {
		for _, c := range unitValues(text, "Exec") {
			if v := f.command(strings.TrimLeft(c, "-@:+!|")); v.runs {
				runs[name] = v
			}
		}
	}
	f.units = map[string]bool{}
	starts := map[string]verdict{} // by unit that is enabled to start one
	for name, v := range runs {
		f.units[name], starts[name] = true, v
	}
	for name, text := range units {
		if path.Ext(name) != ".timer" || text == "" {
			continue
		}
		service := strings.TrimSuffix(name, ".timer") + ".service"
		if other := unitValues(text, "Unit"); len(other) > 0 {
			service = other[len(other)-1]
		}
		if f.units[service] {
			starts[name] = verdict{runs: true, via: service}
		}
	}
	s.enablements(f, starts, units)
}

// masked reports whether a unit is a link to nothing, which systemd never starts.
func (f *finder) masked(name string) bool {
	target, err := f.files.ReadLink(name)
	return err == nil && target == "/dev/null"
}

// enablements finds the links that make systemd start units.
func (s *scan) enablements(f *finder, starts map[string]verdict, units map[string]string) {
	dirs, err := f.files.ReadDir(unitDirs[0])
	if err != nil {
		return
	}
	for _, d := range dirs {
		if !d.IsDir() || !strings.HasSuffix(d.Name(), ".wants") && !strings.HasSuffix(d.Name(), ".requires") {
			continue
		}
		for _, link := range s.list(f.files, path.Join(unitDirs[0], d.Name())+"/") {
			unit := path.Base(link)
			v, ok := starts[unit]
			if !ok {
				continue
			}
			e := Entry{File: link, When: "with " + strings.TrimSuffix(strings.TrimSuffix(d.Name(), ".wants"), ".requires"), Text: unit, Via: v.via}
			if strings.HasSuffix(unit, ".timer") {
				e.When = strings.Join(unitValues(units[unit], "On"), ", ")
				s.timers = append(s.timers, unit)
			}
			info, err := f.files.Stat(link)
			if err != nil || info.Mode().Type() != fs.ModeSymlink {
				e.Cannot = "it is no link: systemctl disable " + unit
			} else {
				s.edits = append(s.edits, edit{name: link, remove: true})
			}
			s.runs = append(s.runs, e)
		}
	}
	slices.Sort(s.timers)
	s.timers = slices.Compact(s.timers)
}

// unitValues returns the values of the keys of a unit file that begin so.
func unitValues(text, prefix string) (values []string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && strings.HasPrefix(key, prefix) && (prefix != "Unit" || key == "Unit") {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// Running returns what runs ansible right now, as "pid 12: ansible-playbook ...".
func Running(files fsx.FS) (all []string) {
	entries, err := files.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err != nil || pid <= 0 {
			continue
		}
		data, err := files.ReadFile(path.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue
		}
		argv := strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
		for i, a := range argv[:min(3, len(argv))] {
			name := path.Base(a)
			if isOne(name, programs) {
				all = append(all, fmt.Sprintf("pid %s: %s", e.Name(), Redact(strings.Join(argv[i:], " "))))
				break
			}
			if i == 0 && !strings.HasPrefix(name, "python") && !isOne(name, shells) {
				break
			}
		}
	}
	return all
}
