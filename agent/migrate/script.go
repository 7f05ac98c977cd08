package migrate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// found is one statement of a shell script that runs ansible.
type found struct {
	from, to int // lines
	text     string
	via      string
	along    []string // commands that go with it
	cannot   string   // why it cannot be disabled by marking its lines; "": it can
}

// scriptStatements returns the statements of a script that run ansible, the
// innermost of which each line is its own. mentions: its text speaks of ansible
// where it is not known to run it.
func (f *finder) scriptStatements(text string) (all []found, mentions bool) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash), syntax.KeepComments(true)).Parse(strings.NewReader(text), "")
	if err != nil || len(text) > maxScript {
		return nil, speaks.MatchString(text)
	}
	lines := slices.Collect(strings.Lines(text))
	all = f.inList(file.Stmts, lines, &scope{dir: "/"})
	left := slices.Clone(lines)
	for _, s := range all {
		for i := s.from; i <= s.to; i++ {
			left[i-1] = ""
		}
	}
	for _, l := range left {
		trimmed := strings.TrimSpace(l)
		comment := strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ": "+mark)
		mentions = mentions || !comment && speaks.MatchString(trimmed)
	}
	return all, mentions
}

// inList returns what runs ansible in a list of statements.
func (f *finder) inList(list []*syntax.Stmt, lines []string, at *scope) (all []found) {
	for _, stmt := range list {
		in := at.copy()
		v := f.node(stmt, at, 0)
		if !v.runs {
			continue
		}
		lists, outside := f.inner(stmt, in)
		if !outside {
			var within []found
			for _, l := range lists {
				within = append(within, f.inList(l, lines, in.copy())...)
			}
			possible := !slices.ContainsFunc(within, func(s found) bool { return s.cannot != "" })
			if possible || !f.harmless(stmt, in) {
				all = append(all, within...)
				continue
			}
		}
		all = append(all, place(stmt, v.via, lines))
		all[len(all)-1].along = f.along(stmt, in)
	}
	return all
}

// inner returns the lists of statements of a compound command, and whether
// something that stands in none of them runs ansible.
func (f *finder) inner(stmt *syntax.Stmt, in *scope) (lists [][]*syntax.Stmt, outside bool) {
	var conditions []*syntax.Stmt
	switch c := stmt.Cmd.(type) {
	case *syntax.Block:
		lists = append(lists, c.Stmts)
	case *syntax.Subshell:
		lists = append(lists, c.Stmts)
	case *syntax.WhileClause:
		conditions, lists = c.Cond, append(lists, c.Do)
	case *syntax.ForClause:
		lists = append(lists, c.Do)
	case *syntax.CaseClause:
		for _, item := range c.Items {
			lists = append(lists, item.Stmts)
		}
	case *syntax.FuncDecl:
		return f.inner(c.Body, in)
	case *syntax.IfClause:
		for part := c; part != nil; part = part.Else {
			conditions = append(conditions, part.Cond...)
			lists = append(lists, part.Then)
		}
	default:
		return nil, true
	}
	for _, s := range conditions {
		if f.node(s, in.copy(), 0).runs {
			return nil, true
		}
	}
	return lists, false
}

// harmless are commands whose loss beside ansible is none, and fetch those that
// bring its playbooks or tell of it.
var (
	harmless = []string{"[", "[[", "test", "command", "which", "type", "cd", "sleep", "true", ":", "set", "echo", "logger", "export"}
	fetch    = []string{"aws", "git", "curl", "wget", "pip", "pip3", "ansible-galaxy", "tee", "mail", "mailx", "mkdir", "date", "exit"}
)

// harmless reports whether a statement does nothing but run ansible and see to it.
func (f *finder) harmless(stmt *syntax.Stmt, in *scope) bool {
	return len(f.others(stmt, in, harmless)) == 0
}

// along are the commands that go with ansible when a statement is disabled.
func (f *finder) along(n syntax.Node, in *scope) []string {
	return f.others(n, in, slices.Concat(harmless, fetch))
}

// others are the commands below a node that do not run ansible, but for some.
func (f *finder) others(n syntax.Node, in *scope, but []string) (names []string) {
	at := in.copy()
	syntax.Walk(n, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok {
			return true
		}
		args := at.words(call)
		if len(args) == 0 || f.call(args, at, 0).runs {
			return true
		}
		if name := path.Base(args[0]); !isOne(name, but) && !slices.Contains(names, name) {
			names = append(names, name)
		}
		return true
	})
	return names
}

// alongText is along of shell text.
func (f *finder) alongText(text string, in *scope) []string {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return nil
	}
	return f.along(file, in)
}

// place tells whether the lines of a statement are its own.
func place(stmt *syntax.Stmt, via string, lines []string) found {
	s := found{from: int(stmt.Pos().Line()), to: int(stmt.End().Line()), via: via}
	s.text = strings.TrimSpace(strings.Join(lines[s.from-1:s.to], ""))
	before := lines[s.from-1][:stmt.Pos().Col()-1]
	last := lines[s.to-1]
	after := strings.TrimSpace(last[min(int(stmt.End().Col())-1, len(last)):])
	after = strings.TrimSpace(strings.TrimPrefix(after, ";"))
	here := false
	syntax.Walk(stmt, func(n syntax.Node) bool {
		r, ok := n.(*syntax.Redirect)
		here = here || ok && r.Hdoc != nil
		return true
	})
	switch {
	case here:
		s.cannot = "it has a here-document"
	case strings.TrimSpace(before) != "", after != "" && !strings.HasPrefix(after, "#"):
		s.cannot = "other commands share its line"
	}
	return s
}

// disableStatements marks the lines of statements. In place of each stands a
// command that does nothing: a list of a shell must not be empty.
func disableStatements(text string, all []found) (string, error) {
	lines := slices.Collect(strings.Lines(text))
	for _, s := range all {
		if s.cannot != "" {
			return "", fmt.Errorf("line %d: %s", s.from, s.cannot)
		}
		for i := s.from; i <= s.to; i++ {
			if i == s.from {
				lines[i-1] = ": " + mark + lines[i-1]
			} else {
				lines[i-1] = mark + lines[i-1]
			}
		}
	}
	return strings.Join(lines, ""), nil
}
