package migrate

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/agent/when"
)

// draft is a configuration that makes the node what it is.
type draft struct {
	yaml     string
	template string // of node.config; "": the built-in one does
	mode     fs.FileMode
	keys     []Key
	literals []string // variables of node.config that come from no tag and no fact
}

// Key is a variable that others set in ecs.config.
type Key struct {
	Name    string `json:"name"`
	Line    int    `json:"line"`
	Setting string `json:"setting,omitempty"` // of ecsnode.yaml that sets it from now on
	Why     string `json:"why,omitempty"`     // it stays where it is
}

// node is what a draft is written from.
type node struct {
	in         render.Inputs
	nodeConfig string // path of the file
	before     []nodeconfig.Assignment
	unread     error // why before is not known; nil beside no assignments: there is no file
	there      *fsx.Exact
	dirMode    fs.FileMode
	foreign    []ecsconfig.Foreign
	cluster    string // the file of user data that names the cluster
	registered string // cluster
	tasks      []NodeTask
	jobs       []Job
	zone       string // of the clock that cron goes by; "": UTC, or not known
	templateAt string
}

// writer writes YAML.
type writer struct{ strings.Builder }

func (w *writer) line(indent int, format string, args ...any) {
	w.WriteString(strings.Repeat("  ", indent))
	fmt.Fprintf(w, format, args...)
	w.WriteByte('\n')
}

// comment writes lines that YAML does not see.
func (w *writer) comment(indent int, format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		line = oneLine(strings.TrimRight(line, "\n"))
		w.line(indent, "# %s", strings.TrimRight(line, " "))
	}
}

// plain reports whether a comment has a text as it is.
func (w *writer) plain(s string) bool { return oneLine(s) == s && utf8.ValidString(s) }

// text is a string of YAML. It is printable: a literalText or a template.
func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

var plainKey = pattern.New(`^[A-Za-z_][A-Za-z0-9_.-]{2,}$`)

// key is a key of a mapping.
func key(s string) string {
	if !plainKey.MatchString(s) || isOne(strings.ToLower(s), []string{"yes", "true", "off", "false", "null"}) {
		return text(s)
	}
	return s
}

// write writes a draft.
func (n node) write() draft {
	w := &writer{}
	d := draft{mode: 0o644}
	w.comment(0, "Written by \"ecsnode migrate\" on %s from what it found there. Look it\nthrough: what says \"literal\" is the same on every node that this file is\nbaked into. Then: ecsnode migrate, once more, and ecsnode migrate --cut-over.", orElse(n.in.Instance.ID, "a node"))
	w.line(0, "")
	n.writeCluster(w, &d)
	n.writeNodeConfig(w, &d)
	n.writeECSConfig(w, &d)
	n.writeTasks(w)
	n.writeJobs(w)
	d.yaml = w.String()
	return d
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

const clusterKey = "ECS_CLUSTER"

func (n node) writeCluster(w *writer, d *draft) {
	value, line := n.registered, 0
	for _, f := range n.foreign {
		if f.Key == clusterKey && f.Setting != "" {
			value, line = f.Value, f.Line
		}
	}
	if _, name, ok := strings.Cut(value, ":cluster/"); ok {
		value = name
	}
	k := Key{Name: clusterKey, Line: line, Setting: "cluster"}
	tag := tagNamed(clusterKey, value, n.in.Instance.Tags, partOfName)
	switch {
	case value == "":
		w.comment(0, "ecs.config names no cluster. Without one the node is held out:\ncluster: '{{ tag \"cluster\" }}'")
		w.line(0, "")
		return
	case tag != "":
		w.line(0, "cluster: %s", text(templateOf("tag", tag)))
	case n.cluster != "" && line > 0:
		k.Setting, k.Why = "", "user data sets it, for each launch: "+n.cluster
		w.comment(0, "User data names the cluster in ecs.config. With a tag on every instance:\ncluster: '{{ tag \"cluster\" }}'")
	default:
		w.line(0, "cluster: %s # literal", text(value))
	}
	w.line(0, "")
	if line > 0 {
		d.keys = append(d.keys, k)
	}
}

// environment is what node.config has by default.
const environment = "MY_ENVIRONMENT"

func (n node) writeNodeConfig(w *writer, d *draft) {
	dir, base := path.Split(n.nodeConfig)
	w.line(0, "node_config:")
	if dir = path.Clean(dir); dir != "/etc/container_config" {
		w.line(1, "directory: %s", text(dir))
	}
	if perm := n.dirMode.Perm(); n.dirMode != 0 && perm != 0o755 {
		if perm&0o002 != 0 || perm&0o500 != 0o500 {
			w.comment(1, "The directory had mode %04o, which is not for what containers run.", perm)
		} else {
			w.line(1, "directory_mode: %q", fmt.Sprintf("%04o", perm))
		}
	}
	w.line(1, "files:")
	if base != "node.config" {
		w.line(2, "node.config: null")
	}
	w.line(2, "%s:", key(base))
	if n.there != nil && n.there.Mode.Perm() != 0o644 {
		perm := n.there.Mode.Perm()
		if perm&0o002 != 0 || perm&0o400 != 0o400 {
			w.comment(3, "The file had mode %04o, which is not for what containers run.", perm)
		} else {
			w.line(3, "mode: %q", fmt.Sprintf("%04o", perm))
		}
		if perm&0o004 == 0 {
			d.mode = 0o600
		}
	}
	var exported []string
	all := last(n.before)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name].Exported {
			exported = append(exported, strconv.Quote(name))
		}
	}
	if len(exported) > 0 {
		w.line(3, "template: %s # it exports what was exported", text(n.templateAt))
		d.template = "# What this container instance is: literal values and nothing else. Source it in\n" +
			"# any POSIX shell, with a dot. ecsnode keeps this file: edits are lost.\n" +
			"{{ range .Variables }}{{ if eq .Name " + strings.Join(exported, " ") + " }}export {{ end }}{{ .Name }}={{ .Value | shellquote }}\n{{ end -}}\n"
	}
	w.line(3, "values:")
	n.writeValues(w, d, base, all)
	w.line(0, "")
}

