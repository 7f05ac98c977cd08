package strict

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// document turns what was parsed into a tree.
func (s *scan) document(file *ast.File) *node {
	for _, doc := range file.Docs {
		switch body := doc.Body.(type) {
		case nil, *ast.CommentGroupNode, *ast.NullNode:
		default:
			n := s.node(body, nil)
			if n.kind != mapKind && n.kind != refusedKind {
				s.add(n.line, n.column, `expected "key: value" lines at the top level, found `+found(n), "")
				return nil
			}
			return n
		}
	}
	return nil
}

// node turns a parsed value into a node. Key is the entry it is the value of,
// nil for others.
func (s *scan) node(n ast.Node, key *entry) *node {
	switch n := n.(type) {
	case *ast.MappingNode:
		return s.mapping(n.Values, n.IsFlowStyle, n.GetToken())
	case *ast.MappingValueNode:
		return s.mapping([]*ast.MappingValueNode{n}, false, n.GetToken())
	case *ast.SequenceNode:
		return s.list(n)
	case *ast.LiteralNode:
		return s.block(n)
	case *ast.NullNode:
		return s.null(n, key)
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode, *ast.MergeKeyNode:
		return s.scalar(n.GetToken())
	}
	tk := n.GetToken()
	s.add(tk.Position.Line, tk.Position.Column, fmt.Sprintf("%q is not supported here", tk.Value), "")
	return s.place(&node{kind: refusedKind}, tk.Position.Line, tk.Position.Column)
}

// place puts n where it was written; what was overwritten there is refused.
func (s *scan) place(n *node, line, column int) *node {
	n.src, n.line, n.column = s.src, line, column
	if s.isBlotted(line, column, n.text) && n.kind != listKind && n.kind != mapKind {
		n.kind = refusedKind
	}
	return n
}

func (s *scan) mapping(values []*ast.MappingValueNode, flow bool, start *token.Token) *node {
	n := &node{kind: mapKind, flow: flow}
	for _, v := range values {
		if e, ok := s.entry(v); ok && (flow || s.isIndented(&e)) {
			n.entries = append(n.entries, e)
		}
	}
	if len(n.entries) == 0 && len(values) > 0 {
		n.kind = refusedKind
	}
	if flow || len(values) == 0 {
		line, column := s.signPlace(start, "{")
		return s.place(n, line, column)
	}
	line, column := s.textPlace(values[0].Key.GetToken())
	return s.place(n, line, column)
}

// entry returns false for an entry whose problem is known.
func (s *scan) entry(v *ast.MappingValueNode) (entry, bool) {
	tk := v.Key.GetToken()
	e := entry{src: s.src, key: tk.Value}
	e.line, e.column = s.textPlace(tk)
	e.value = s.node(v.Value, &e)
	if s.isBlotted(e.line, e.column, e.key) {
		return e, false
	}
	switch {
	case !s.checkText(tk, e.line, e.column):
		return e, false
	case tk.Type == token.LiteralType, tk.Type == token.FoldedType, tk.Type == token.StringType && !s.src.has(e.line, e.column, e.key):
		s.add(e.line, e.column, "a key must be text on one line", "")
		return e, false
	case s.lacksSpace(v):
		s.add(e.line, e.column, "a space is missing after the colon", "text with a colon inside { } needs quotes")
		return e, false
	}
	return e, true
}

// isIndented refuses a value below its key that is not indented deeper, which
// the parser takes all the same: it may be a key that lacks its colon.
func (s *scan) isIndented(e *entry) bool {
	v := e.value
	isBlock := (v.kind == mapKind || v.kind == listKind) && !v.flow
	if v.line == e.line || v.column > e.column || isBlock || v.kind == refusedKind {
		return true
	}
	text := s.between(v.line, v.column, s.rest(v.line, v.column, false))
	s.add(v.line, v.column, fmt.Sprintf(`expected "key: value", found %s`, quote(text)),
		fmt.Sprintf("if it belongs to the key on line %d, indent it", e.line))
	return false
}

