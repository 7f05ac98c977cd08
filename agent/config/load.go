package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/config/strict"
	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/packages"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Where settings come from on a node.
const (
	Dir  = "/etc/ecsnode"
	Path = Dir + "/ecsnode.yaml"
)

const (
	defaultBudget        = 2 * time.Minute
	defaultEarlyBudget   = 150 * time.Second
	defaultAgentInterval = 30 * time.Second
)

var errChannel = errors.New("a channel is 1 to 64 lower-case letters, digits, dots, hyphens and underscores")

// Loaded is the effective configuration and where it came from.
type Loaded struct {
	Config   Config
	Layers   []string // files that were read, in order
	LeftOut  []string // those of them that are not in effect because of a problem
	Former   []string // those of LeftOut of which the last good content is in effect
	Problems strict.Problems
	Bundle   bundle.Digest // whose settings are in effect; "": the image's and user data's alone

	good   []strict.Layer // in effect
	found  []file         // what all of this was made of
	result *strict.Result
}

// Load reads the file at main, then that of the bundle in effect, and then
// conf.d/*.yaml beside main, in the order of their names, each over the ones
// before. A file with any problem is left out whole and the others count: the
// caller shows Problems. An absent main file is no problem if it is [Path]: a node
// without settings has the defaults.
func Load(files fsx.FS, main string) *Loaded { return (&Loaded{}).Reload(files, main) }

// Reload is Load by a process that has loaded before: of a file that now has a
// problem the last good content stays in effect, so that a slip of the pen does
// not take settings from a running node. If the main file is gone, everything
// stays. Of files that are as they were l itself is returned.
func (l *Loaded) Reload(files fsx.FS, main string) *Loaded {
	found := read(files, main)
	if l.found != nil && slices.EqualFunc(l.found, found, file.same) {
		return l
	}
	all := slices.Clone(found)
	if isIn(main, l.good) && found[0].absent {
		found[0].err = errors.New("the file is gone")
		for _, layer := range l.good { // its siblings may have gone with it
			if !isBundle(layer.Name) && !slices.ContainsFunc(found, func(f file) bool { return f.Name == layer.Name }) {
				found = append(found, file{Layer: layer})
			}
		}
	}
	var layers []strict.Layer
	var unread strict.Problems
	for _, f := range found {
		var problems strict.Problems
		if f.err == nil && isBundle(f.Name) {
			problems = BundleProblems(f.Layer)
		}
		switch {
		case f.err != nil:
			unread = append(unread, strict.Problem{Pos: strict.Pos{File: f.Name, Line: 1, Column: 1}, Message: f.err.Error()})
		case len(problems) > 0:
			unread = append(unread, problems...)
		case !f.absent:
			layers = append(layers, f.Layer)
		}
	}
	now := Merge(layers)
	if len(now.LeftOut)+len(unread) > 0 {
		now = now.withFormer(found, l.good)
	}
	for _, p := range unread {
		if !slices.Contains(now.LeftOut, p.Pos.File) {
			now.Layers = append(now.Layers, p.Pos.File)
			now.LeftOut = append(now.LeftOut, p.Pos.File)
		}
	}
	now.found = all
	now.Problems = append(now.Problems, unread...)
	now.Problems.Sort()
	for _, layer := range now.good {
		if isBundle(layer.Name) {
			now.Bundle = bundle.Digest(path.Base(path.Dir(layer.Name)))
		}
	}
	return now
}

func isBundle(name string) bool { return strings.HasPrefix(name, bundle.Dir+"/") }

// withFormer returns l with the former content of what is left out in effect.
func (l *Loaded) withFormer(found []file, former []strict.Layer) *Loaded {
	var layers []strict.Layer
	var names []string
	for _, f := range found {
		switch {
		case isIn(f.Name, l.good):
			layers = append(layers, f.Layer)
		case isIn(f.Name, former):
			i := slices.IndexFunc(former, func(layer strict.Layer) bool { return layer.Name == f.Name })
			layers, names = append(layers, former[i]), append(names, f.Name)
		}
	}
	with := Merge(layers)
	if len(names) == 0 || len(with.Problems) > 0 {
		return l // the old beside the new is worse than without
	}
	with.Layers, with.LeftOut, with.Problems, with.Former = l.Layers, l.LeftOut, l.Problems, names
	return with
}

