// Package nodeconfig tells containers what the node is: it keeps node.config,
// and any other file of its directory, rendered from facts.
//
// A file for shells is read back before it is written: it assigns literal
// values and does nothing else, and every value in it is byte for byte what
// the facts hold. While a file cannot be rendered the last good one stays. A
// file that is taken out of the configuration is left where it is.
package nodeconfig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
)

// Duty keeps the files of [Config] as they should be.
type Duty struct {
	FS       fsx.FS
	Config   cell.Reader[Config]
	Instance cell.Reader[facts.Instance]
	Cluster  cell.Reader[string] // the ECS cluster the node's agent joins; empty: not known
	BuiltIn  string              // the template of files that name none
	Supply   render.Supply
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "nodeconfig" }

// Reconcile implements duty.Duty. A file that cannot be rendered or written
// does not keep the others from it.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	cfg, in, err := d.inputs()
	if err != nil {
		return duty.Outcome{}, err
	}
	var out duty.Outcome
	var good []string
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(cfg.Files)) {
		if ctx.Err() != nil {
			errs = append(errs, ctx.Err())
			break
		}
		r, err := d.render(cfg, name, in)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		changed, err := d.write(cfg, name, r.Body)
		out.Changed = out.Changed || changed
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, w := range r.Warnings {
			out.Warnings = append(out.Warnings, name+": "+w)
		}
		good = append(good, fmt.Sprintf("%s: %d variables", name, len(r.Variables)))
	}
	d.Supply.Tell(in)
	out.Summary = summary(cfg.Directory, good)
	return out, errors.Join(errs...)
}

func summary(dir string, good []string) string {
	if len(good) == 0 || len(good) > 3 {
		return fmt.Sprintf("%d files in %s", len(good), dir)
	}
	return strings.Join(good, ", ")
}

// inputs reads the cells. That the cluster is not known yet is for the files
// to tell.
func (d *Duty) inputs() (Config, render.Inputs, error) {
	cfg, ok := d.Config.Get()
	if !ok {
		return cfg, render.Inputs{}, duty.WaitingFor("the configuration has not been read yet")
	}
	instance, ok := d.Instance.Get()
	if !ok {
		return cfg, render.Inputs{}, duty.WaitingFor("instance metadata has not been read yet")
	}
	cluster, _ := d.Cluster.Get()
	return cfg, d.Supply.Inputs(instance, cluster), nil
}

// render returns the content of one file, or why there is none and what that
// means for the file that is there.
func (d *Duty) render(cfg Config, name string, in render.Inputs) (Rendered, error) {
	f := cfg.Files[name]
	source, err := d.template(cfg, f)
	var r Rendered
	if err == nil {
		r, err = Render(f, source, in)
	}
	if err != nil {
		target := path.Join(cfg.Directory, name)
		return Rendered{}, &fileError{target, d.standing(target, f, in.Instance.ID), err}
	}
	return r, nil
}

func (d *Duty) template(cfg Config, f File) (string, error) {
	if f.Template == "" {
		return d.BuiltIn, nil
	}
	if path.IsAbs(f.Template) {
		source, err := d.FS.ReadFile(f.Template)
		return string(source), err
	}
	err := fmt.Errorf("there is no template %s: %w", f.Template, fs.ErrNotExist)
	for _, dir := range cfg.Templates {
		var source []byte
		if source, err = d.FS.ReadFile(path.Join(dir, f.Template)); !errors.Is(err, fs.ErrNotExist) {
			return string(source), err
		}
	}
	return "", err
}

// standing says what becomes of the file while no new one can be rendered.
func (d *Duty) standing(target string, f File, id string) string {
	there, err := d.FS.ReadFile(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no file has been written yet"
	case err != nil:
		return err.Error()
	case f.Format == PlainText:
		return "the last good file stays"
	}
	vars, err := assignments(string(there))
	if err != nil {
		return "the file that is there is no good either: " + err.Error()
	}
	for _, v := range vars {
		if v.name == "NODE_INSTANCE_ID" && v.value != id {
			return fmt.Sprintf("the file that is there is of another instance: %.40q", v.value)
		}
	}
	return "the last good file stays"
}

func (d *Duty) write(cfg Config, name string, body []byte) (changed bool, err error) {
	f := cfg.Files[name]
	dir := cfg.Directory
	for _, part := range strings.Split(name, "/") {
		made, err := d.ensureDir(dir, fs.FileMode(cfg.DirectoryMode))
		changed = changed || made
		if err != nil {
			return changed, err
		}
		dir = path.Join(dir, part)
	}
	wrote, err := d.FS.WriteFile(dir, body, fsx.How{Mode: fs.FileMode(f.Mode)})
	return changed || wrote, err
}

// ensureDir makes a directory that is ours and keeps its mode. A symbolic link
// to one is as good: then it is somebody else's.
func (d *Duty) ensureDir(dir string, mode fs.FileMode) (changed bool, err error) {
	changed, err = d.FS.MkdirAll(dir, mode)
	if err != nil {
		return changed, err
	}
	info, err := d.FS.Stat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm() == mode {
		return changed, err
	}
	set, err := d.FS.Chmod(dir, mode)
	return changed || set, err
}

// fileError says why a file has no new content.
type fileError struct {
	target, standing string
	err              error
}

func (e *fileError) Error() string {
	return fmt.Sprintf("cannot render %s: %v; %s", e.target, e.err, e.standing)
}

func (e *fileError) Unwrap() error { return e.err }
