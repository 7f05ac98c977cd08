package strict

import (
	"fmt"

	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// parse reads a layer. The tree is nil for a layer without settings, and for
// one that could not be read, which then has problems.
//
// The scanner and the parser, libraries fed with anything, are guarded: they
// must not be able to end the program.
func parse(l Layer) (root *node, problems Problems) {
	src, problem := newSource(l)
	if problem != nil {
		return nil, Problems{*problem}
	}
	defer func() {
		if r := recover(); r != nil {
			root, problems = nil, Problems{*src.problem(1, 1, onOneLine(fmt.Sprintf("%s: %v", unreadable, r)), "")}
		}
	}()
	s := newScan(src)
	if p := s.checkBounds(); p != nil {
		return nil, append(s.problems, *p)
	}
	file, err := parser.Parse(s.tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		if !s.open || len(s.problems) == 0 {
			s.problems = append(s.problems, s.syntaxProblem(err))
		}
		return nil, s.problems
	}
	root = s.document(file)
	return root, s.problems
}

const unreadable = "the file cannot be read as YAML"

// checkBounds keeps the parser, which is recursive and in parts quadratic, to
// what a configuration can need.
func (s *scan) checkBounds() *Problem {
	if len(s.tokens) > maxTokens {
		p := s.tokens[maxTokens].Position
		return s.src.problem(p.Line, p.Column, fmt.Sprintf("the file is too large: more than %d keys, values and signs", maxTokens), "")
	}
	flow := 0
	var blocks []int // the columns of the open block mappings and lists
	for i, tk := range s.tokens {
		column := 0
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType:
			column = tk.Position.Column
		case token.MappingValueType:
			if i > 0 {
				column = s.tokens[i-1].Position.Column
			}
		}
		if column > 0 && flow <= 0 {
			for len(blocks) > 0 && blocks[len(blocks)-1] >= column {
				blocks = blocks[:len(blocks)-1]
			}
			blocks = append(blocks, column)
		}
		if flow+len(blocks) > maxDepth {
			return s.src.problem(tk.Position.Line, tk.Position.Column, fmt.Sprintf("nested too deep: more than %d levels", maxDepth), "")
		}
	}
	return nil
}