func isIn(name string, layers []strict.Layer) bool {
	return slices.ContainsFunc(layers, func(l strict.Layer) bool { return l.Name == name })
}

// file is one that may be a layer.
type file struct {
	strict.Layer
	absent bool // it is not there, and need not be
	err    error
}

// same reports whether f can be read, and is what o is.
func (f file) same(o file) bool {
	return f.Name == o.Name && f.absent == o.absent && f.err == nil && o.err == nil && bytes.Equal(f.Data, o.Data)
}

// bundled returns the settings of the bundle in effect. They have the name that
// says which: what another one said before is never their former content.
func bundled(files fsx.FS) (f file, is bool) {
	target, err := files.ReadLink(bundle.Active)
	if errors.Is(err, fs.ErrNotExist) {
		return f, false
	}
	f.Name = bundle.Active
	if err == nil {
		var digest bundle.Digest
		if digest, err = bundle.ParseDigest(target); err == nil {
			f.Name = path.Join(digest.Path(), bundle.ConfigFile)
			f.Data, err = files.ReadFile(f.Name)
		}
	}
	if err != nil {
		f.err = fmt.Errorf("the bundle cannot be read: %w", err)
		return f, true
	}
	return f, true
}

// read returns the main file, there or not, the bundle's and those beside it.
func read(files fsx.FS, main string) []file {
	names := []string{main}
	confd := path.Join(path.Dir(main), "conf.d")
	var found []file
	entries, err := files.ReadDir(confd)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		found = append(found, file{Layer: strict.Layer{Name: confd}, err: err})
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".yaml") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, path.Join(confd, e.Name()))
		}
	}
	for i, name := range names {
		data, err := files.ReadFile(name)
		f := file{Layer: strict.Layer{Name: name, Data: data}, err: err}
		if errors.Is(err, fs.ErrNotExist) && (name == Path || name != main) {
			f.absent, f.err = true, nil // one of conf.d may go while they are read
		}
		found = slices.Insert(found, i, f)
	}
	if f, is := bundled(files); is {
		found = slices.Insert(found, 1, f)
	}
	return found
}

// Merge decodes layers over the defaults and checks what they say together. A
// layer with a problem is left out, also one that is impossible only beside
// the others: the problem is placed in the file that made it so.
func Merge(layers []strict.Layer) *Loaded {
	l := &Loaded{}
	for _, layer := range layers {
		l.Layers = append(l.Layers, layer.Name)
	}
	for {
		l.Config = Default()
		l.result = strict.Decode(&l.Config, layers...)
		l.Problems = append(l.Problems, l.result.Problems...)
		l.LeftOut = append(l.LeftOut, l.result.LeftOut...)
		l.Problems = append(l.Problems, furtherProblems(layers, l.result)...)
		layers = without(layers, l.result.LeftOut)

		problems := validate(l.Config, l.result)
		l.Problems = append(l.Problems, problems...)
		var bad []string
		for _, p := range problems {
			bad = append(bad, p.Pos.File)
		}
		rest := without(layers, bad)
		if len(rest) == len(layers) {
			break // well, or wrong by default, which a test excludes
		}
		for _, layer := range layers {
			if slices.Contains(bad, layer.Name) {
				l.LeftOut = append(l.LeftOut, layer.Name)
			}
		}
		layers = rest
	}
	l.good = layers
	l.Problems.Sort()
	return l
}

func without(layers []strict.Layer, names []string) []strict.Layer {
	return slices.DeleteFunc(slices.Clone(layers), func(l strict.Layer) bool { return slices.Contains(names, l.Name) })
}

// furtherProblems returns what is impossible in layers that are left out for
// another problem: an operator is told all at once.
func furtherProblems(layers []strict.Layer, decoded *strict.Result) (further strict.Problems) {
	if len(decoded.LeftOut) == 0 {
		return nil
	}
	c := Default()
	attempt := strict.Attempt(&c, layers...)
	for _, p := range validate(c, attempt) {
		known := slices.ContainsFunc(decoded.Problems, func(q strict.Problem) bool { return q.Pos == p.Pos })
		if slices.Contains(decoded.LeftOut, p.Pos.File) && !known {
			further = append(further, p)
		}
	}
	return further
}

