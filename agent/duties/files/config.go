package files

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Config says which files there are, by their paths.
type Config struct {
	Items map[string]File `yaml:"items" help:"Files, directories and symbolic links of the node, by their absolute paths."`
	Splay when.Duration   `yaml:"splay" help:"Units are restarted for a changed file up to this much later, each node at its own time. At boot at once."`

	// Shared is the directory that every container may mount: node_config.directory.
	Shared string `yaml:"-"`
	// Bundle is the directory of the bundle in effect, "" without one.
	Bundle string `yaml:"-"`
}

// File is what is at a path. Exactly one of content, literal, template, source,
// directory, link and absent says what it is.
type File struct {
	Content   *render.Text `yaml:"content" help:"The file's text, a template as in node.config."`
	Literal   *string      `yaml:"literal" help:"The file's text as it stands."`
	Template  string       `yaml:"template" help:"Name below /etc/ecsnode/templates of a template of the text."`
	Source    string       `yaml:"source" help:"Name below /etc/ecsnode/files of a file with the content, of any kind."`
	Directory bool         `yaml:"directory" help:"It is a directory."`
	Link      string       `yaml:"link" help:"It is a symbolic link to this."`
	Absent    bool         `yaml:"absent" help:"There is nothing at the path."`

	Mode    Mode     `yaml:"mode" help:"Permission bits, such as 0644. Default 0644, of a new directory 0755; one that is there keeps its own."`
	Owner   string   `yaml:"owner" help:"User by name or number, of a file with a text or a directory. Default root; a directory that is there keeps its own."`
	Group   string   `yaml:"group" help:"Group by name or number. Default as for the owner."`
	Block   string   `yaml:"block" help:"The text is a block of this name between two marker lines in a file that belongs to somebody else; the rest of it stays as it is."`
	Comment string   `yaml:"comment" help:"What begins a comment in that file. Default #."`
	Check   []string `yaml:"check" help:"Command that must succeed before the text takes effect; {} is a file with the whole new text. The first word is an absolute path."`
	Restart []string `yaml:"restart" help:"Units that are restarted if they run with an older text."`
	Reload  []string `yaml:"reload" help:"Units that are reloaded once the text has changed."`
	After   []string `yaml:"after" help:"Paths of other items, and packages such as package:rsyslog, without which this one is not made."`
	Keep    bool     `yaml:"keep" help:"It stays when it is no longer configured. Otherwise what was there before is restored."`
}

// Mode is permission bits in octal. Zero: the default.
type Mode fs.FileMode

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 8, 32)
	if err != nil || v > 0o777 || v == 0 {
		return fmt.Errorf("%q is no mode of a file", b)
	}
	*m = Mode(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) {
	if m == 0 {
		return nil, nil
	}
	return fmt.Appendf(nil, "%04o", uint32(m)), nil
}

// Expected says what the setting takes.
func (Mode) Expected() string { return `permission bits in octal such as "0644"` }

// SchemaPattern is what a schema can check of it.
func (Mode) SchemaPattern() string { return `^[0-7]{3,4}$|^$` }

// fileMode is m as package fs has it.
func (m Mode) fileMode() fs.FileMode { return fs.FileMode(m) & fs.ModePerm }

// Default has no file.
func Default() Config {
	return Config{Items: map[string]File{}, Splay: when.Duration(5 * time.Minute)}
}

// Where templates and sources are, in the bundle in effect and in baked.
const (
	templateDir = "templates"
	sourceDir   = "files"
	baked       = "/etc/ecsnode"

	TemplateDir = baked + "/" + templateDir
	SourceDir   = baked + "/" + sourceDir
)

// Find returns where a file is that a template or setting names, such as
// templates/motd: in the bundle, or else where the image has its own.
func Find(disk fsx.FS, bundle, name string) (string, error) {
	if bundle != "" {
		at := path.Join(bundle, name)
		if _, err := disk.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			return at, err
		}
	}
	return path.Join(baked, name), nil
}

// ReadSource returns a file below files/, as the template function file has it.
func ReadSource(disk fsx.FS, bundle, name string) ([]byte, error) {
	at, err := Find(disk, bundle, path.Join(sourceDir, name))
	if err != nil {
		return nil, err
	}
	return disk.ReadFile(at)
}

// Others keep these; what ecsnode writes by other settings is not to be written
// twice. Whole trees end in "/".
var reserved = []string{
	"/etc/ecsnode/", "/var/lib/ecsnode/", "/run/ecsnode/", "/etc/ecs/ecs.config", "/etc/docker/daemon.json",
	"/proc/", "/sys/", "/dev/", "/run/systemd/transient/",
}

var (
	unitName  = pattern.New(`^[A-Za-z0-9:_.@\\-]+\.(service|socket|timer|path|mount|target)$`)
	blockName = pattern.New(`^[A-Za-z0-9 _.-]{1,64}$`)
)

