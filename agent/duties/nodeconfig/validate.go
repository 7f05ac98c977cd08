package nodeconfig

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Validate reports what is wrong with the settings taken together, each with
// its path below this section.
func (c Config) Validate(report func(path, message string)) {
	switch {
	case !path.IsAbs(c.Directory) || path.Clean(c.Directory) != c.Directory:
		report("directory", fmt.Sprintf("%q is not a plain absolute path; expected one such as /etc/container_config", c.Directory))
	case strings.Count(c.Directory, "/") < 2:
		report("directory", c.Directory+" is not a directory of its own; expected one below, such as /etc/container_config")
	}
	if why := refuseMode(c.DirectoryMode, 0o500, 0o755); why != "" {
		report("directory_mode", why)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		at := key("files", name)
		if why := refuseFileName(name); why != "" {
			report(at, why)
		} else if over, ok := c.fileAbove(name); ok {
			report(at, fmt.Sprintf("%q is a file, so nothing can be below it", over))
		}
		c.Files[name].validate(func(path, message string) { report(at+"."+path, message) })
	}
}

// fileAbove returns the file that stands where name needs a directory.
func (c Config) fileAbove(name string) (string, bool) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := c.Files[dir]; ok {
			return dir, true
		}
	}
	return "", false
}

func refuseFileName(name string) string {
	if name == "." || !fs.ValidPath(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return `the name is not a plain path below the directory; expected one such as "node.config" or "app/env"`
	}
	return ""
}

// refuseMode says why a mode is no good: it lacks what is needed, or lets
// anybody write what containers source.
func refuseMode(mode, needed, usual fsx.Mode) string {
	switch {
	case mode&needed != needed:
		return fmt.Sprintf("%s keeps its own owner out; expected one such as %s", mode, usual)
	case mode&0o002 != 0:
		return fmt.Sprintf("%s lets anybody write what containers run; expected one such as %s", mode, usual)
	}
	return ""
}

func (f File) validate(report func(path, message string)) {
	if f.Template != "" && !path.IsAbs(f.Template) && (!fs.ValidPath(f.Template) || f.Template == ".") {
		report("template", fmt.Sprintf("%q is neither the name of a file below templates/ nor an absolute path", f.Template))
	}
	if f.Format == PlainText && f.Template == "" {
		report("template", "format text needs a template: the built-in one writes for shells")
	}
	if why := refuseMode(f.Mode, 0o400, 0o644); why != "" {
		report("mode", why)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		f.Values[name].validate(name, func(path, message string) { report(key("values", name)+path, message) })
	}
	f.validateTags(report)
}

func (v Value) validate(name string, report func(path, message string)) {
	if why := refuseValueName(name); why != "" {
		report("", "the name "+why)
	}
	if v.Value.IsZero() {
		report(".value", `there is none; expected text or a template such as '{{ tag "env" }}'`)
	}
	if v.Default != "" && v.Missing != UseDefault {
		report(".default", "it is used under missing: default only")
	}
}

// validateTags reports what can be known before there are tags: patterns, and
// the variables of the keys that are listed one by one.
func (f File) validateTags(report func(path, message string)) {
	for i, pattern := range f.Tags.Include {
		if _, err := matches(pattern, ""); err != nil || pattern == "" {
			report("tags.include["+strconv.Itoa(i)+"]", fmt.Sprintf(`%q is neither a tag key nor a pattern; expected one such as "team" or "app:*"`, pattern))
		}
	}
	switch p := f.Tags.Prefix; {
	case p == "" && f.Tags.hasPattern():
		report("tags.prefix", patternNeedsPrefix)
		return
	case p != "" && !isName(p):
		report("tags.prefix", fmt.Sprintf("%q cannot start the name of a shell variable; expected letters, digits and _, and no digit first", p))
		return
	}
	if strings.HasPrefix(f.Tags.Prefix, reserved) {
		report("tags.prefix", fmt.Sprintf("%q begins with %s, which is kept for standard variables; expected another, such as %s", f.Tags.Prefix, reserved, defaultPrefix))
		return
	}
	listed := facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{}}
	for _, key := range f.Tags.expected() {
		listed.Values[key] = ""
	}
	c := newCollected(f)
	c.addTags(f.Tags, listed)
	for _, err := range c.problems {
		report("tags", err.Error())
	}
}

// key returns the path of an entry of a map: files."node.config".
func key(parent, name string) string {
	plain := name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
	if !plain {
		name = strconv.Quote(name)
	}
	return parent + "." + name
}
