package strict

import (
	"strings"

	"github.com/goccy/go-yaml/token"
)

// checkText compares what the scanner made of a text, plain or quoted, with
// what stands in the file, and says whether they agree. The scanner lets some
// things through that YAML forbids and then drops or invents characters;
// nothing may be decoded that the operator did not write.
func (s *scan) checkText(tk *token.Token, line, column int) bool {
	switch tk.Type {
	case token.SingleQuoteType, token.DoubleQuoteType:
		return s.checkQuoted(tk.Value, line, column)
	}
	written := strings.TrimSpace(tk.Origin)
	switch {
	case strings.HasPrefix(written, "%"):
		s.add(line, column, `text that starts with "%" needs quotes: YAML takes it for a directive`, quoteHint("write", written))
	case strings.Contains(tk.Value, ": "):
		s.add(line, column, `a second ": " in this value`, "put a comma between settings, and text in quotes")
	case strings.Contains(written, "\t"):
		if c, ok := s.src.findOnLine(line, column, "\t"); ok && c > column {
			column = c
		}
		s.add(line, column, "a tab in text that has no quotes", `replace it by a space, or write \t in double quotes`)
	case !s.src.spells(line, column, tk.Value):
		s.addUnclear(line, column)
	default:
		return true
	}
	return false
}

func (s *scan) addUnclear(line, column int) {
	s.add(line, column, "this text cannot be read reliably as it is written", "put the whole value in quotes, on one line")
}

// checkQuoted reports an escape that does not stand for a character, where the
// scanner takes any characters for hexadecimal digits.
func (s *scan) checkQuoted(text string, line, column int) bool {
	q := s.src.readQuoted(line, column)
	switch {
	case q.badLine > 0:
		s.addBadEscape(q.badLine, q.badColumn)
	case !q.closed || q.text != text:
		s.addUnclear(line, column)
	default:
		return true
	}
	return false
}

// quoted is a quoted text as it stands in the file.
type quoted struct {
	text               string
	closed             bool
	badLine, badColumn int // of the first escape that is none; 0 if there is none
}

// readQuoted decodes the quoted text that starts at a place. Lines are folded:
// a line's end and the white space around it are a space, and every blank line
// is a line feed.
func (s *source) readQuoted(line, column int) quoted {
	var text []rune
	kept := 0 // as much of text is not white space before a line's end
	quote := []rune(s.at(line, column) + " ")[0]
	for i := column; line <= len(s.lines); {
		l := s.line(line)
		i = min(i, len(l))
		width, r := quotedRune(l[i:], quote)
		switch {
		case width > 0:
			text = append(text, r)
			if i += width; width > 1 || !isSpace(r) {
				kept = len(text)
			}
		case i < len(l) && l[i] == quote:
			return quoted{text: string(text), closed: true}
		case i+1 < len(l):
			return quoted{badLine: line, badColumn: i + 1}
		default:
			fold := " "
			if i < len(l) { // a backslash
				fold, kept = "", len(text)
			}
			blank := 0
			for line++; line <= len(s.lines) && indentOf(s.line(line)) == len(s.line(line)); line++ {
				blank++
			}
			if blank > 0 {
				fold = strings.Repeat("\n", blank)
			}
			text = append(text[:kept], []rune(fold)...)
			kept, i = len(text), indentOf(s.line(line))
		}
	}
	return quoted{}
}

// spells says whether text stands at the place, white space apart.
func (s *source) spells(line, column int, text string) bool {
	if s.has(line, column, text) {
		return true
	}
	rest := s.line(line)[min(column-1, len(s.line(line))):]
	for _, r := range text {
		if isSpace(r) {
			continue
		}
		for len(rest) == 0 || isSpace(rest[0]) {
			if len(rest) > 0 {
				rest = rest[1:]
			} else if line++; line > len(s.lines) {
				return false
			} else {
				rest = s.line(line)
			}
		}
		if rest[0] != r {
			return false
		}
		rest = rest[1:]
	}
	return true
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' }
