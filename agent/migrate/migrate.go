// Package migrate takes a node over from Ansible: it finds what runs ansible on
// the node and what ansible left there, writes a configuration that makes the
// node the same, says what would differ, disables what it replaces, and gives
// every byte of that back.
//
// What it finds is told by pure functions over texts; what it changes is written
// down before, so that it can be killed at any moment. It starts no duty: package
// node gives it what the node is, and what ecsnode would write.
package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aymanbagabas/go-udiff"

	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/render"
)

// Inputs are what is known of a node.
type Inputs struct {
	Disk       Disk
	Facts      render.Inputs
	Registered string // cluster; "": not known to be in one
	Config     string // path of the main configuration file
	Output     string // path of the draft of one
	NodeConfig string // path of the file that containers source
	ECSConfig  string
	Containers []facts.Container
	NoDocker   string // why they are not known; "": they are
	Tasks      []facts.Task
	TasksKnown bool
	Owner      fsx.Owner // of what is made
}

// Report is what a look at a node found.
type Report struct {
	Runs     []Entry    `json:"runs_ansible"`
	Mentions []Entry    `json:"speaks_of_ansible,omitempty"`
	Now      []string   `json:"running_now,omitempty"` // processes
	Jobs     []Job      `json:"other_jobs_of_ansible,omitempty"`
	Config   string     `json:"configuration"` // the draft
	Written  bool       `json:"written"`       // it was written now
	Literals []string   `json:"literals,omitempty"`
	Node     NodeConfig `json:"node_config"`
	ECS      ECSConfig  `json:"ecs_config"`
	Tasks    []NodeTask `json:"node_tasks,omitempty"`
	Others   int        `json:"other_containers"`
	NoDocker string     `json:"no_docker,omitempty"`
	Problems []string   `json:"problems,omitempty"` // what could not be looked at
	// Bundle is the one in effect, whose settings come after the draft's; "": none.
	Bundle string `json:"bundle,omitempty"`
	// Refusals are why cut-over would refuse, --accept-difference apart.
	Refusals []string `json:"refusals,omitempty"`
	Standing *Journal `json:"cut_over,omitempty"`

	in     Inputs
	scan   *scan
	draft  draft
	before []nodeconfig.Assignment
	was    *fsx.Exact // node.config
	hide   bool       // its values are not for people
	use    []byte     // the configuration that counts: the draft as it stands
	mode   fs.FileMode
	tmpl   *fsx.Exact // its template; nil: none
}

// NodeConfig compares node.config as it is with what ecsnode would write.
type NodeConfig struct {
	Path      string     `json:"path"`
	There     bool       `json:"there"`
	Unread    string     `json:"unread,omitempty"`    // why what is there is not understood
	Undone    string     `json:"undone,omitempty"`    // why ecsnode would write nothing
	Variables []Variable `json:"variables,omitempty"` // as a shell sees them
	Diff      string     `json:"diff,omitempty"`      // of the bytes, unified
	Others    []string   `json:"other_files,omitempty"`
}

// Differs reports whether a container notices.
func (n NodeConfig) Differs() bool {
	return n.There && (n.Unread != "" || n.Undone != "") || slices.ContainsFunc(n.Variables, Variable.Differs)
}

// ECSConfig is what others set in ecs.config, and what changes for the agent.
type ECSConfig struct {
	Path    string     `json:"path"`
	Keys    []Key      `json:"outside_of_the_block,omitempty"`
	Changes []Variable `json:"changes,omitempty"`
}

