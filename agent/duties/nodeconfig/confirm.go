package nodeconfig

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// confirm reads the file a second time, with a shell parser that knows the
// whole language, and returns an error unless it finds the same assignments
// and nothing else. It is given only what the first reader took, for hostile
// text can make the parser use any amount of memory.
func confirm(text string, want []assignment) error {
	parser := syntax.NewParser(syntax.Variant(syntax.LangPOSIX))
	file, err := parser.Parse(strings.NewReader(shield(text)), "")
	if err != nil {
		return fmt.Errorf("cannot read it as shell: %w", err)
	}
	var found []string
	for _, stmt := range file.Stmts {
		names, ok := onlyAssigns(stmt)
		if !ok {
			return fmt.Errorf("line %d: %w", stmt.Pos().Line(), errNotLiteral)
		}
		found = append(found, names...)
	}
	same := func(name string, a assignment) bool { return name == a.name }
	if !slices.EqualFunc(found, want, same) {
		return errors.New("two ways of reading it find different variables")
	}
	return nil
}

// The parser differs from shells in bytes that a value may well have: it reads
// "\r\n" as "\n" and a lone "\r" as white space, refuses what is not UTF-8, and
// lets a line go on after a comment that ends in a backslash. So it is shown a
// private character in place of each such byte.
func shield(text string) string {
	const private = '\uE000'
	var b strings.Builder
	b.Grow(len(text))
	for i := range len(text) {
		c := text[i]
		if c == '\r' || c >= 0x80 || c == '\\' && strings.HasPrefix(text[i+1:], "\n") {
			b.WriteRune(private + rune(c))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// onlyAssigns returns the names that a statement assigns, if it does nothing
// else and nothing in it is expanded.
func onlyAssigns(stmt *syntax.Stmt) (names []string, ok bool) {
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	if !ok || stmt.Negated || stmt.Background || stmt.Coprocess || stmt.Disown || len(stmt.Redirs) > 0 {
		return nil, false
	}
	for _, as := range call.Assigns { // in POSIX neither "+=" nor arrays
		names = append(names, as.Name.Value)
	}
	for i, word := range call.Args {
		name, _, assigns := strings.Cut(firstLit(word), "=")
		switch {
		case i > 0 && assigns:
			names = append(names, name)
		case i > 0 || len(call.Assigns) > 0 || word.Lit() != "export" && word.Lit() != "readonly":
			return nil, false
		}
	}
	literal := true
	syntax.Walk(call, func(n syntax.Node) bool {
		switch n.(type) {
		case nil, *syntax.CallExpr, *syntax.Assign, *syntax.Word, *syntax.Lit, *syntax.SglQuoted, *syntax.DblQuoted:
		default:
			literal = false
		}
		return literal
	})
	return names, literal
}

func firstLit(word *syntax.Word) string {
	if lit, ok := word.Parts[0].(*syntax.Lit); ok {
		return lit.Value
	}
	return ""
}
