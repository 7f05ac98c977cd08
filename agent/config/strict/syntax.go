package strict

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// parserError is the form of the parser's errors, whose types are internal.
type parserError interface {
	GetMessage() string
	GetToken() *token.Token
}

// syntaxProblem puts a parser's error into words. The parser offers nothing
// but its message to tell its errors apart; one that is not known here, in
// another version of it perhaps, is passed on as it is.
func (s *scan) syntaxProblem(err error) Problem {
	var e parserError
	if !errors.As(err, &e) || e.GetToken() == nil {
		return *s.src.problem(1, 1, unreadable+": "+onOneLine(err.Error()), "")
	}
	tk := e.GetToken()
	line, column := s.textPlace(tk)
	message := e.GetMessage()
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(message, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("tab character", "character '\t'"):
		return s.tabProblem(line, column)
	case has("end character of single-quoted", "end character of double-quoted"):
		quote := "'"
		if has("double") {
			quote = `"`
		}
		line, column = s.signPlace(tk, quote)
		return *s.src.problem(line, column, "the quote that opens here is never closed", "")
	case has("document separator"):
		return *s.src.problem(line, column, "a quoted text is not closed before this line", "")
	case has("escape", "UTF-16", "surrogate"):
		return s.escapeProblem(tk.Position)
	case has("must be specified", "flow map", "sequence end token", "sequence element", "corresponding to"):
		return s.flowProblem(line, column, message)
	case has("mapping value is not allowed"):
		return s.secondColonProblem(tk, line, column)
	case has("non-map value", "unexpected key name", "implicit line break"):
		return s.noColonProblem(tk, line, column)
	case has("invalid key for this map"):
		return *s.src.problem(line, column, "there is no key before this colon", "if it is text, put the value in quotes")
	case has("sequence entries are not allowed"):
		return *s.src.problem(line, column, `a list cannot start on the line of its key`, `put each "- entry" on a line of its own below the key`)
	case has("header option"):
		return *s.src.problem(line, column, afterHeader, afterHeaderHint)
	case has("multi-line", "number of indent"):
		return *s.src.problem(line, column, `a block of text ("|" or ">") that is empty or indented wrongly`, "write its lines below it, indented with spaces, all alike")
	case has("value is not allowed in this context"):
		return s.misplacedProblem(line, column)
	}
	return *s.src.problem(line, column, "this is not YAML: "+onOneLine(message), "")
}

func (s *scan) tabProblem(line, column int) Problem {
	for i, r := range s.src.line(line) {
		if r == '\t' {
			column = i + 1
			break
		}
	}
	return *s.src.problem(line, column, "a tab is used as indentation, where YAML takes spaces only", "replace each tab by spaces")
}

func (s *scan) addBadEscape(line, column int) {
	s.problems = append(s.problems, s.badEscapeProblem(line, column))
}

func (s *scan) badEscapeProblem(line, column int) Problem {
	sign := s.src.at(line, column) + s.src.at(line, column+1)
	return *s.src.problem(line, column, fmt.Sprintf("%s is not an escape that double quotes know", sign),
		`write \\ for a backslash, or use single quotes, which have no escapes`)
}

// escapeProblem finds the backslash, which the scanner places at or near the
// character after it.
func (s *scan) escapeProblem(p *token.Position) Problem {
	l := s.src.line(p.Line)
	for c := min(p.Column, len(l)); c >= 1; c-- {
		if l[c-1] == '\\' {
			return s.badEscapeProblem(p.Line, c)
		}
	}
	return *s.src.problem(p.Line, p.Column, "this is not an escape that double quotes know", "")
}

// flowProblem is about brackets. The parser stops where it has lost the thread,
// often lines after the bracket that lacks its end, so that one is named.
func (s *scan) flowProblem(line, column int, message string) Problem {
	var open []*token.Token
	for _, tk := range s.tokens {
		p := tk.Position
		if p.Line > line || p.Line == line && p.Column >= column {
			break
		}
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			open = append(open, tk)
		case token.MappingEndType, token.SequenceEndType:
			open = open[:max(0, len(open)-1)]
		}
	}
	if strings.Contains(message, "corresponding to") || len(open) == 0 {
		if r := s.src.at(line, column); r == "]" || r == "}" {
			return *s.src.problem(line, column, fmt.Sprintf("nothing is open that this %q could close", r), "if it is text, put the value in quotes")
		}
		return s.unclosed(line, column)
	}
	last := open[len(open)-1]
	lastLine, lastColumn := s.signPlace(last, last.Value)
	if lastLine == line {
		end := map[string]string{"[": "]", "{": "}"}[last.Value]
		return *s.src.problem(line, column, fmt.Sprintf("expected \",\" or %q here, in what %q opens in column %d", end, last.Value, lastColumn), "")
	}
	return s.unclosed(lastLine, lastColumn)
}

func (s *scan) unclosed(line, column int) Problem {
	sign := s.src.at(line, column)
	return *s.src.problem(line, column, fmt.Sprintf("the %q that opens here is not closed as it should be", sign), "if it is text, put the value in quotes")
}

// secondColonProblem is about "a: b: c", and about a value that runs into the
// next line because that is indented deeper.
func (s *scan) secondColonProblem(tk *token.Token, line, column int) Problem {
	after := s.tokens[slices.Index(s.tokens, tk)+1:]
	if len(after) > 0 && after[0].Position.Line > line {
		below := after[0].Position.Line
		return *s.src.problem(below, indentOf(s.src.line(below))+1,
			fmt.Sprintf("this key is indented deeper than the setting on line %d, which already has a value", line), "indent it like the lines around it")
	}
	end := s.rest(line, column, false)
	return *s.src.problem(line, column, `a second ": " on this line`, quoteHint("if it is text, write", s.between(line, column, end)))
}

// noColonProblem is about a line of a mapping that has no ": ".
func (s *scan) noColonProblem(tk *token.Token, line, column int) Problem {
	text := s.between(line, column, s.rest(line, column, false))
	key, value, ok := strings.Cut(text, ":")
	if ok && isPlainKey(key) && value != "" {
		return *s.src.problem(line, column, fmt.Sprintf("%s is not a setting: a space is missing after the colon", quote(text)), "write "+key+": "+value)
	}
	if tk.Type == token.SequenceEntryType {
		return *s.src.problem(line, column, `a list entry ("- ") stands among "key: value" lines`, "")
	}
	return *s.src.problem(line, column, fmt.Sprintf(`expected "key: value", found %s`, quote(text)), "")
}

// misplacedProblem is about what follows a complete value: on the line, or
// below at an indentation that belongs to nothing.
func (s *scan) misplacedProblem(line, column int) Problem {
	l := s.src.line(line)
	if indentOf(l)+1 == column {
		return *s.src.problem(line, column, "this line is indented unlike the lines it could belong to", "line it up with them, with spaces")
	}
	text := s.between(line, column, s.rest(line, column, false))
	hint := "put the whole value in quotes"
	switch before := s.src.at(line, column-1); {
	case before == "'" && strings.Contains(text, before):
		hint = "inside single quotes write '' for a quote"
	case before == `"` && strings.Contains(text, before):
		hint = `inside double quotes write \" for a quote`
	}
	return *s.src.problem(line, column, fmt.Sprintf("%s follows a value that is already complete", quote(text)), hint)
}
