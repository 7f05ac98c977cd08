package nodeconfig_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
)

// problems returns what Validate reports, as "path: message".
func problems(c nodeconfig.Config) []string {
	var all []string
	c.Validate(func(path, message string) { all = append(all, path+": "+message) })
	return all
}

func TestTheDefaultIsValid(t *testing.T) {
	t.Parallel()
	if got := problems(nodeconfig.Default()); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestWhatIsValid(t *testing.T) {
	t.Parallel()
	c := nodeconfig.Default()
	c.DirectoryMode = 0o700
	c.Files["app/env"] = file(func(f *nodeconfig.File) {
		f.Template, f.Format = "/etc/ecsnode/app.tmpl", nodeconfig.PlainText
		f.Values["lower_case"] = value("x", nodeconfig.UseDefault, "")
		f.Values["PATH"] = value("/opt/bin", nodeconfig.Fail, "")
		f.Values["NODE_ENV"] = value("x", nodeconfig.UseDefault, "dev")
		f.Values["BASH_ENV"] = value("/dev/null", "", "")
		f.Tags = nodeconfig.Tags{Prefix: "T_", Include: []string{"*", "app:*", "a[b-d]?", "1", "Ä"}, Names: map[string]string{"cost center": "COST_CENTER"}}
	})
	c.Files["app/other"] = file(func(f *nodeconfig.File) { f.Tags = nodeconfig.Tags{Include: []string{"team", "app:role"}} })
	if got := problems(c); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestWhatIsNotValid(t *testing.T) {
	t.Parallel()
	const owned = "belongs to the shells: one of them sets it or refuses to"
	const noName = "is no name of a shell variable: letters, digits and _, and no digit first"
	const badFile = `the name is not a plain path below the directory; expected one such as "node.config" or "app/env"`
	change := func(f func(*nodeconfig.Config)) nodeconfig.Config {
		c := nodeconfig.Default()
		f(&c)
		return c
	}
	of := func(f func(*nodeconfig.File)) nodeconfig.Config {
		return nodeconfig.Config{Directory: "/etc/c", DirectoryMode: 0o755, Files: map[string]nodeconfig.File{"x": file(f)}}
	}
	values := func(v map[string]nodeconfig.Value) nodeconfig.Config {
		return of(func(f *nodeconfig.File) { f.Values = v })
	}
	tags := func(tags nodeconfig.Tags) nodeconfig.Config { return of(func(f *nodeconfig.File) { f.Tags = tags }) }
	x := value("x", nodeconfig.Fail, "")

	for name, c := range map[string]struct {
		config nodeconfig.Config
		want   []string
	}{
		"names that are kept for standard variables": {
			of(func(f *nodeconfig.File) {
				f.Values["NODE_RACK"] = x
				f.Tags = nodeconfig.Tags{Prefix: "NODE_TAG_", Include: []string{"team"}}
			}),
			[]string{
				"files.x.values.NODE_RACK: the name begins with NODE_, which is kept for standard variables; choose another",
				`files.x.tags.prefix: "NODE_TAG_" begins with NODE_, which is kept for standard variables; expected another, such as TAG_`,
			},
		},
		"a tag mapped to a name that is kept": {
			tags(nodeconfig.Tags{Prefix: "TAG_", Names: map[string]string{"rack": "NODE_RACK"}}),
			[]string{`files.x.tags: tag "rack": the variable "NODE_RACK" begins with NODE_, which is kept for standard variables; choose another: name another one for it in tags.names`},
		},
		"a choice of characters without a prefix": {
			tags(nodeconfig.Tags{Include: []string{"team[12]"}}),
			[]string{"files.x.tags.prefix: a pattern needs a prefix: without one, whoever may set a tag could set any variable"},
		},
		"an escaped character without a prefix": {
			tags(nodeconfig.Tags{Include: []string{`te\am`}}),
			[]string{"files.x.tags.prefix: a pattern needs a prefix: without one, whoever may set a tag could set any variable"},
		},
		"a relative directory": {
			change(func(c *nodeconfig.Config) { c.Directory = "etc/c" }),
			[]string{`directory: "etc/c" is not a plain absolute path; expected one such as /etc/container_config`},
		},
		"a directory with dots": {
			change(func(c *nodeconfig.Config) { c.Directory = "/etc/../c" }),
			[]string{`directory: "/etc/../c" is not a plain absolute path; expected one such as /etc/container_config`},
		},
		"no directory": {
			change(func(c *nodeconfig.Config) { c.Directory = "" }),
			[]string{`directory: "" is not a plain absolute path; expected one such as /etc/container_config`},
		},
		"a directory that is everybody's": {
			change(func(c *nodeconfig.Config) { c.Directory = "/etc" }),
			[]string{`directory: /etc is not a directory of its own; expected one below, such as /etc/container_config`},
		},
		"modes": {change(func(c *nodeconfig.Config) {
			c.DirectoryMode = 0o777
			c.Files["node.config"] = file(func(f *nodeconfig.File) { f.Mode = 0o044 })
		}), []string{
			"directory_mode: 0777 lets anybody write what containers run; expected one such as 0755",
			`files."node.config".mode: 0044 keeps its own owner out; expected one such as 0644`,
		}},
		"zero modes": {nodeconfig.Config{Directory: "/etc/c", Files: map[string]nodeconfig.File{"x": {}}}, []string{
			"directory_mode: 0000 keeps its own owner out; expected one such as 0755",
			"files.x.mode: 0000 keeps its own owner out; expected one such as 0644",
		}},
		"names of files": {change(func(c *nodeconfig.Config) {
			for _, name := range []string{"", ".", "..", "../x", "/x", "a//b", "a/", "a\nb", "./a"} {
				c.Files[name] = c.Files["node.config"]
			}
		}), []string{
			`files."": ` + badFile, `files.".": ` + badFile, `files."..": ` + badFile, `files."../x": ` + badFile, `files."./a": ` + badFile,
			`files."/x": ` + badFile, `files."a\nb": ` + badFile, `files."a/": ` + badFile, `files."a//b": ` + badFile,
		}},
		"a file below a file": {
			change(func(c *nodeconfig.Config) { c.Files["node.config/a/b"] = c.Files["node.config"] }),
			[]string{`files."node.config/a/b": "node.config" is a file, so nothing can be below it`},
		},
		"templates": {change(func(c *nodeconfig.Config) {
			c.Files["relative"] = file(func(f *nodeconfig.File) { f.Template = "../x.tmpl" })
			c.Files["text"] = file(func(f *nodeconfig.File) { f.Format = nodeconfig.PlainText })
		}), []string{
			`files.relative.template: "../x.tmpl" is neither the name of a file below templates/ nor an absolute path`,
			"files.text.template: format text needs a template: the built-in one writes for shells",
		}},
		"names of values": {values(map[string]nodeconfig.Value{"": x, "1A": x, "A-B": x, "Ä": x, "NODE_REGION": x, "UID": x, "BASH_VERSION": x, "_": x}), []string{
			`files.x.values."": the name ` + noName, "files.x.values.1A: the name " + noName, "files.x.values.A-B: the name " + noName,
			"files.x.values.BASH_VERSION: the name " + owned, "files.x.values.NODE_REGION: the name is taken by a standard variable",
			"files.x.values.UID: the name " + owned, "files.x.values._: the name " + owned, `files.x.values."Ä": the name ` + noName,
		}},
		"values": {values(map[string]nodeconfig.Value{"EMPTY": {}, "UNUSED": value("x", nodeconfig.UseEmpty, "dev")}), []string{
			`files.x.values.EMPTY.value: there is none; expected text or a template such as '{{ tag "env" }}'`,
			"files.x.values.UNUSED.default: it is used under missing: default only",
		}},
		"bad patterns": {tags(nodeconfig.Tags{Prefix: "TAG_", Include: []string{"ok*", "", "a[", `b\`}}), []string{
			`files.x.tags.include[1]: "" is neither a tag key nor a pattern; expected one such as "team" or "app:*"`,
			`files.x.tags.include[2]: "a[" is neither a tag key nor a pattern; expected one such as "team" or "app:*"`,
			`files.x.tags.include[3]: "b\\" is neither a tag key nor a pattern; expected one such as "team" or "app:*"`,
		}},
		"a pattern without a prefix": {
			tags(nodeconfig.Tags{Include: []string{"app:?"}}),
			[]string{"files.x.tags.prefix: a pattern needs a prefix: without one, whoever may set a tag could set any variable"},
		},
		"a prefix that is no name": {
			tags(nodeconfig.Tags{Prefix: "1-", Include: []string{"a"}}),
			[]string{`files.x.tags.prefix: "1-" cannot start the name of a shell variable; expected letters, digits and _, and no digit first`},
		},
		"keys that collide whatever the tags": {tags(nodeconfig.Tags{Prefix: "TAG_", Include: []string{"a b", "a-b"}, Names: map[string]string{"p": "PATH", "r": "NODE_REGION", "n": "a-b"}}), []string{
			`files.x.tags: TAG_A_B: tag "a b" and tag "a-b" share the name: give one another name in tags.names`,
			`files.x.tags: tag "n": the variable "a-b" ` + noName + ": name another one for it in tags.names",
			`files.x.tags: tag "p": the variable "PATH" tells shells or the dynamic linker what to run, which is not for whoever may set a tag: name another one for it in tags.names`,
			`files.x.tags: NODE_REGION: a standard variable and tag "r" share the name: give one another name in tags.names`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, problems(c.config)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