func (n node) writeValues(w *writer, d *draft, base string, all map[string]nodeconfig.Assignment) {
	var names []string // in the order of the file
	for _, a := range n.before {
		if !slices.Contains(names, a.Name) {
			names = append(names, a.Name)
		}
	}
	for _, name := range names {
		if nodeconfig.IsStandard(name) {
			w.comment(4, "%s is a variable that every file has.", name)
			continue
		}
		if why := nodeconfig.RefuseValue(name); why != "" {
			w.comment(4, "%s %s: it cannot be kept.", name, why)
			continue
		}
		s := sourceOf(name, all[name].Value, n.in)
		note := ""
		if s.note != "" {
			note = " # literal: " + s.note
			d.literals = append(d.literals, name)
			if secret(name) {
				d.mode = 0o600
			}
		}
		w.line(4, "%s: { value: %s }%s", key(name), text(s.template), note)
	}
	switch {
	case n.unread != nil:
		w.comment(4, "The file that is there does more than assign literal values, and is not\nread: %v. Write its variables here, such as\nMY_ENVIRONMENT: { value: '{{ tag \"env\" }}' }", n.unread)
		w.line(4, "%s: null", environment)
	case len(names) == 0:
		w.comment(4, "MY_ENVIRONMENT comes from the tag env unless it is set here.")
	case !slices.Contains(names, environment) && base == "node.config":
		w.line(4, "%s: null # the file had none", environment)
	}
}

func (n node) writeECSConfig(w *writer, d *draft) {
	own, settings := &writer{}, &writer{}
	for _, f := range n.foreign {
		if f.Key == clusterKey {
			continue
		}
		k := Key{Name: f.Key, Line: f.Line, Setting: f.Setting, Why: f.Why}
		if k.Setting == "ecs_config.settings."+f.Key {
			settings.line(2, "%s: %s", key(f.Key), text(literalText(f.Value)))
		} else if k.Setting != "" && !n.writeOwn(own, f) {
			k.Setting, k.Why = "", "its value is not understood"
		}
		d.keys = append(d.keys, k)
	}
	if own.Len()+settings.Len() == 0 {
		return
	}
	w.comment(0, "What ecs.config has outside of ecsnode's block stays there too, and may go\nonce the block has it.")
	w.line(0, "ecs_config:")
	w.WriteString(own.String())
	if settings.Len() > 0 {
		w.line(1, "settings:")
		w.WriteString(settings.String())
	}
	w.line(0, "")
}

