package config

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/config/strict"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// A bundle is as good as root: its hooks run. What stands here keeps one that
// was made by mistake from taking the node out of reach of the next one; it does
// not make a signature of somebody evil harmless.

// CheckBundle returns all that is wrong with the settings of a bundle, as a node
// would find it: what it must not say, what is wrong by itself or beside the
// files of the image, and what it names and does not have. name is how problems
// show its settings.
func CheckBundle(tree bundle.Tree, name string, image ...strict.Layer) strict.Problems {
	layer := strict.Layer{Name: name, Data: tree[bundle.ConfigFile].Data}
	layers := append(slices.Clone(image), layer)
	problems := append(BundleProblems(layer), Merge(layers).Problems...)
	whole := &Loaded{Config: Default()} // also beside other problems
	whole.result = strict.Attempt(&whole.Config, layers...)
	for _, p := range whole.CheckTemplates(unpacked(tree)) {
		if p.Pos.File == name { // those of the image are not here
			problems = append(problems, p)
		}
	}
	for file, f := range tree {
		if strings.HasPrefix(file, bundle.HookDir+"/") && f.Mode&0o111 == 0 {
			problems = append(problems, strict.Problem{
				Pos: strict.Pos{File: path.Join(path.Dir(name), file), Line: 1, Column: 1}, Message: "a hook is executable: chmod +x",
			})
		}
	}
	problems.Sort()
	return problems
}

// unpacked is a bundle as the node reads it. What it does not have may be the
// image's, apart from what only bundles bring.
type unpacked bundle.Tree

// ReadFile implements Reader.
func (u unpacked) ReadFile(name string) ([]byte, error) {
	below, is := strings.CutPrefix(name, Dir+"/")
	if !is {
		return nil, nil
	}
	f, is := u[below]
	if !is {
		return nil, fmt.Errorf("the bundle has no %s", below)
	}
	return f.Data, nil
}

// WithBundle returns the settings that would be in effect beside main, the main
// file, if the bundle were, and who reads the files that they name.
func (l *Loaded) WithBundle(tree bundle.Tree, name, main string, disk Reader) (*Loaded, Reader) {
	layers := slices.DeleteFunc(slices.Clone(l.good), func(layer strict.Layer) bool { return isBundle(layer.Name) })
	at := 0
	if len(layers) > 0 && layers[0].Name == main {
		at = 1
	}
	return Merge(slices.Insert(layers, at, strict.Layer{Name: name, Data: tree[bundle.ConfigFile].Data})), over{tree, disk}
}

// over is a bundle over the files of the image.
type over struct {
	bundle.Tree
	image Reader
}

// ReadFile implements Reader.
func (o over) ReadFile(name string) ([]byte, error) {
	if below, is := strings.CutPrefix(name, Dir+"/"); is {
		if f, is := o.Tree[below]; is {
			return f.Data, nil
		}
	}
	return o.image.ReadFile(name)
}

// BundleProblems returns what a bundle's settings must not say: where bundles come
// from and whom to trust, that the node is held, and anything that would be
// written over what ecsnode is and knows. A layer that cannot be decoded has
// the problems that Merge finds.
func BundleProblems(layer strict.Layer) (problems strict.Problems) {
	before, c := Default(), Default()
	strict.Decode(&before, beneath)
	result := strict.Attempt(&c, beneath, layer)
	report := func(path, format string, args ...any) {
		p := result.Problem(path, fmt.Errorf(format, args...))
		if p.Pos.File != layer.Name { // it takes away what is beneath, by a null
			p.Pos = strict.Pos{File: layer.Name, Line: 1, Column: 1}
		}
		problems = append(problems, p)
	}
	if !reflect.DeepEqual(c.Bundle, before.Bundle) {
		report("bundle", "a bundle does not say where bundles come from, and whose are trusted: only the image and user data do")
	}
	if c.Channel != before.Channel {
		report("channel", "a bundle does not say which channel a node follows")
	}
	if c.Hold != before.Hold {
		report("hold", "a bundle does not hold nodes: they would not take the next one")
	}
	c.writes(report)
	problems.Sort()
	return problems
}

// beneath stands for the files of an image: no setting of it has its default, so
// that a null shows too.
var beneath = strict.Layer{Name: "image", Data: []byte(`
channel: image
hold: image
bundle:
  source: s3://image
  region: aa-image-1
  keys: [RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3]
  channels: [image]
  schedule: 1 2 3 4 *
  splay: 5s
  keep: 6
  watch: 7m
  expired: hold
`)}

