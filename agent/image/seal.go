package image

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Bounds of what is walked through.
const (
	maxSteps = 50_000
	maxDepth = 64
)

// Sight is what is known of the machine that is to be sealed.
type Sight struct {
	Instance   string                  // id of this instance, "" if it is not known
	Registered facts.ContainerInstance // as the ECS agent on this machine says now
	Saved      []facts.AgentState      // what it has saved
	Agent      facts.Unit              // ecs.service
	Identity   bool                    // ecsnode has established an identity in this boot
}

// Refuse returns why this machine is not sealed: it is at work. The list would
// take its identity from a node.
func Refuse(s Sight) error {
	const then = "make images on an instance that never joins a cluster (packer/user-data keeps it from that)"
	if s.Registered.Registered() {
		return fmt.Errorf("cannot seal: this is %s in cluster %s: drain and deregister it, or %s", s.Registered.ARN, s.Registered.Cluster, then)
	}
	if s.Agent.Running() || s.Agent.Active == "activating" || s.Agent.Queued {
		return fmt.Errorf("cannot seal: %s is %s: stop it first, or %s", agentUnit, s.Agent.Active, then)
	}
	for _, saved := range s.Saved {
		if s.Instance != "" && saved.InstanceID == s.Instance && saved.ARN != "" {
			return fmt.Errorf("cannot seal: %s says that this instance is registered as %s: deregister it and remove the file, or %s",
				saved.File, saved.ARN, then)
		}
	}
	if s.Identity {
		return fmt.Errorf("cannot seal: ecsnode has made a node of this instance since it booted: %s", then)
	}
	return nil
}

// Edit is a file of which a part is taken out.
type Edit struct {
	Path string
	Do   func(file []byte) ([]byte, error)
	Why  string
}

// Step is one thing that a seal does.
type Step struct {
	Verb string // "remove", "empty", "edit" or "enable"
	Path string
	Why  string
	// Live: what runs on the machine writes there again and again.
	Live bool
	data []byte // for edit
}

func (s Step) String() string { return fmt.Sprintf("%s %s: %s", s.Verb, s.Path, s.Why) }