// Look looks at a node. It changes nothing.
func Look(in Inputs) (*Report, error) {
	r := &Report{in: in, Config: in.Output, NoDocker: in.NoDocker, scan: look(in.Disk)}
	r.Runs, r.Mentions, r.Jobs, r.Problems = r.scan.runs, r.scan.mentions, r.scan.jobs, r.scan.problems
	for _, p := range r.Problems {
		r.Refusals = append(r.Refusals, "what may run ansible cannot be looked at: "+p)
	}
	for _, e := range r.scan.edits {
		if _, err := in.Disk.Capture(e.name); err != nil {
			r.Refusals = append(r.Refusals, fmt.Sprintf("%v: disable it by hand", err))
		}
	}
	if _, err := in.Disk.Stat("/proc"); err == nil {
		r.Now = Running(in.Disk)
	}
	var err error
	if r.Standing, err = Standing(in.Disk); err != nil {
		return nil, err
	}
	n := node{
		in: in.Facts, nodeConfig: in.NodeConfig, cluster: r.scan.cluster, registered: in.Registered, jobs: r.Jobs, zone: localZone(in.Disk),
		templateAt: path.Join(path.Dir(in.Config), path.Base(in.NodeConfig)+".tmpl"),
	}
	if err := r.readNodeConfig(&n); err != nil {
		return nil, err
	}
	ecs, err := in.Disk.ReadFile(in.ECSConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Problems = append(r.Problems, err.Error())
	}
	if n.foreign, err = ecsconfig.Outside(ecs); err != nil {
		r.Problems = append(r.Problems, err.Error())
	}
	r.ECS.Path = in.ECSConfig
	n.tasks, r.Others = nodeTasks(in.Containers, in.Tasks, in.TasksKnown)
	r.Tasks = n.tasks
	r.draft = n.write()
	r.ECS.Keys = r.draft.keys
	r.Literals = r.draft.literals
	return r, r.choose(n.templateAt)
}

// localZone is the time zone of the node, by which cron goes; "" is UTC.
func localZone(files fsx.FS) string {
	target, err := files.ReadLink("/etc/localtime")
	if err != nil {
		return ""
	}
	_, zone, _ := strings.Cut(target, "/zoneinfo/")
	if _, err := time.LoadLocation(zone); err != nil || zone == "UTC" || zone == "Etc/UTC" {
		return ""
	}
	return zone
}

// original is a file as it was before the cut-over, if there was one.
func (r *Report) original(kind, name string) (*fsx.Exact, error) {
	if r.Standing != nil {
		for _, c := range r.Standing.Changes {
			if c.Kind == kind && c.Name == name {
				return c.Before.exact(r.in.Disk)
			}
		}
	}
	return r.in.Disk.Capture(name)
}

func (r *Report) readNodeConfig(n *node) error {
	r.Node.Path = r.in.NodeConfig
	dir := path.Dir(r.in.NodeConfig)
	if info, err := r.in.Disk.Stat(dir); err == nil && info.IsDir() {
		n.dirMode = info.Mode()
	}
	var err error
	if r.was, err = r.original(nodeConfigFile, r.in.NodeConfig); err != nil {
		return err
	}
	if r.was != nil && r.was.Mode.Type() == fs.ModeSymlink {
		r.Refusals = append(r.Refusals, fmt.Sprintf("%s is a link to %s, and ecsnode writes a file: put a copy in its place", r.in.NodeConfig, r.was.Target))
		through, leads := &fsx.Exact{Mode: 0o644}, r.was.Target
		if !path.IsAbs(leads) {
			leads = path.Join(dir, leads)
		}
		if through.Data, err = r.in.Disk.ReadFile(leads); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		r.was = through
	}
	if r.was != nil {
		r.Node.There, r.hide = true, r.was.Mode.Perm()&0o004 == 0
		if n.before, n.unread = nodeconfig.Assignments(string(r.was.Data)); n.unread != nil {
			r.Node.Unread = n.unread.Error()
		}
	}
	n.there, r.before = r.was, n.before
	entries, err := r.in.Disk.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Problems = append(r.Problems, err.Error())
	}
	for _, e := range entries {
		if e.Name() != path.Base(r.in.NodeConfig) && !strings.HasPrefix(e.Name(), ".") && len(r.Node.Others) < maxEntries {
			r.Node.Others = append(r.Node.Others, e.Name())
		}
	}
	return nil
}