// validate reports what the types cannot: impossible combinations.
func validate(c Config, result *strict.Result) (problems strict.Problems) {
	report := func(section string) func(path, message string) {
		return func(path, message string) {
			if section != "" && path != "" {
				path = section + "." + path
			} else {
				path = section + path
			}
			problems = append(problems, result.Problem(path, errors.New(message)))
		}
	}
	c.ECSConfig.Cluster = c.Cluster
	c.Files.Shared = c.NodeConfig.Directory
	c.Bundle.Validate(report("bundle"))
	c.NodeConfig.Validate(report("node_config"))
	c.ECSConfig.Validate(report("ecs_config"))
	c.Instance.Validate(report("instance"))
	c.Volumes.Validate(report("volumes"))
	c.DaemonJSON.Validate(report("daemon_json"))
	c.Packages.Validate(report("packages"))
	c.Parameters.Validate(report("parameters"))
	c.Guard.Validate(report("guard"))
	c.Interruption.Validate(report("interruption"))
	c.Drain.Validate(report("drain"))
	c.Files.Validate(report("files"))
	c.Services.Validate(report("services"))
	c.NodeTasks.Validate(report("node_tasks"))
	afterPackages(c, report("files"))
	c.Schedules.Validate(report("schedules"))
	root := report("")
	misplaced(c, root)
	if problem := ecsconfig.ClusterProblem(c.Cluster); problem != "" {
		root("cluster", problem)
	}
	if d := time.Duration(c.ECSAgent.Interval); d < time.Second {
		root("ecs_agent.interval", fmt.Sprintf("%v is too often: expected at least 1s", d))
	}
	if u := c.ECSAgent.Introspection; u != "" && !strings.HasPrefix(u, "http://") {
		root("ecs_agent.introspection", fmt.Sprintf("%q is no URL of the agent: expected http://HOST:PORT", u))
	}
	if d := time.Duration(c.Boot.Budget); d < time.Second {
		root("boot.budget", fmt.Sprintf("%v is too short: expected at least 1s", d))
	}
	if d := time.Duration(c.Boot.EarlyBudget); d < time.Second {
		root("boot.early_budget", fmt.Sprintf("%v is too short: expected at least 1s", d))
	}
	if d := time.Duration(c.Boot.UnhealthyAfter); d != 0 && d <= time.Duration(c.Boot.Budget) {
		root("boot.unhealthy_after", fmt.Sprintf("%v is too short: expected more than boot.budget (%v), or 0", d, c.Boot.Budget))
	}
	return problems
}

// afterPackages reports files that come after packages that nothing installs.
func afterPackages(c Config, report func(path, message string)) {
	for _, name := range slices.Sorted(maps.Keys(c.Files.Items)) {
		at := strict.Key("items", name) + ".after"
		for _, of := range c.Files.Items[name].Packages() {
			switch want, is := c.Packages.Ensure[of]; {
			case !is:
				report(at, fmt.Sprintf("package %s is not listed under packages.ensure", of))
			case want == packages.Absent:
				report(at, fmt.Sprintf("package %s is to be absent: see packages.ensure", of))
			}
		}
	}
}

// Setting is one effective setting.
type Setting struct {
	Path   string `json:"path"`
	Value  string `json:"value"` // as YAML on one line
	Origin string `json:"from"`  // FILE:LINE:COLUMN, or "default"
	Help   string `json:"help"`
}

// Settings returns every effective setting in the order of their declaration.
func (l *Loaded) Settings() []Setting {
	var out []Setting
	strict.Walk(l.Config, func(s strict.Setting) {
		origin := "default"
		if pos, ok := l.result.Origin(s.Path); ok {
			origin = pos.String()
		}
		out = append(out, Setting{s.Path, strict.FormatValue(s.Value), origin, s.Help})
	})
	return out
}

// Equal reports whether two loads are the same to every reader.
func (l *Loaded) Equal(o *Loaded) bool {
	if l == o {
		return true
	}
	return slices.Equal(l.Settings(), o.Settings()) && slices.Equal(l.Problems, o.Problems) &&
		slices.Equal(l.LeftOut, o.LeftOut) && slices.Equal(l.Former, o.Former) && l.Bundle == o.Bundle
}

// Schema returns the JSON Schema of the configuration.
func Schema() ([]byte, error) {
	return strict.Schema(Default(), "https://github.com/ecsnode/ecsnode/ecsnode.schema.json", "ecsnode configuration")
}
