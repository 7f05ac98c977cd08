package migrate

import (
	"strings"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// format is how the lines of a table of jobs are written.
type format int

const (
	system  format = iota // /etc/crontab, /etc/cron.d: a job has a user
	ofUser                // /var/spool/cron: it has none
	anacron               // /etc/anacrontab: period, delay, name
)

// cronLine is one line of a table, as it stands in it. The text of all lines put
// together is the file.
type cronLine struct {
	text     string // with its line end
	number   int
	schedule string // of a job; "": the line is none
	user     string
	command  string // what is run: an unescaped % and what follows, which is its input, cut off
	managed  string // the name that ansible's module cron gave it
}

// mark begins what is disabled, in every kind of file. No such line is a job, a
// variable or a command.
const mark = "#ecsnode migrate# "

var (
	// A line of this form is a variable: load_env of cronie:src/env.c, which takes
	// quotes around the name too.
	cronVariable = pattern.New(`^[ \t]*["']?([A-Za-z_][A-Za-z0-9_]*)["']?[ \t]*=[ \t]*(.*?)[ \t]*$`)
	cronField    = pattern.New(`^(?i:[-0-9*/,~]|sun|mon|tue|wed|thu|fri|sat|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|@[a-z]+)+$`)
	// https://docs.ansible.com/ansible/latest/collections/ansible/builtin/cron_module.html
	// writes this comment above a job.
	ansibleName = pattern.New(`^#Ansible: (.+)$`)
)

// parseCrontab takes a table apart. It never fails: what is no job is a line
// without a schedule.
func parseCrontab(text string, f format) []cronLine {
	var lines []cronLine
	managed := ""
	for line := range strings.Lines(text) {
		l := cronLine{text: line, number: len(lines) + 1}
		body := strings.TrimRight(line, "\r\n")
		if m := ansibleName.FindStringSubmatch(body); m != nil {
			managed = strings.TrimSpace(m[1])
		} else if l.parse(body, f) {
			l.managed, managed = managed, ""
		} else if strings.TrimSpace(body) != "" && !cronVariable.MatchString(body) {
			managed = ""
		}
		lines = append(lines, l)
	}
	return lines
}

// parse takes a job apart, and reports false of any other line.
func (l *cronLine) parse(body string, f format) bool {
	body = strings.TrimLeft(body, " \t")
	if body == "" || body[0] == '#' || cronVariable.MatchString(body) {
		return false
	}
	times := 5
	switch {
	case f == anacron:
		times = 3
	case body[0] == '@':
		times = 1
	}
	rest := body
	var fields []string
	for range times {
		var field string
		field, rest = nextField(rest)
		if f != anacron && !cronField.MatchString(field) {
			return false
		}
		fields = append(fields, field)
	}
	user := ""
	if f == system {
		user, rest = nextField(rest)
	}
	command := rest
	if command == "" || f == system && user == "" {
		return false
	}
	if f != anacron {
		command = beforeInput(command)
	}
	l.schedule, l.user, l.command = strings.Join(fields, " "), user, command
	return true
}

// variable is what a line sets that is no job.
func (l cronLine) variable() (name, value string, ok bool) {
	m := cronVariable.FindStringSubmatch(strings.TrimRight(l.text, "\r\n"))
	if m == nil {
		return "", "", false
	}
	value = m[2]
	if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1 : n-1]
	}
	return m[1], value, true
}

// nextField cuts a field off, with the white space after it.
func nextField(s string) (field, rest string) {
	end := strings.IndexAny(s, " \t")
	if end < 0 {
		return s, ""
	}
	return s[:end], strings.TrimLeft(s[end:], " \t")
}

// beforeInput is a command without what cron feeds to it: crontab(5).
func beforeInput(command string) string {
	var b strings.Builder
	for i := 0; i < len(command); i++ {
		switch {
		case command[i] == '\\' && strings.HasPrefix(command[i+1:], "%"):
			i++
			b.WriteByte('%')
		case command[i] == '%':
			return b.String()
		default:
			b.WriteByte(command[i])
		}
	}
	return b.String()
}

// disableLines marks lines, by their numbers.
func disableLines(lines []cronLine, numbers map[int]bool) string {
	var b strings.Builder
	for _, l := range lines {
		if numbers[l.number] {
			b.WriteString(mark)
		}
		b.WriteString(l.text)
	}
	return b.String()
}
