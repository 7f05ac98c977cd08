package files

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
)

// parsed is a template and what it was made from.
type parsed struct {
	source   []byte
	template *render.Template
}

// text renders the text of an item, at whose path now is.
func (p *pass) text(name string, f File, now was) ([]byte, error) {
	switch {
	case f.Literal != nil:
		return []byte(*f.Literal), nil
	case f.Source != "":
		return p.FS.ReadFile(path.Join(SourceDir, f.Source))
	}
	in := p.in
	in.Secrets = p.config.mayHoldSecrets(name, now)
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
	source, err := p.FS.ReadFile(path.Join(TemplateDir, file))
	if err != nil {
		return nil, err
	}
	if known, ok := p.parsed[file]; ok && bytes.Equal(known.source, source) {
		return known.template, nil
	}
	t, err := render.Parse(file, string(source), struct{}{})
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", path.Join(TemplateDir, file), err)
	}
	if p.parsed == nil {
		p.Duty.parsed = map[string]parsed{}
	}
	p.parsed[file] = parsed{source, t}
	return t, nil
}

// mayHoldSecrets reports whether a secret may be in an item's text: only who may
// read it can, and it is not where every container looks.
func (c Config) mayHoldSecrets(name string, now was) bool {
	mode := c.Items[name].Mode.fileMode()
	if mode == 0 && c.Items[name].Block != "" && now.Kind == aFile {
		mode = fs.FileMode(now.Mode)
	}
	return mode != 0 && mode&^0o640 == 0 && path.Dir(name) != c.Shared
}

// NeverSecret reports whether no secret may be in an item's text, whatever is at
// its path.
func (c Config) NeverSecret(name string) bool {
	return !c.mayHoldSecrets(name, was{Kind: aFile, Mode: 0o600})
}