// Plan returns what a seal has to do, children before the directories they are
// in, and nothing for what is done already. It refuses a link where the list has
// a directory: where that leads, nobody has said.
func Plan(files fsx.FS, items []Item, edits []Edit) ([]Step, error) {
	p := planner{files: files}
	for _, item := range items {
		p.item = item
		from := len(p.steps)
		found, err := p.match(item.Path)
		if err == nil {
			for _, name := range found {
				if err = p.plan(name); err != nil {
					break
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("cannot seal: %w", err)
		}
		// What is deepest first, and what is in one directory together.
		slices.SortStableFunc(p.steps[from:], func(a, b Step) int {
			return cmp.Or(strings.Count(b.Path, "/")-strings.Count(a.Path, "/"), strings.Compare(path.Dir(a.Path), path.Dir(b.Path)))
		})
	}
	for _, e := range edits {
		if err := p.edit(e); err != nil {
			return nil, fmt.Errorf("cannot seal: %w", err)
		}
	}
	if err := p.enable(); err != nil {
		return nil, fmt.Errorf("cannot seal: %w", err)
	}
	return p.steps, nil
}

type planner struct {
	files fsx.FS
	item  Item
	steps []Step
	seen  map[string]bool // paths that have a step
}

func (p *planner) add(s Step) error {
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	if p.seen[s.Path] {
		return nil
	}
	if len(p.steps) >= maxSteps {
		return fmt.Errorf("there are more than %d files to remove, the last one %s: is that a machine to make an image of?", maxSteps, s.Path)
	}
	p.seen[s.Path] = true
	p.steps = append(p.steps, s)
	return nil
}

// match returns what is there of a path whose names may be patterns. Every
// directory on the way must be one.
func (p *planner) match(pattern string) ([]string, error) {
	found := []string{"/"}
	names := strings.Split(strings.TrimPrefix(pattern, "/"), "/")
	for i, name := range names {
		var next []string
		for _, dir := range found {
			more, err := p.matchIn(dir, name)
			if err != nil {
				return nil, err
			}
			next = append(next, more...)
		}
		if found = next; i == len(names)-1 {
			break
		}
		var dirs []string
		for _, dir := range found {
			info, err := p.files.Stat(dir)
			switch {
			case err != nil:
				return nil, err
			case info.Mode()&fs.ModeSymlink != 0:
				return nil, isLink(dir)
			case info.IsDir():
				dirs = append(dirs, dir)
			}
		}
		found = dirs
	}
	return found, nil
}

func isLink(name string) error {
	return fmt.Errorf("%s is a symbolic link, which is not followed: make it a directory", name)
}

// matchIn returns what in a directory has that name, or matches that pattern.
func (p *planner) matchIn(dir, name string) ([]string, error) {
	if !strings.ContainsAny(name, `*?[`) {
		_, err := p.files.Stat(path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return []string{path.Join(dir, name)}, err
	}
	entries, err := p.files.ReadDir(dir)
	var found []string
	for _, e := range entries {
		if ok, err := path.Match(name, e.Name()); ok && err == nil {
			found = append(found, path.Join(dir, e.Name()))
		}
	}
	return found, err
}

// plan adds the steps for one path of the item.
func (p *planner) plan(name string) error {
	info, err := p.files.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	switch p.item.How {
	case Empty:
		if info.Mode().IsRegular() && info.Size() == 0 {
			return nil
		}
		return p.add(Step{Verb: "empty", Path: name, Why: p.item.Why})
	case Remove:
		if info.IsDir() {
			if kept, err := p.below(name, device(info), 0, true); err != nil || kept {
				return err
			}
		}
		return p.add(Step{Verb: "remove", Path: name, Why: p.item.Why, Live: p.item.Live})
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return isLink(name)
	}
	if !info.IsDir() {
		return nil
	}
	_, err = p.below(name, device(info), 0, p.item.How == Contents)
	return err
}

// below adds the steps for what is in a directory, which stays. Other file
// systems are none of the image's; kept tells whether there is one.
func (p *planner) below(dir string, on uint64, depth int, dirs bool) (kept bool, err error) {
	if depth > maxDepth {
		return false, fmt.Errorf("%s is more than %d directories deep", dir, maxDepth)
	}
	entries, err := p.files.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if depth == 0 && p.keeps(e.Name()) {
			continue
		}
		info, err := p.files.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if info.IsDir() {
			if device(info) != on {
				kept = true
				continue
			}
			within, err := p.below(name, on, depth+1, dirs)
			if err != nil {
				return false, err
			}
			if kept = kept || within; within || !dirs {
				continue
			}
		}
		if err := p.add(Step{Verb: "remove", Path: name, Why: p.item.Why, Live: p.item.Live}); err != nil {
			return false, err
		}
	}
	return kept, nil
}

func (p *planner) keeps(name string) bool {
	for _, pattern := range p.item.Keep {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}

// device is the file system that a file is on.
func device(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Dev
	}
	return 0
}

func (p *planner) edit(e Edit) error {
	before, err := p.files.ReadFile(e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	after, err := e.Do(before)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	if bytes.Equal(before, after) {
		return nil
	}
	return p.add(Step{Verb: "edit", Path: e.Path, Why: e.Why, data: after})
}

// enable lets the ECS agent start in the image's instances: it was kept from
// that on this one.
func (p *planner) enable() error {
	for _, dir := range []string{adminDir, runDir} {
		name := path.Join(dir, agentUnit)
		if masked(p.files, name) {
			if err := p.add(Step{Verb: "remove", Path: name, Why: "it masks " + agentUnit}); err != nil {
				return err
			}
		}
	}
	_, err := p.files.Stat(path.Join(wantedBy, agentUnit))
	if errors.Is(err, fs.ErrNotExist) {
		return p.add(Step{Verb: "enable", Path: path.Join(wantedBy, agentUnit), Why: "the ECS agent starts in every instance"})
	}
	return err
}

// masked reports whether a unit file masks its unit: it is empty or leads to
// /dev/null, systemd.unit(5).
func masked(files fsx.FS, name string) bool {
	target, err := files.ReadLink(name)
	if err == nil {
		return target == devNull
	}
	info, err := files.Stat(name)
	return err == nil && info.Mode().IsRegular() && info.Size() == 0
}

// atOnce is how many files are removed before it is looked whether to go on.
const atOnce = 1000

// Do does the steps, and tells each once it is done. It is safe to repeat, and what
// another has removed already is no error. It returns all that failed, or why it
// did not go on.
func Do(ctx context.Context, disk *fsx.Disk, steps []Step, tell func(Step)) error {
	var failed []error
	for len(steps) > 0 {
		if ctx.Err() != nil {
			return errors.Join(append(failed, fmt.Errorf("cannot seal to the end: %w: do it again", context.Cause(ctx)))...)
		}
		if steps[0].Verb != "remove" {
			if err := steps[0].do(disk); err != nil {
				failed = append(failed, err)
			} else {
				tell(steps[0])
			}
			steps = steps[1:]
			continue
		}
		dir, n := path.Dir(steps[0].Path), 1
		for n < min(len(steps), atOnce) && steps[n].Verb == "remove" && path.Dir(steps[n].Path) == dir {
			n++
		}
		failed = append(failed, removeIn(disk, dir, steps[:n], tell))
		steps = steps[n:]
	}
	return errors.Join(failed...)
}

// removeIn removes what is in one directory: one by one, each would look through
// the directory.
func removeIn(disk *fsx.Disk, dir string, steps []Step, tell func(Step)) error {
	var failed []error
	names, by := make([]string, len(steps)), map[string]Step{}
	for i, s := range steps {
		names[i] = path.Base(s.Path)
		by[names[i]] = s
	}
	err := disk.RemoveIn(dir, names, func(name string, err error) {
		if err != nil {
			failed = append(failed, err)
			return
		}
		tell(by[name])
	})
	return errors.Join(append(failed, err)...)
}

func (s Step) do(files fsx.FS) error {
	var err error
	switch s.Verb {
	case "empty":
		_, err = files.WriteFile(s.Path, nil, fsx.How{})
	case "edit":
		_, err = files.WriteFile(s.Path, s.data, fsx.How{})
	case "enable":
		if _, err = files.MkdirAll(path.Dir(s.Path), 0o755); err == nil {
			_, err = files.Symlink(s.Path, path.Join(unitDir, path.Base(s.Path)))
		}
	default:
		err = fmt.Errorf("no step: %q", s.Verb)
	}
	return err
}