// what counts how many of those that say what a path is are set.
func (f File) what() (all []string) {
	for _, one := range []struct {
		name string
		is   bool
	}{
		{"content", f.Content != nil},
		{"literal", f.Literal != nil},
		{"template", f.Template != ""},
		{"source", f.Source != ""},
		{"directory", f.Directory},
		{"link", f.Link != ""},
		{"absent", f.Absent},
	} {
		if one.is {
			all = append(all, one.name)
		}
	}
	return all
}

// hasText reports whether the path is a file with a text of ours.
func (f File) hasText() bool {
	return f.Content != nil || f.Literal != nil || f.Template != "" || f.Source != ""
}

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	for _, name := range slices.Sorted(maps.Keys(c.Items)) {
		f := c.Items[name]
		bad := func(setting, format string, args ...any) {
			report(fmt.Sprintf("items.%q%s", name, setting), fmt.Sprintf(format, args...))
		}
		if why := badPath(name); why != "" {
			bad("", "%s", why)
		}
		switch what := f.what(); {
		case len(what) == 0:
			bad("", "it is not said what it is: expected one of content, literal, template, source, directory, link, absent")
		case len(what) > 1:
			bad("", "%s cannot both be: one of them says what it is", strings.Join(what, " and "))
		}
		if f.Block != "" && !f.hasText() {
			bad(".block", "a block has a text")
		}
		if f.Block != "" && !blockName.MatchString(f.Block) {
			bad(".block", "%q is no name of a block", f.Block)
		}
		for setting, below := range map[string]string{"template": f.Template, "source": f.Source} {
			if below != "" && (!fs.ValidPath(below) || below == ".") {
				bad("."+setting, "%q is no name below its directory", below)
			}
		}
		if !f.hasText() && !f.Directory && f.Owner+f.Group != "" {
			bad(".owner", "only a file with a text and a directory are given an owner")
		}
		if f.Content != nil && f.Content.Calls("secret") && c.NeverSecret(name) {
			bad(".content", "%v", render.ErrSecret)
		}
		if (f.Link != "" || f.Absent) && f.Mode != 0 {
			bad(".mode", "only files and directories have one")
		}
		if len(f.Check) > 0 && (!f.hasText() || !path.IsAbs(f.Check[0])) {
			bad(".check", "expected a command with an absolute path, for a file with a text")
		}
		for _, unit := range slices.Concat(f.Restart, f.Reload) {
			if !unitName.MatchString(unit) {
				bad("", "%q is no name of a unit, such as rsyslog.service", unit)
			}
		}
		for _, other := range f.After {
			if strings.HasPrefix(other, packagePrefix) {
				continue // whoever knows the packages looks at it
			}
			if _, is := c.Items[other]; !is || other == name {
				bad(".after", "%q is no other item", other)
			}
		}
		if cycle := c.cycle(name); cycle != "" {
			bad(".after", "it comes after itself: %s", cycle)
		}
	}
}

// packagePrefix begins what an item comes after that is a package.
const packagePrefix = "package:"

// Packages are the names of the packages without which the item is not made.
func (f File) Packages() (names []string) {
	for _, other := range f.After {
		if name, is := strings.CutPrefix(other, packagePrefix); is {
			names = append(names, name)
		}
	}
	return names
}

func badPath(name string) string {
	switch {
	case !path.IsAbs(name) || path.Clean(name) != name || name == "/" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }):
		return "expected an absolute path without . or .."
	}
	for _, of := range reserved {
		if name == of || strings.HasSuffix(of, "/") && strings.HasPrefix(name+"/", of) {
			return strings.TrimSuffix(of, "/") + " is not written by files"
		}
	}
	return ""
}

// cycle names a way from an item back to itself, or "".
func (c Config) cycle(name string) string {
	seen := map[string]bool{}
	var walk func(at string) []string
	walk = func(at string) []string {
		for _, next := range c.Items[at].After {
			if next == name {
				return []string{at, next}
			}
			if seen[next] {
				continue
			}
			seen[next] = true
			if way := walk(next); way != nil {
				return append([]string{at}, way...)
			}
		}
		return nil
	}
	return strings.Join(walk(name), " after ")
}

// order returns the paths so that each comes after those it names, and after the
// directory that it is in.
func (c Config) order() []string {
	var all []string
	done := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if done[name] {
			return
		}
		done[name] = true
		for _, before := range c.needs(name) {
			add(before)
		}
		all = append(all, name)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Items)) {
		add(name)
	}
	return all
}

// needs are the items without which this one is not made.
func (c Config) needs(name string) []string {
	needs := slices.DeleteFunc(slices.Clone(c.Items[name].After), func(n string) bool { return strings.HasPrefix(n, packagePrefix) })
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		if _, is := c.Items[dir]; is {
			needs = append(needs, dir)
		}
	}
	return needs
}
