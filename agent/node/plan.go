package node

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aymanbagabas/go-udiff"

	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
)

// Plan is what one pass would do.
type Plan struct {
	Files   []fsx.Change  // of the node, without secrets; the agent's own state is left out
	Calls   []string      // what would be asked of AWS and the service manager
	Records []duty.Record // how each duty would stand
}

// Empty reports whether nothing would change.
func (p *Plan) Empty() bool { return len(p.Files)+len(p.Calls) == 0 }

// Plan makes a pass of every duty on an overlay of the node's files: they are
// read as they would be, and nothing is written. What is asked of the outside
// is only read.
func (n *Node) Plan(ctx context.Context) *Plan {
	files := fsx.NewOverlay(n.disk)
	out, calls := n.dry()
	s := n.newShift(applying, files, out, "", "plan")
	asked := time.Now()
	_ = s.engine.Pass(ctx, s.table) // the records say it
	p := &Plan{Calls: calls.calls, Records: since(s.board.Records(), asked)}
	for _, c := range files.Changes() {
		if ownState(c.Name) {
			continue
		}
		c.Before, c.After = n.forPeople(c.Name, c.Before), n.forPeople(c.Name, c.After)
		if secretive(c.ModeBefore) || secretive(c.ModeAfter) {
			c.Before, c.After = hidden(c.Before), hidden(c.After)
		}
		p.Files = append(p.Files, c)
	}
	return p
}

// secretive reports whether a file is not for everybody.
func secretive(mode fs.FileMode) bool { return mode != 0 && mode.IsRegular() && mode.Perm()&0o004 == 0 }

// hidden tells one content from another and nothing else.
func hidden(content []byte) []byte {
	if content == nil {
		return nil
	}
	sum := sha256.Sum256(content)
	return fmt.Appendf(nil, "(not shown: %d bytes, SHA-256 %x...)\n", len(content), sum[:4])
}

func ownState(name string) bool {
	return name == "/run" || name == "/var" || name == "/var/lib" || under(name, status.Dir) || under(name, StateDir)
}

func under(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// Diff writes the plan as a unified diff of the node's files, then the calls.
func (p *Plan) Diff(w io.Writer) {
	for _, c := range p.Files {
		switch {
		case (c.ModeBefore | c.ModeAfter).IsDir():
			fmt.Fprintf(w, "directory %s %s\n", c.Name, modes(c))
			continue
		case (c.ModeBefore|c.ModeAfter)&fs.ModeSymlink != 0:
			fmt.Fprintf(w, "link %s %s\n", c.Name, leads(c))
			continue
		case c.Existed && !c.Removed && c.ModeBefore != c.ModeAfter:
			fmt.Fprintf(w, "file %s %s\n", c.Name, modes(c))
		}
		before, after := "a"+c.Name, "b"+c.Name
		if !c.Existed {
			before = "/dev/null"
		}
		if c.Removed {
			after = "/dev/null"
		}
		fmt.Fprint(w, udiff.Unified(before, after, string(c.Before), string(c.After)))
	}
	for _, call := range p.Calls {
		fmt.Fprintf(w, "call %s\n", call)
	}
}

// leads says where a link leads, and led.
func leads(c fsx.Change) string {
	switch {
	case c.Removed:
		return "removed"
	case c.ModeAfter&fs.ModeSymlink == 0:
		return "replaced by a file"
	case len(c.Before) > 0 && c.ModeBefore&fs.ModeSymlink != 0:
		return fmt.Sprintf("-> %s, before %s", c.After, c.Before)
	}
	return fmt.Sprintf("-> %s", c.After)
}

func modes(c fsx.Change) string {
	switch {
	case c.Removed:
		return "removed"
	case !c.Existed:
		return fmt.Sprintf("made with mode %04o", c.ModeAfter.Perm())
	}
	return fmt.Sprintf("mode %04o -> %04o", c.ModeBefore.Perm(), c.ModeAfter.Perm())
}

// forPeople is the content of a file without secrets: of what ecsnode shares
// with others, only its own part is shown.
func (n *Node) forPeople(name string, content []byte) []byte {
	if c, ok := n.config.Get(); ok && name == c.ECSConfig.Path {
		return []byte(ecsconfig.Redact(string(content)))
	}
	return content
}

// Rendered is one file as a pass would leave it.
type Rendered struct {
	Name string
	Data []byte
}

// Render returns the files that duties render, or the one with the given name
// (its path or the last part of it), as a pass would leave them now; holds do
// not count, and nothing is written.
func (n *Node) Render(ctx context.Context, name string) ([]Rendered, error) {
	files := fsx.NewOverlay(n.disk)
	dry, _ := n.dry()
	s := n.newShift(applying, files, dry, "", "render")
	s.engine.Hold = nil
	_ = s.engine.Pass(ctx, s.table) // looked at below
	c, ok := n.config.Get()
	if !ok {
		return nil, fmt.Errorf("cannot render: %w", context.Cause(ctx))
	}
	owners := map[string]string{c.ECSConfig.Path: "ecsconfig"}
	for file := range c.NodeConfig.Files {
		owners[path.Join(c.NodeConfig.Directory, file)] = "nodeconfig"
	}
	all := slices.Sorted(maps.Keys(owners))
	if name != "" {
		other := func(p string) bool { return p != name && path.Base(p) != name }
		one := slices.DeleteFunc(slices.Clone(all), other)
		if len(one) == 0 {
			return nil, fmt.Errorf("cannot render %s: it is none of %s", name, strings.Join(all, ", "))
		}
		all = one
	}
	var out []Rendered
	for _, p := range all {
		for _, r := range s.board.Records() {
			if r.Name == owners[p] && r.State != duty.OK {
				return nil, fmt.Errorf("cannot render %s: %s %s: %s", p, r.Name, r.State, r.Err)
			}
		}
		data, err := files.ReadFile(p)
		if err != nil {
			return nil, err
		}
		out = append(out, Rendered{p, n.forPeople(p, data)})
	}
	return out, nil
}
