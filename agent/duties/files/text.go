package files

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
)

// parsed is a template and what it was made from.
type parsed struct {
	source   []byte
	template *render.Template
	err      error
}

// text renders the text of an item.
func (p *pass) text(name string, f File) ([]byte, error) {
	switch {
	case f.Literal != nil:
		return []byte(*f.Literal), nil
	case f.Source != "":
		return ReadSource(p.FS, p.config.Bundle, f.Source)
	}
	in := p.in
	in.Secrets = p.config.mayHoldSecrets(name) && p.leads(path.Dir(name)) != p.leads(p.config.Shared)
	var text string
	var err error
	if f.Content != nil {
		text, err = f.Content.Render(in)
	} else {
		var t *render.Template
		if t, err = p.template(f.Template); err == nil {
			text, err = t.Render(in, struct{}{})
		}
	}
	p.secret[name] = in.Trace.Secret()
	switch {
	case errors.Is(err, facts.ErrUnavailable):
		return nil, duty.WaitingFor("%s: %w", name, err)
	case err != nil:
		return nil, fmt.Errorf("cannot make %s: %w", name, err)
	}
	return []byte(text), nil
}

// template parses a template's file if it has changed.
func (p *pass) template(file string) (*render.Template, error) {
	at, err := Find(p.FS, p.config.Bundle, path.Join(templateDir, file))
	if err != nil {
		return nil, err
	}
	source, err := p.FS.ReadFile(at)
	if err != nil {
		return nil, err
	}
	if known, ok := p.parsed[file]; ok && bytes.Equal(known.source, source) {
		return known.template, known.err
	}
	t, err := render.Parse(file, string(source), struct{}{})
	if err != nil {
		err = fmt.Errorf("template %s: %w", at, err)
	}
	if p.parsed == nil {
		p.Duty.parsed = map[string]parsed{}
	}
	p.parsed[file] = parsed{source, t, err}
	return t, err
}

// mayHoldSecrets reports whether a secret may be in an item's text: only who may
// read it can, and it is not where every container looks.
//
// Also a block, in a file of others, must say its mode: else who opens the file
// later would show it.
func (c Config) mayHoldSecrets(name string) bool {
	mode := c.Items[name].Mode.fileMode()
	return mode != 0 && mode&^0o640 == 0 && path.Dir(name) != c.Shared
}

// NeverSecret reports whether no secret may be in an item's text, whatever is at
// its path.
func (c Config) NeverSecret(name string) bool { return !c.mayHoldSecrets(name) }

// leads is a directory by a path without links, as far as it is there.
func (p *pass) leads(dir string) string {
	const most = 40 // links, as Linux has it
	for range most {
		next := ""
		at := "/"
		for _, part := range strings.Split(strings.Trim(dir, "/"), "/") {
			at = path.Join(at, part)
			target, err := p.FS.ReadLink(at)
			if err != nil {
				continue // no link, or not there
			}
			if !path.IsAbs(target) {
				target = path.Join(path.Dir(at), target)
			}
			next = path.Join(target, strings.TrimPrefix(dir, at))
			break
		}
		if next == "" {
			break
		}
		dir = next
	}
	return path.Clean(dir)
}
