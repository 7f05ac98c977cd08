package config_test

import (
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/config/strict"
)

func TestWhatABundleMustNotSay(t *testing.T) {
	t.Parallel()
	item := func(name, is string) string { return "files: {items: {" + name + ": {" + is + "}}}" }
	for name, tc := range map[string]struct{ text, says string }{
		"where bundles come from":   {"bundle: {source: 's3://evil'}", "b.yaml:1:9: bundle: a bundle does not say where"},
		"whom to trust":             {"bundle: {keys: [RWQBRcsgLkmHaxD6nAA/1v8iUFP3vkS2PEFOn7YhkD7MtJa7ZG2XS5ST]}", "a bundle does not say where"},
		"that nobody is trusted":    {"bundle: {keys: []}", "a bundle does not say where"},
		"the default of it":         {"bundle: null", "a bundle does not say where"},
		"the default of its keys":   {"bundle: {keys: null}", "a bundle does not say where"},
		"when to look":              {"bundle: {schedule: '0 0 1 1 *'}", "a bundle does not say where"},
		"another channel":           {"channel: beta", "a bundle does not say which channel"},
		"the channel of old":        {"channel: null", "a bundle does not say which channel"},
		"a hold":                    {"hold: for ever", "a bundle does not hold nodes"},
		"its own settings":          {item("/etc/ecsnode/ecsnode.yaml", "literal: ''"), "/etc/ecsnode/ecsnode.yaml belongs to ecsnode"},
		"its own state":             {item("/var/lib/ecsnode/x", "absent: true"), "belongs to ecsnode (/var/lib/ecsnode)"},
		"its status":                {item("/run/ecsnode/status.json", "literal: ''"), "(/run/ecsnode)"},
		"its status, spelt in old":  {item("/var/run/ecsnode/status.json", "literal: ''"), "(/run/ecsnode)"},
		"a directory of its own":    {item("/etc/ecsnode", "directory: true"), "(/etc/ecsnode)"},
		"its binary":                {item("/usr/bin/ecsnode", "literal: ''"), "(the binary)"},
		"its binary, spelt in old":  {item("/bin/ecsnode", "absent: true"), "(the binary)"},
		"its unit":                  {item("/etc/systemd/system/ecsnode.service", "literal: ''"), "(a unit)"},
		"its unit, spelt in old":    {item("/lib/systemd/system/ecsnode-boot.service", "literal: ''"), "(a unit)"},
		"a drop-in of its unit":     {item("/etc/systemd/system/ecsnode.service.d/x.conf", "literal: ''"), "(a unit)"},
		"a drop-in of a prefix":     {item("/etc/systemd/system/ecsnode-.service.d/x.conf", "literal: ''"), "(a unit)"},
		"what starts it":            {item("/etc/systemd/system/multi-user.target.wants/ecsnode.service", "absent: true"), "(a unit)"},
		"what holds ECS back":       {item("/etc/systemd/system/ecs.service.d/50-ecsnode.conf", "link: /dev/null"), "(a unit)"},
		"a link to its settings":    {item("/srv/x", "link: /etc/ecsnode"), "link: /etc/ecsnode belongs"},
		"a relative link there":     {item("/srv/x", "link: ../var/lib/ecsnode"), "/var/lib/ecsnode belongs"},
		"a file beyond a link":      {"files: {items: {/srv/e: {link: /etc}, /srv/e/ecsnode/x: {literal: ''}}}", "/srv/e/ecsnode/x belongs to ecsnode"},
		"a file beyond two links":   {"files: {items: {/srv/e: {link: f}, /srv/f: {link: /}, /srv/e/etc/ecsnode/x: {literal: ''}}}", "belongs to ecsnode"},
		"a link in the place of it": {item("/var/lib", "link: /mnt"), "/var/lib would hide /var/lib/ecsnode"},
		"nothing in its place":      {item("/etc", "absent: true"), "/etc would hide"},
		"a volume over it":          {"volumes: {x: {device: /dev/xvdf, filesystem: xfs, mount_point: /var/lib}}", "volumes.x.mount_point: /var/lib would hide"},
		"a volume in it":            {"volumes: {x: {device: /dev/xvdf, filesystem: xfs, mount_point: /run/ecsnode/jobs}}", "belongs to ecsnode"},
		"node.config in it":         {"node_config: {directory: /etc/ecsnode}", "node_config.directory: /etc/ecsnode belongs"},
		"ecs.config in it":          {"ecs_config: {path: /var/lib/ecsnode/x}", "ecs_config.path: "},
		"its unit stopped":          {"services: {units: {ecsnode.service: {state: stopped}}}", "ecsnode.service belongs to ecsnode"},
		"its unit masked":           {"services: {units: {ecsnode-boot.service: {masked: true}}}", "ecsnode-boot.service belongs"},
		"its unit restarted":        {item("/etc/x", "literal: '', restart: [ecsnode.service]"), "restart[0]: ecsnode.service belongs"},
		"a drop-in of every unit":   {item("/etc/systemd/system/service.d/x.conf", "literal: ''"), "(a unit)"},
		"a volume over its units":   {"volumes: {x: {device: /dev/xvdf, filesystem: xfs, mount_point: /etc/systemd/system}}", "would hide /etc/systemd/system"},
		"a volume over drop-ins":    {"volumes: {x: {device: /dev/xvdf, filesystem: xfs, mount_point: /usr/lib/systemd/system/ecs.service.d}}", "would hide a unit"},
		"no units":                  {item("/etc/systemd/system", "absent: true"), "would hide /etc/systemd/system"},
		"another ecsnode":           {"packages: {ensure: {ecsnode: latest}}", "does not replace ecsnode"},
		"one of another platform":   {"packages: {ensure: {ecsnode.x86_64: latest}}", "does not replace ecsnode"},
		"an old ecsnode":            {"packages: {ensure: {ecsnode-1.0.0-1: present}}", "does not replace ecsnode"},
		"a file, among mistakes":    {"hold: ''\nclutser: web\n" + item("/etc/ecsnode/x", "literal: ''"), "/etc/ecsnode/x belongs"},
	} {
		problems := config.BundleProblems(strict.Layer{Name: "b.yaml", Data: []byte(tc.text + "\n")})
		var all []string
		for _, p := range problems {
			if p.Pos.Line == 0 {
				t.Errorf("%s: no place: %v", name, p)
			}
			all = append(all, p.Error())
		}
		if got := strings.Join(all, "\n"); !strings.Contains(got, tc.says) {
			t.Errorf("%s: got %q, want %s", name, got, tc.says)
		}
	}
}

