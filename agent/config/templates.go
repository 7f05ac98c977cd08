package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/config/strict"
	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/render"
)

// calls is a setting that is a template.
type calls interface{ Calls(function string) bool }

// misplaced reports templates that ask where they will get nothing: for a secret
// in what others may read, and for anything that has to be fetched in a message
// that is made once.
func misplaced(c Config, report func(path, message string)) {
	const authData = "ecs_config.settings.ECS_ENGINE_AUTH_DATA"
	if _, set := c.ECSConfig.Settings["ECS_ENGINE_AUTH_DATA"]; set && path.Dir(c.ECSConfig.Path) == path.Clean(c.NodeConfig.Directory) {
		report(authData, "ecs_config.path is in the directory that every container may mount: "+render.ErrSecret.Error())
	}
	strict.Walk(c, func(s strict.Setting) {
		t, is := s.Value.(calls)
		switch {
		case !is || strings.HasPrefix(s.Path, "files."): // says so itself
		case strings.HasPrefix(s.Path, "drain.webhook."):
			for _, function := range []string{"ssm", "ssmTree", "secret", "file"} {
				if t.Calls(function) {
					report(s.Path, function+" has no value in a message: expected tags and fields of the node")
				}
			}
		case t.Calls("secret") && s.Path != authData:
			report(s.Path, render.ErrSecret.Error())
		}
	})
}

// Reader reads files: an fsx.FS, or a bundle that is not on a node yet.
type Reader interface {
	ReadFile(name string) ([]byte, error)
}

// readFirst reads a file of the bundle in effect, or of that name in [Dir]. An
// absolute name is a file of the node.
func (l *Loaded) readFirst(disk Reader, name string) (data []byte, at string, err error) {
	at = name
	if !path.IsAbs(name) {
		if dir := l.BundleDir(); dir != "" {
			at = path.Join(dir, name)
			if data, err = disk.ReadFile(at); !errors.Is(err, fs.ErrNotExist) {
				return data, at, err
			}
		}
		at = path.Join(Dir, name)
	}
	data, err = disk.ReadFile(at)
	return data, at, err
}

// BundleDir is where the bundle is whose settings are in effect, "" without one.
func (l *Loaded) BundleDir() string {
	if l.Bundle == "" {
		return ""
	}
	return l.Bundle.Path()
}

// CheckTemplates reads the templates that the configuration names and returns
// what is wrong with them. The node reads them when it renders, and leaves out
// nothing but the file that one is for.
func (l *Loaded) CheckTemplates(disk Reader) (problems strict.Problems) {
	l.eachTemplate(disk, func(setting string, _ *render.Template, err error) {
		if err != nil {
			problems = append(problems, l.result.Problem(setting, err))
		}
	})
	l.eachSource(func(setting, name string) {
		if _, _, err := l.readFirst(disk, name); err != nil {
			problems = append(problems, l.result.Problem(setting, err))
		}
	})
	problems.Sort()
	return problems
}

// eachTemplate calls visit for each file that the configuration names as a
// template, with what is wrong with it.
func (l *Loaded) eachTemplate(disk Reader, visit func(setting string, t *render.Template, err error)) {
	look := func(setting, name string, parse func(source string) (*render.Template, error)) {
		source, name, err := l.readFirst(disk, name)
		var t *render.Template
		if err == nil {
			if t, err = parse(string(source)); err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
		}
		visit(setting, t, err)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Config.Files.Items)) {
		f := l.Config.Files.Items[name]
		if f.Template == "" {
			continue
		}
		look(strict.Key("files.items", name)+".template", path.Join(bundle.TemplateDir, f.Template), func(source string) (*render.Template, error) {
			t, err := render.Parse(f.Template, source, struct{}{})
			if err == nil && t.Calls("secret") && l.Config.Files.NeverSecret(name) {
				err = render.ErrSecret
			}
			return t, err
		})
	}
	for _, name := range slices.Sorted(maps.Keys(l.Config.NodeConfig.Files)) {
		f := l.Config.NodeConfig.Files[name]
		if f.Template == "" {
			continue
		}
		at := f.Template
		if !path.IsAbs(at) {
			at = path.Join(bundle.TemplateDir, at)
		}
		look(strict.Key("node_config.files", name)+".template", at, func(source string) (*render.Template, error) {
			t, err := nodeconfig.ParseTemplate(f, source)
			if err == nil && t.Calls("secret") {
				err = errors.New("a secret cannot be in what every container reads")
			}
			return t, err
		})
	}
}

func (l *Loaded) eachSource(visit func(setting, name string)) {
	for _, name := range slices.Sorted(maps.Keys(l.Config.Files.Items)) {
		if f := l.Config.Files.Items[name]; f.Template == "" && f.Source != "" {
			visit(strict.Key("files.items", name)+".source", path.Join(bundle.FileDir, f.Source))
		}
	}
}

// Asks returns what the settings, and the templates they name, ask of Parameter
// Store and Secrets Manager. Templates that cannot be read are an error: what
// they ask is not known.
func (l *Loaded) Asks(disk Reader) (asks render.Asks, err error) {
	strict.Walk(l.Config, func(s strict.Setting) {
		switch t := s.Value.(type) {
		case *render.Text:
			if t != nil {
				asks = asks.Add(t.Asks())
			}
		case interface{ Asks() render.Asks }:
			asks = asks.Add(t.Asks())
		}
	})
	var problems strict.Problems
	l.eachTemplate(disk, func(setting string, t *render.Template, err error) {
		if err != nil {
			problems = append(problems, l.result.Problem(setting, err))
			return
		}
		asks = asks.Add(t.Asks())
	})
	if len(problems) > 0 {
		problems.Sort()
		return asks, problems
	}
	return asks, nil
}