// choose takes the draft that is there, which the operator may have changed, and
// else the one that is written now.
func (r *Report) choose(templateAt string) error {
	r.use, r.mode = []byte(r.draft.yaml), r.draft.mode
	template := []byte(r.draft.template)
	if r.Standing != nil { // what is installed counts
		if installed, err := r.file(r.in.Config); err != nil || installed != nil {
			if installed != nil {
				r.Config, r.use, r.mode = r.in.Config, installed.Data, installed.Mode.Perm()
			}
			return err
		}
	}
	there, err := r.file(r.in.Output)
	if err != nil {
		return err
	}
	if there != nil {
		r.use, r.mode = there.Data, there.Mode.Perm()
	} else {
		r.Written = true
	}
	beside, err := r.file(r.templateDraft())
	if err != nil {
		return err
	}
	if there != nil && beside != nil {
		template = beside.Data
	}
	if len(template) > 0 && strings.Contains(string(r.use), templateAt) {
		r.tmpl = &fsx.Exact{Mode: 0o644, Data: template, Owner: r.in.Owner}
	}
	for _, one := range []struct {
		name string
		data []byte
		ours bool
	}{{r.in.Config, r.use, true}, {templateAt, template, r.tmpl != nil}} {
		now, err := r.in.Disk.ReadFile(one.name)
		if err == nil && one.ours && string(now) != string(one.data) {
			r.Refusals = append(r.Refusals, fmt.Sprintf("%s is there already and is not the draft: to cut over to it, copy it over %s", one.name, r.draftOf(one.name)))
		}
	}
	return nil
}

// file captures a file that must be no link.
func (r *Report) file(name string) (*fsx.Exact, error) {
	e, err := r.in.Disk.Capture(name)
	if err == nil && e != nil && e.Mode.Type() == fs.ModeSymlink {
		return nil, fmt.Errorf("%s is a link to %s: put a copy in its place", name, e.Target)
	}
	return e, err
}

func (r *Report) templateDraft() string {
	return path.Join(path.Dir(r.in.Output), path.Base(r.in.NodeConfig)+".tmpl.migrated")
}

func (r *Report) draftOf(name string) string {
	if name == r.in.Config {
		return r.in.Output
	}
	return r.templateDraft()
}

func (r *Report) templateAt() string {
	return path.Join(path.Dir(r.in.Config), path.Base(r.in.NodeConfig)+".tmpl")
}

// Install makes a tree of files what it is once the draft counts.
func (r *Report) Install(files fsx.FS) error {
	if r.Config == r.in.Config {
		return nil
	}
	if _, err := files.MkdirAll(path.Dir(r.in.Config), 0o755); err != nil {
		return err
	}
	if r.tmpl != nil {
		if _, err := files.WriteFile(r.templateAt(), r.tmpl.Data, fsx.How{Mode: 0o644}); err != nil {
			return err
		}
	}
	_, err := files.WriteFile(r.in.Config, r.use, fsx.How{Mode: r.mode})
	return err
}

// WriteDraft writes the draft, unless there is one.
func (r *Report) WriteDraft() error {
	if !r.Written {
		return nil
	}
	if _, err := r.in.Disk.MkdirAll(path.Dir(r.in.Output), 0o755); err != nil {
		return err
	}
	if r.tmpl != nil {
		if _, err := r.in.Disk.WriteFile(r.templateDraft(), r.tmpl.Data, fsx.How{Mode: 0o644}); err != nil {
			return err
		}
	}
	_, err := r.in.Disk.WriteFile(r.in.Output, r.use, fsx.How{Mode: r.mode})
	return err
}

// Trial is what ecsnode would write with the draft.
type Trial struct {
	Problems   []string // of the draft: it does not count
	Bundle     string   // that is in effect beside it
	NodeConfig []byte
	NotForAll  bool   // it may hold secrets
	Undone     string // why there is none
	ECSConfig  []byte
}