func TestWhatABundleMaySay(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":           "",
		"a cluster":         "cluster: web",
		"an empty section":  "bundle:\n",
		"files":             "files: {items: {/etc/motd: {literal: hello}, /usr/bin/tool: {literal: ''}, /etc/systemd/system/x.service: {literal: ''}}}",
		"other drop-ins":    "files: {items: {/etc/systemd/system/ecs.service.d/60-limits.conf: {literal: ''}}}",
		"names like its":    "files: {items: {/etc/ecsnodes/x: {literal: ''}, /usr/bin/ecsnode-exporter: {literal: ''}}}",
		"a link":            "files: {items: {/usr/local/bin/python: {link: /usr/bin/python3}, /srv/etc: {link: /etc}}}",
		"a volume":          "volumes: {docker: {device: /dev/xvdcz, filesystem: xfs, mount_point: /var/lib/docker}}",
		"packages":          "packages: {ensure: {ecsnode-exporter: latest, docker: latest}}",
		"a unit's link":     "files: {items: {/etc/systemd/system/multi-user.target.wants/x.service: {link: ../x.service}}}",
		"a service":         "services: {units: {ecsnodes.service: {enabled: true}}}",
		"links in a circle": "files: {items: {/srv/a: {link: /srv/b}, /srv/b: {link: /srv/a}, /srv/a/x: {literal: ''}}}",
	} {
		if problems := config.BundleProblems(strict.Layer{Name: "b.yaml", Data: []byte(text)}); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

// TestEverySettingOfTheImageIsKept: one that is added to the section is looked
// after too.
func TestEverySettingOfTheImageIsKept(t *testing.T) {
	t.Parallel()
	strict.Walk(config.Default(), func(s strict.Setting) {
		if s.Path != "channel" && s.Path != "hold" && !strings.HasPrefix(s.Path, "bundle.") {
			return
		}
		section, key, nested := strings.Cut(s.Path, ".")
		text := section + ": null\n"
		if nested {
			text = section + ": {" + key + ": null}\n"
		}
		if problems := config.BundleProblems(strict.Layer{Name: "b.yaml", Data: []byte(text)}); len(problems) == 0 {
			t.Errorf("a bundle may take away %s", s.Path)
		}
	})
}

func TestABundleIsCheckedWhole(t *testing.T) {
	t.Parallel()
	tree := func(text string) bundle.Tree {
		return bundle.Tree{
			"ecsnode.yaml": {Data: []byte(text)}, "templates/motd": {}, "templates/wrong": {Data: []byte("{{ tga }}")}, "files/app/x": {}, "hooks/drained.d/10": {Mode: 0o755},
		}
	}
	image := strict.Layer{Name: "image.yaml", Data: []byte("volumes: {data: {device: /dev/xvdf, filesystem: xfs, mount_point: /data}}")}
	notExecutable := tree("")
	notExecutable["hooks/drained.d/20"] = bundle.File{Mode: 0o644}
	for name, tc := range map[string]struct {
		tree bundle.Tree
		says []string
	}{
		"well":                               {tree("files: {items: {/etc/motd: {template: motd}, /etc/x: {source: app/x}}}"), nil},
		"nothing":                            {tree(""), nil},
		"a template it lacks":                {tree("files: {items: {/etc/motd: {template: mtod}}}"), []string{`b/ecsnode.yaml:1:39: files.items."/etc/motd".template: the bundle has no templates/mtod`}},
		"a wrong template":                   {tree("files: {items: {/etc/motd: {template: wrong}}}"), []string{"/etc/ecsnode/templates/wrong: function \"tga\" not defined"}},
		"one of the image":                   {tree("node_config: {files: {x: {template: /usr/share/x, format: text}}}"), nil},
		"a template of node.config":          {tree("node_config: {files: {x: {template: motd, format: text}}}"), nil},
		"a template of node.config it lacks": {tree("node_config: {files: {x: {template: mtod, format: text}}}"), []string{`node_config.files.x.template: the bundle has no templates/mtod`}},
		"a file it lacks":                    {tree("files: {items: {/etc/x: {source: app/y}}}"), []string{"the bundle has no files/app/y"}},
		"a hook that cannot be":              {notExecutable, []string{"b/hooks/drained.d/20:1:1: a hook is executable"}},
		"no YAML":                            {tree("files: ["), []string{"b/ecsnode.yaml:1:"}},
		"two mistakes":                       {tree("hold: yes\nclutser: web"), []string{"b/ecsnode.yaml:1:7: hold: a bundle does not hold", "unknown key"}},
		"against the image":                  {tree("volumes: {other: {device: /dev/xvdf, filesystem: xfs, mount_point: /other}}"), []string{"it is the device of data too"}},
	} {
		problems := config.CheckBundle(tc.tree, "b/ecsnode.yaml", image)
		if len(problems) != len(tc.says) {
			t.Errorf("%s: %v", name, problems)
			continue
		}
		for i, says := range tc.says {
			if !strings.Contains(problems[i].Error(), says) {
				t.Errorf("%s: got %v, want %s", name, problems[i], says)
			}
		}
	}
}