// lacksSpace finds the colons inside braces that the scanner takes for the end
// of a key, and YAML for a part of the text.
func (s *scan) lacksSpace(v *ast.MappingValueNode) bool {
	colon, key := v.Start, v.Key.GetToken()
	if colon.Type != token.MappingValueType || key.Type == token.SingleQuoteType || key.Type == token.DoubleQuoteType {
		return false
	}
	line, column := s.signPlace(colon, ":")
	next := s.text.at(line, column+1)
	return next != "" && !strings.Contains(" \t,]}", next)
}

func (s *scan) signPlace(tk *token.Token, sign string) (line, column int) {
	return s.text.find(tk.Position.Line, tk.Position.Column, sign, 0)
}

func (s *scan) textPlace(tk *token.Token) (line, column int) {
	return s.text.find(tk.Position.Line, tk.Position.Column, opening(tk), strings.Count(tk.Origin, "\n"))
}

// opening returns the text that a scalar starts with in the file.
func opening(tk *token.Token) string {
	switch tk.Type {
	case token.SingleQuoteType:
		return "'"
	case token.DoubleQuoteType:
		return `"`
	}
	word, _, _ := strings.Cut(tk.Value, " ")
	word, _, _ = strings.Cut(word, "\n")
	word, _, _ = strings.Cut(word, "\t")
	return word
}

func (s *scan) list(seq *ast.SequenceNode) *node {
	n := &node{kind: listKind, flow: seq.IsFlowStyle}
	for i, v := range seq.Values {
		item := s.node(v, nil)
		if !seq.IsFlowStyle && i < len(seq.Entries) {
			s.checkItem(item, seq.Entries[i].Start)
		}
		n.items = append(n.items, item)
	}
	sign := "-"
	if seq.IsFlowStyle {
		sign = "["
	}
	line, column := s.signPlace(seq.Start, sign)
	return s.place(n, line, column)
}

// checkItem places an empty entry at its dash, and refuses one that is not
// indented deeper than that, which the parser takes all the same.
func (s *scan) checkItem(item *node, dash *token.Token) {
	line, column := s.signPlace(dash, "-")
	switch {
	case item.empty:
		item.line, item.column = line, column
	case item.line > line && item.column <= column && item.kind != refusedKind:
		s.add(line, column, `nothing follows this "-"`, "write the entry after it, or delete it")
		item.kind = refusedKind
	}
}

// null tells a null that was written from a value that was not, which is
// placed at its key.
func (s *scan) null(n *ast.NullNode, key *entry) *node {
	tk := n.GetToken()
	if tk.Type != token.ImplicitNullType {
		line, column := s.textPlace(tk)
		return s.place(&node{kind: nullKind, text: tk.Value}, line, column)
	}
	empty := &node{kind: nullKind, empty: true}
	if key == nil {
		return s.place(empty, tk.Position.Line, tk.Position.Column)
	}
	if s.isLineBlotted(key.line) {
		empty.kind = refusedKind
	}
	return s.place(empty, key.line, key.column)
}

func (s *scan) scalar(tk *token.Token) *node {
	n := &node{kind: scalarKind, text: tk.Value}
	switch tk.Type {
	case token.SingleQuoteType:
		n.style = singleQuotedStyle
	case token.DoubleQuoteType:
		n.style = doubleQuotedStyle
	}
	line, column := s.textPlace(tk)
	s.place(n, line, column)
	if n.kind == scalarKind && !s.checkText(tk, n.line, n.column) {
		n.kind = refusedKind
	}
	return n
}

func (s *scan) block(b *ast.LiteralNode) *node {
	n := &node{kind: scalarKind, style: literalStyle, text: b.Value.Value}
	sign := "|"
	if b.Start.Type == token.FoldedType {
		n.style, sign = foldedStyle, ">"
	}
	line, column := s.signPlace(b.Start, sign)
	s.place(n, line, column)
	switch {
	case n.kind == refusedKind:
	case !blockHeader.MatchString(string(s.src.line(line)[column-1:])):
		s.add(line, column, afterHeader, afterHeaderHint)
		n.kind = refusedKind
	case !s.src.spells(line+1, 1, n.text):
		s.addUnclear(line, column)
		n.kind = refusedKind
	}
	return n
}

const (
	afterHeader     = `something follows the "|" or ">" of a block of text`
	afterHeaderHint = "write the text on the lines below it, indented"
)

var blockHeader = pattern.New(`^[|>]([-+]?[1-9]?|[1-9][-+])([ \t]+#.*)?[ \t]*$`)