// writes reports each path that belongs to ecsnode.
func (c Config) writes(report func(path, format string, args ...any)) {
	ours := func(setting, name string) {
		if of := owned(c.through(name)); of != "" {
			report(setting, "%s belongs to ecsnode (%s): a bundle does not write there", name, of)
		}
	}
	over := func(setting, name string) {
		ours(setting, name)
		if of := hides(name); of != "" {
			report(setting, "%s would hide %s, which belongs to ecsnode", name, of)
		}
	}
	ours("ecs_config.path", c.ECSConfig.Path)
	ours("node_config.directory", c.NodeConfig.Directory)
	for name := range c.NodeConfig.Files {
		ours(strict.Key("node_config.files", name), path.Join(c.NodeConfig.Directory, name))
	}
	for name, v := range c.Volumes {
		at := strict.Key("volumes", name) + ".mount_point"
		over(at, v.MountPoint)
		if hides(v.MountPoint) == "" && slices.ContainsFunc(unitDirs, func(dir string) bool { return within(plain(v.MountPoint), dir+"/system") }) {
			report(at, "%s would hide a unit, which may be ecsnode's", v.MountPoint)
		}
	}
	for name, f := range c.Files.Items {
		at := strict.Key("files.items", name)
		ours(at, name)
		if f.Absent || f.Link != "" {
			over(at, name)
		}
		if f.Link != "" {
			ours(at+".link", leads(name, f.Link))
		}
		for i, unit := range f.Restart {
			notOurs(report, strict.Index(at+".restart", i), unit)
		}
		for i, unit := range f.Reload {
			notOurs(report, strict.Index(at+".reload", i), unit)
		}
	}
	for unit := range c.Services.Units {
		notOurs(report, strict.Key("services.units", unit), unit)
	}
	for name := range c.Packages.Ensure {
		if ownPackage.MatchString(name) {
			report(strict.Key("packages.ensure", name), "a bundle does not replace ecsnode itself")
		}
	}
}

// through is where a path leads by the links that the bundle itself makes.
func (c Config) through(name string) string {
	const most = 40 // as Linux has it
	for range most {
		next := name
		for dir := path.Dir(name); dir != "/" && dir != "."; dir = path.Dir(dir) {
			if f := c.Files.Items[dir]; f.Link != "" {
				next = leads(dir, f.Link) + strings.TrimPrefix(name, dir)
			}
		}
		if next == name {
			break
		}
		name = path.Clean(next)
	}
	return name
}

// leads is where a symbolic link leads to.
func leads(name, to string) string {
	if path.IsAbs(to) {
		return path.Clean(to)
	}
	return path.Join(path.Dir(name), to)
}

var (
	ownUnit = pattern.New(`^ecsnode([-@.].*)?$`)
	// As dnf takes a name: with its architecture, or a version too.
	ownPackage = pattern.New(`^ecsnode([.]|-[0-9]|$)`)
)

func notOurs(report func(path, format string, args ...any), setting, unit string) {
	if ownUnit.MatchString(unit) {
		report(setting, "%s belongs to ecsnode: a bundle leaves it alone", unit)
	}
}

// ownDirs are ecsnode's alone.
var ownDirs = []string{"/etc/ecsnode", "/var/lib/ecsnode", "/run/ecsnode"}

// binaryDirs are where the binary may be, and unitDirs where systemd looks for
// units (systemd.unit(5)) and for settings of its own daemons.
var (
	binaryDirs = []string{"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"}
	unitDirs   = []string{
		"/etc/systemd", "/run/systemd", "/usr/lib/systemd", "/usr/local/lib/systemd",
	}
)

// links are those of Amazon Linux 2023 by which a path has a second spelling.
var links = []struct{ from, to string }{
	{"/bin", "/usr/bin"},
	{"/sbin", "/usr/sbin"},
	{"/lib", "/usr/lib"},
	{"/lib64", "/usr/lib64"},
	{"/var/run", "/run"},
}

// plain is the one spelling of a path.
func plain(name string) string {
	name = path.Clean(name)
	for _, l := range links {
		if name == l.from || strings.HasPrefix(name, l.from+"/") {
			return l.to + strings.TrimPrefix(name, l.from)
		}
	}
	return name
}

// owned says what of ecsnode's is at the path, or "".
func owned(name string) string {
	name = plain(name)
	for _, dir := range ownDirs {
		if within(name, dir) {
			return dir
		}
	}
	for _, dir := range binaryDirs {
		if name == dir+"/ecsnode" {
			return "the binary"
		}
	}
	for _, dir := range unitDirs {
		if !within(name, dir) {
			continue
		}
		// A unit, a directory of its drop-ins, a link in a target's .wants, and the
		// drop-ins by which ecsnode holds others back.
		for part := range strings.SplitSeq(strings.TrimPrefix(name, dir), "/") {
			// service.d has drop-ins of every service.
			if stem, _, _ := strings.Cut(part, ".d"); part == "service.d" || ownUnit.MatchString(stem) || strings.HasSuffix(part, "-ecsnode.conf") {
				return "a unit"
			}
		}
	}
	return ""
}

// hides says which of ecsnode's directories is below the path, or "".
func hides(name string) string {
	name = plain(name)
	all := slices.Concat(ownDirs, binaryDirs)
	for _, dir := range unitDirs {
		all = append(all, dir, dir+"/system")
	}
	for _, dir := range all {
		if within(dir, name) {
			return dir
		}
	}
	return ""
}

func within(name, dir string) bool {
	return name == dir || dir == "/" || strings.HasPrefix(name, dir+"/")
}