// writeOwn writes a variable that has a setting of its own, and reports false if
// its value is none.
func (n node) writeOwn(w *writer, f ecsconfig.Foreign) bool {
	name := strings.TrimPrefix(f.Setting, "ecs_config.")
	value := strings.TrimSpace(f.Value)
	switch name {
	case "container_stop_timeout":
		if t, err := time.ParseDuration(value); err != nil || t < time.Second {
			return false
		}
		w.line(1, "%s: %s", name, value)
	case "reserved_memory":
		if m, err := strconv.Atoi(value); err != nil || m < 0 || m > 1<<16-1 {
			return false
		}
		w.line(1, "%s: %s", name, value)
	case "log_drivers":
		var list []ecsconfig.LogDriver
		if err := json.Unmarshal([]byte(value), &list); err != nil {
			return false
		}
		var all []string
		for _, one := range list {
			if slices.Contains(all, string(one)) {
				return false
			}
			all = append(all, string(one))
		}
		w.line(1, "%s: [%s]", name, strings.Join(all, ", "))
	case "attributes":
		var all map[string]string
		if err := json.Unmarshal([]byte(value), &all); err != nil {
			return false
		}
		w.line(1, "attributes:")
		for _, attribute := range slices.Sorted(maps.Keys(all)) {
			s := sourceOf(attribute, all[attribute], n.in)
			note := ""
			if s.note != "" {
				note = " # literal: " + s.note
			}
			w.line(2, "%s: %s%s", key(attribute), text(s.template), note)
		}
	default:
		on, err := strconv.ParseBool(value)
		if err != nil {
			return false
		}
		w.line(1, "%s: %v", name, on)
	}
	return true
}

func (n node) writeTasks(w *writer) {
	if len(n.tasks) == 0 {
		return
	}
	w.comment(0, "What runs here and, as it seems, on every node. What runs already is adopted.")
	w.line(0, "node_tasks:")
	w.line(1, "tasks:")
	for _, t := range n.tasks {
		if t.Family == "" {
			w.comment(2, "The container %s of %s is no task of ECS: register a task\ndefinition for it. While the container runs, none is started:\n%s:\n  task_definition: '%s@newest'\n  recognise: { images: [%s] }",
				t.Container, t.Image, key(t.Name), t.Name, text(repository(t.Image)+"*"))
			continue
		}
		w.line(2, "%s:", key(t.Name))
		w.line(3, "task_definition: %s", text(t.definition()))
		switch {
		case t.Service != "":
			w.line(3, "mode: service")
			w.line(3, "service: %s", text(t.Service))
		case !t.Asked:
			w.comment(3, "ECS was not asked whether a service runs it. If one does:\nmode: service")
		}
	}
	w.line(0, "")
}

// scheduleName makes a name of a schedule out of any.
func scheduleName(name string, taken map[string]bool) string {
	all := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	base := strings.Join(all, "-")
	base = strings.Trim(base[:min(len(base), 17)], "-") // and a number
	next := orElse(base, "job")
	for i := 2; taken[next]; i++ {
		next = orElse(base, "job") + "-" + strconv.Itoa(i)
	}
	taken[next] = true
	return next
}

// writeJobs writes what could be schedules as such, in comments.
func (n node) writeJobs(w *writer) {
	if len(n.jobs) == 0 {
		return
	}
	w.comment(0, "Jobs of cron that ansible set up. They stay in cron, where cut-over leaves them\nalone. As schedules they would be as follows; take their lines out of cron then.")
	w.comment(0, "schedules:\n  items:")
	taken := map[string]bool{}
	for _, j := range n.jobs {
		of := ""
		if j.User != "" && j.User != "root" {
			of = ", of " + j.User
		}
		name := scheduleName(j.Name, taken)
		if _, err := when.Cron(j.Schedule, time.UTC); err != nil || !w.plain(j.Command) {
			w.comment(0, "    %s: none can be made of %s:%d", name, j.File, j.Line)
			continue
		}
		w.comment(0, "    %s: # %s:%d%s", name, j.File, j.Line, of)
		w.comment(0, "      cron: %s", text(j.Schedule))
		if n.zone != "" {
			w.comment(0, "      timezone: %s", text(n.zone))
		}
		shell := "[/bin/sh, -c, " + text(j.Command) + "]"
		if of != "" {
			shell = "[/usr/sbin/runuser, -u, " + text(j.User) + ", --, /bin/sh, -c, " + text(j.Command) + "]"
		}
		w.comment(0, "      command: %s", shell)
	}
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\uFFFD' {
			return ' '
		}
		return r
	}, s)
}
