package strict

import "unicode/utf8"

type kind int

const (
	nullKind kind = iota
	scalarKind
	listKind
	mapKind
	refusedKind // its problem is known: it fits everywhere and sets nothing
)

type style int

const (
	plainStyle style = iota
	singleQuotedStyle
	doubleQuotedStyle
	literalStyle
	foldedStyle
)

// node is a value in a layer. The zero node is a mapping's or list's entry
// that was never written.
type node struct {
	kind         kind
	src          *source
	line, column int

	text  string // scalar
	style style  // scalar
	empty bool   // null: nothing was written at all

	flow    bool    // map and list: in braces or brackets
	entries []entry // map, in the order of the file
	items   []*node // list

	// fresh says of a mapping that an earlier layer's null removed what it
	// would otherwise be merged with.
	fresh bool
}

// entry is one "key: value" of a mapping.
type entry struct {
	key          string
	src          *source
	line, column int // of the key
	value        *node
}

func (n *node) pos() Pos  { return n.src.pos(n.line, n.column) }
func (e *entry) pos() Pos { return e.src.pos(e.line, e.column) }

// entry returns the entry with a key, nil if there is none.
func (n *node) entry(key string) *entry {
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// item returns the list's entry i, nil if there is none.
func (n *node) item(i int) *node {
	if i >= len(n.items) {
		return nil
	}
	return n.items[i]
}

// at returns the place in the file of the byte at offset in the scalar's text.
// Where lines are folded, and beyond the text, it is the scalar's own place.
func (n *node) at(offset int) Pos {
	if n.kind != scalarKind || offset < 0 || offset > len(n.text) {
		return n.pos()
	}
	line, column, ok := n.line, n.column, false
	switch n.style {
	case plainStyle:
		column += utf8.RuneCountInString(n.text[:offset])
		ok = n.src.has(n.line, n.column, n.text[:offset])
	case singleQuotedStyle, doubleQuotedStyle:
		column, ok = quotedColumn(n.src.line(n.line), n.column, offset)
	case literalStyle:
		line, column, ok = literalPlace(n, offset)
	}
	if !ok {
		return n.pos()
	}
	return n.src.pos(line, column)
}