// Compare puts what ecsnode would write beside what there is.
func (r *Report) Compare(t Trial) {
	for _, p := range t.Problems {
		r.Refusals = append(r.Refusals, "the configuration has a problem: "+p)
	}
	r.Bundle = t.Bundle
	r.Node.Undone, r.hide = t.Undone, r.hide || t.NotForAll
	if t.Undone == "" && len(t.Problems) == 0 {
		r.compareNodeConfig(t.NodeConfig)
	}
	var before []byte
	if e, err := r.original(ecsConfigFile, r.in.ECSConfig); err == nil && e != nil {
		before = e.Data
	}
	if t.ECSConfig != nil {
		r.ECS.Changes = ecsChanges(ecsconfig.Variables(before), ecsconfig.Variables(t.ECSConfig))
	}
	for _, e := range r.Runs {
		if e.Cannot != "" {
			r.Refusals = append(r.Refusals, fmt.Sprintf("%s runs ansible, and %s: disable it by hand", e.place(), e.Cannot))
		}
	}
	for _, p := range r.Now {
		r.Refusals = append(r.Refusals, "ansible runs now ("+p+"): wait until it has ended")
	}
}

func (r *Report) compareNodeConfig(after []byte) {
	next, err := nodeconfig.Assignments(string(after))
	if err != nil {
		r.Node.Undone = err.Error()
		return
	}
	var before []byte
	if r.was != nil {
		before = r.was.Data
	}
	if r.Node.Unread == "" {
		r.Node.Variables = compare(r.before, next)
	}
	r.Node.Diff = udiff.Unified("a"+r.Node.Path, "b"+r.Node.Path, hideSecrets(string(before), r.before), hideSecrets(string(after), next))
	if r.hide {
		r.Node.Diff = "(not shown: the file is not for everybody)\n"
		hidden := "(hidden)"
		for i := range r.Node.Variables {
			v := &r.Node.Variables[i]
			for _, value := range []**string{&v.Before, &v.After} {
				if *value != nil {
					*value = &hidden
				}
			}
		}
	}
}

var assigns = pattern.New(`^(\s*(?:(?:export|readonly)\s+)?([A-Za-z_][A-Za-z0-9_]*)=).*`)

// hideSecrets returns a file for people.
func hideSecrets(text string, all []nodeconfig.Assignment) string {
	for _, a := range all {
		if secret(a.Name) && strings.Contains(a.Value, "\n") {
			return "(not shown: a secret of several lines)\n"
		}
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		body := strings.TrimRight(line, "\r\n")
		if m := assigns.FindStringSubmatch(body); m != nil && secret(m[2]) {
			line = m[1] + "(hidden)" + line[len(body):]
		}
		b.WriteString(line)
	}
	return b.String()
}

// ecsChanges are the variables that the agent gets otherwise than before.
func ecsChanges(before, after map[string]string) (all []Variable) {
	names := slices.Collect(maps.Keys(before))
	names = slices.AppendSeq(names, maps.Keys(after))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		was, had := before[name]
		is, has := after[name]
		v := Variable{Name: name}
		if had {
			v.Before = shown(name, was)
		}
		if has {
			v.After = shown(name, is)
		}
		switch {
		case had && has && was == is:
			continue
		case !had:
			v.State = added
		case !has:
			v.State = missing
		default:
			v.State = changed
		}
		all = append(all, v)
	}
	return all
}

// plan is the cut-over.
func (r *Report) plan() plan {
	p := plan{edits: r.scan.edits, timers: r.scan.timers, nodeConfig: r.in.NodeConfig, ecsConfig: r.in.ECSConfig, create: map[string]fsx.Exact{}}
	at := timeNow()
	put := func(name string, e fsx.Exact) {
		if _, err := r.in.Disk.Stat(name); errors.Is(err, fs.ErrNotExist) {
			e.ModTime, e.Owner = at, r.in.Owner
			p.create[name] = e
		}
	}
	put(r.in.Config, fsx.Exact{Mode: r.mode.Perm(), Data: r.use})
	if r.tmpl != nil {
		put(r.templateAt(), *r.tmpl)
	}
	return p
}

func (e Entry) place() string {
	if e.Line == 0 {
		return e.File
	}
	return fmt.Sprintf("%s:%d", e.File, e.Line)
}
