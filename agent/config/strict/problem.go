package strict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a layer. Line and Column count from 1, Column in
// characters. The zero Pos means that no layer has the thing: it is a default.
type Pos struct {
	File         string
	Line, Column int
}

// String returns "FILE:LINE:COLUMN", and "" for the zero Pos.
func (p Pos) String() string {
	if p == (Pos{}) {
		return ""
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing that is wrong with a layer, on one line.
type Problem struct {
	Pos     Pos
	Path    string // of the setting, as Key and Index build it; "" for the file
	Message string // what is wrong and what was expected
	Hint    string // what to do about it; may be empty
}

// Error returns "FILE:LINE:COLUMN: PATH: message (hint)" without the parts that
// are empty.
func (p Problem) Error() string {
	var b strings.Builder
	for _, part := range []string{p.Pos.String(), p.Path} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Problems is a list of problems and, unless empty, an error.
type Problems []Problem

// Error returns one line per problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns ps as an error, nil when there is no problem.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Sort orders ps by file, line and column.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Pos.File, b.Pos.File),
			cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column),
		)
	})
}
