package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aymanbagabas/go-udiff"

	"github.com/ecsnode/ecsnode/agent/duties/daemonjson"
	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/units"
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
	p := &Plan{Records: since(s.board.Records(), asked)}
	for _, c := range files.Changes() {
		if !ownState(c.Name) {
			p.Files = append(p.Files, n.shown(c))
		}
	}
	for _, call := range calls.calls {
		if unit, is := strings.CutPrefix(call, "restart "); is {
			call += n.why(unit, p.Files)
		}
		p.Calls = append(p.Calls, call)
	}
	return p
}

// why says which of the changes a unit is restarted for, as far as they are
// changes of files.
func (n *Node) why(unit string, changes []fsx.Change) string {
	c, ok := n.config.Get()
	if !ok {
		return ""
	}
	var names []string
	for _, change := range changes {
		f := c.Files.Items[change.Name]
		if slices.Contains(f.Restart, unit) || unit == units.Docker && change.Name == daemonjson.File {
			names = append(names, change.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", which reads " + strings.Join(names, ", ")
}

// shown is a change as people may see it.
func (n *Node) shown(c fsx.Change) fsx.Change {
	before, after := c.Before, c.After
	switch {
	case n.isECSConfig(c.Name) || ecsconfig.HasBlock(c.Before) || ecsconfig.HasBlock(c.After): // by a link it has another name
		before, after = redacted(before), redacted(after)
	case secretive(c.ModeBefore) || secretive(c.ModeAfter):
		before, after = hidden(before), hidden(after)
	}
	if bytes.Equal(before, after) && !bytes.Equal(c.Before, c.After) {
		after = append(after, "(what is not shown differs)\n"...)
	}
	c.Before, c.After = before, after
	return c
}

// secretive reports whether a file is not for everybody.
func secretive(mode fs.FileMode) bool { return mode != 0 && mode.IsRegular() && mode.Perm()&0o004 == 0 }

// hidden is the place of a content that is not for everybody.
func hidden(content []byte) []byte {
	if content == nil {
		return nil
	}
	return fmt.Appendf(nil, "(not shown: %d bytes)\n", len(content))
}

func ownState(name string) bool {
	return name == "/run" || name == "/var" || name == "/var/lib" || under(name, status.Dir) || under(name, StateDir)
}

func under(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// Diff writes the plan as a unified diff of the node's files, then the calls.
func (p *Plan) Diff(w io.Writer) {
	for _, c := range p.Files {
		if line := attributes(c); line != "" {
			fmt.Fprintln(w, line)
		}
		fmt.Fprint(w, diff(c))
	}
	for _, call := range p.Calls {
		fmt.Fprintf(w, "call %s\n", call)
	}
}

// attributes says what changes of a name beside the content of a file, or "".
func attributes(c fsx.Change) string {
	switch kind(c) {
	case "directory":
		return "directory " + c.Name + " " + modes(c)
	case "link":
		return "link " + c.Name + " " + leads(c)
	}
	if c.Existed && !c.Removed && (c.ModeBefore != c.ModeAfter || c.OwnerBefore != c.OwnerAfter) {
		return "file " + c.Name + " " + modes(c)
	}
	return ""
}

func kind(c fsx.Change) string {
	switch {
	case (c.ModeBefore | c.ModeAfter).IsDir():
		return "directory"
	case (c.ModeBefore|c.ModeAfter)&fs.ModeSymlink != 0:
		return "link"
	}
	return "file"
}

// diff is a unified diff of the content of a file.
func diff(c fsx.Change) string {
	if kind(c) != "file" {
		return ""
	}
	before, after := "a"+c.Name, "b"+c.Name
	if !c.Existed {
		before = "/dev/null"
	}
	if c.Removed {
		after = "/dev/null"
	}
	return udiff.Unified(before, after, string(c.Before), string(c.After))
}

// MarshalJSON implements json.Marshaler.
func (p *Plan) MarshalJSON() ([]byte, error) {
	type change struct {
		Path   string `json:"path"`
		Kind   string `json:"kind"`   // file, directory or link
		Change string `json:"change"` // made, changed or removed
		Says   string `json:"says,omitempty"`
		Diff   string `json:"diff,omitempty"`
	}
	type stand struct {
		Duty     string   `json:"duty"`
		State    string   `json:"state"`
		Changes  bool     `json:"changes"` // it would change the node
		Says     string   `json:"says,omitempty"`
		Warnings []string `json:"warnings,omitempty"`
	}
	plan := struct {
		Files  []change `json:"files"`
		Calls  []string `json:"calls"`
		Duties []stand  `json:"duties"`
	}{[]change{}, append([]string{}, p.Calls...), []stand{}}
	for _, c := range p.Files {
		what := "changed"
		switch {
		case !c.Existed:
			what = "made"
		case c.Removed:
			what = "removed"
		}
		plan.Files = append(plan.Files, change{c.Name, kind(c), what, attributes(c), diff(c)})
	}
	for _, r := range p.Records {
		plan.Duties = append(plan.Duties, stand{r.Name, string(r.State), r.Changed, cmp.Or(r.Err, r.Summary), r.Warnings})
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // as who encodes the whole decides
	err := enc.Encode(plan)
	return b.Bytes(), err
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
	var says []string
	if c.ModeBefore != c.ModeAfter {
		says = append(says, fmt.Sprintf("mode %04o -> %04o", c.ModeBefore.Perm(), c.ModeAfter.Perm()))
	}
	if b, a := c.OwnerBefore, c.OwnerAfter; b != a {
		says = append(says, fmt.Sprintf("owner %d:%d -> %d:%d", b.UID, b.GID, a.UID, a.GID))
	}
	return strings.Join(says, ", ")
}

// forPeople is the content of a file without secrets: of what ecsnode shares
// with others, only its own part is shown.
func (n *Node) forPeople(name string, content []byte) []byte {
	if n.isECSConfig(name) {
		return redacted(content)
	}
	return content
}

// redacted is ecs.config without what is others' and without credentials.
func redacted(content []byte) []byte {
	if content == nil {
		return nil
	}
	return []byte(ecsconfig.Redact(string(content)))
}

func (n *Node) isECSConfig(name string) bool {
	c, ok := n.config.Get()
	return ok && name == c.ECSConfig.Path
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
