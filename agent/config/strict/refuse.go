package strict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// maxRescan bounds how many bytes are scanned again after a refusal.
const maxRescan = 2 << 20

// scan is a layer on its way to a tree. What is not accepted is reported and
// then overwritten in text, character by character, with what YAML takes for a
// word or for nothing: positions stay, and the rest of the layer can still be
// checked.
type scan struct {
	src      *source // as the operator wrote it
	text     *source // as it is parsed
	tokens   token.Tokens
	problems Problems
	blotted  []blot
	open     bool // something is left unfinished: that the rest is not YAML says nothing
}

// blot is a stretch of a line that was overwritten.
type blot struct{ line, from, to int } // columns; to is exclusive

// newScan scans src and refuses what it must, up to a bound: beyond it some of
// what is not accepted is left unsaid. The parser may still find that the rest
// is not YAML.
func newScan(src *source) *scan {
	s := &scan{src: src, text: &source{file: src.file, lines: slices.Clone(src.lines)}}
	for scanned := 0; ; {
		text := s.text.text()
		s.tokens = lexer.Tokenize(text)
		s.tokens = slices.DeleteFunc(s.tokens, func(tk *token.Token) bool { return tk.Type == token.CommentType })
		if len(s.tokens) > maxTokens || !s.refuseFirst() {
			return s
		}
		if scanned += len(text); scanned > maxRescan {
			s.open = true
			return s
		}
	}
}

func (s *scan) add(line, column int, message, hint string) {
	s.problems = append(s.problems, *s.src.problem(line, column, message, hint))
}

// blot overwrites columns from to to (exclusive) of a line with r.
func (s *scan) blot(line, from, to int, r rune) {
	l := slices.Clone(s.text.line(line))
	for i := from; i < to && i <= len(l); i++ {
		l[i-1] = r
	}
	s.text.lines[line-1] = l
	s.blotted = append(s.blotted, blot{line, from, to})
}

// isBlotted says whether some of the text at a place was overwritten: its
// problem is known.
func (s *scan) isBlotted(line, column int, text string) bool {
	end := column + max(1, len([]rune(text)))
	return slices.ContainsFunc(s.blotted, func(b blot) bool {
		return b.line == line && b.from < end && column < b.to
	})
}

func (s *scan) isLineBlotted(line int) bool {
	return slices.ContainsFunc(s.blotted, func(b blot) bool { return b.line == line })
}

// refuseFirst reports and overwrites the first thing that is not accepted;
// false if there is none left.
func (s *scan) refuseFirst() bool {
	flow := 0
	for i, tk := range s.tokens {
		at := func(sign string) (int, int) { return s.signPlace(tk, sign) }
		switch tk.Type {
		case token.MappingStartType:
			if line, column := at("{"); s.text.has(line, column, "{{") {
				s.refuseTemplate(line, column, flow > 0)
				return true
			}
			flow++
		case token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.AliasType:
			line, column := at("*")
			s.refuseText(line, column, flow > 0, "YAML takes it for an alias")
			return true
		case token.AnchorType:
			line, column := at("&")
			s.refuseProperty(line, column, flow > 0, `anchors ("&name") are not supported`)
			return true
		case token.TagType:
			line, column := at("!")
			s.refuseProperty(line, column, flow > 0, `tags ("!name") are not supported`)
			return true
		case token.DirectiveType:
			line, column := at("%")
			s.refuseDirective(line, column)
			return true
		case token.MergeKeyType:
			line, column := at("<<")
			s.add(line, column, `merge keys ("<<") are not supported`, "write the settings out, or quote the key if it is text")
			s.blot(line, column, s.rest(line, column, flow > 0), 'x')
			s.blot(line, column+2, column+3, ':')
			s.blot(line, column+3, column+4, ' ')
			return true
		case token.MappingKeyType:
			line, column := at("?")
			s.add(line, column, `keys that start with "? " are not supported`, `write "key: value"`)
			s.cut(line)
			s.open = true
			return true
		case token.InvalidType:
			return s.refuseReserved(tk, flow > 0)
		case token.DocumentHeaderType:
			if i > 0 {
				s.add(tk.Position.Line, 1, "a second document starts here, and a file holds one", `delete the line "---"`)
				s.cut(tk.Position.Line)
				return true
			}
		case token.DocumentEndType:
			return s.refuseAfterEnd(tk, s.tokens[i+1:])
		}
	}
	return false
}

// cut drops everything from a line on.
func (s *scan) cut(line int) {
	s.text.lines = s.text.lines[:line-1]
}

// refuseAfterEnd cuts the layer at "..."; what follows is refused.
func (s *scan) refuseAfterEnd(end *token.Token, after token.Tokens) bool {
	if len(after) > 0 {
		line := after[0].Position.Line
		s.add(line, indentOf(s.src.line(line))+1, `there is more after "...", which ends the file`, `delete the line "..."`)
	}
	s.cut(end.Position.Line)
	return true
}

// rest returns the column after the value that starts at column: the end of
// the line or of the flow entry, without the comment.
func (s *scan) rest(line, column int, flow bool) int {
	l := s.text.line(line)
	end := commentAt(l, column-1)
	if flow {
		for i := column - 1; i < end; i++ {
			if strings.ContainsRune(",]}", l[i]) {
				end = i
			}
		}
	}
	for end > column && (l[end-1] == ' ' || l[end-1] == '\t') {
		end--
	}
	return end + 1
}

func (s *scan) between(line, from, to int) string {
	return string(s.text.line(line)[from-1 : to-1])
}

// refuseText refuses a whole value that should have been quoted, and says why.
func (s *scan) refuseText(line, column int, flow bool, why string) {
	end := s.rest(line, column, flow)
	text := s.between(line, column, end)
	message := fmt.Sprintf("text that starts with %q needs quotes: %s", s.text.at(line, column), why)
	hint := quoteHint("write", text)
	if name, ok := strings.CutPrefix(text, "*"); ok && isPlainKey(name) {
		message = `aliases ("*name") are not supported`
		hint = quoteHint("write the value out, or, if it is text,", text)
	}
	s.addOnce(line, column, message, hint)
	s.blot(line, column, end, 'x')
}

// refuseProperty refuses an anchor or a tag. The value after it is kept where
// it cannot be that the whole is meant as text.
func (s *scan) refuseProperty(line, column int, flow bool, message string) {
	end := s.rest(line, column, flow)
	text := s.between(line, column, end)
	name, value, _ := strings.Cut(text, " ")
	hint, to, over := "delete "+name, column+len([]rune(name)), ' '
	if value = strings.TrimSpace(value); value != "" && !strings.ContainsRune("|>{[\"'", rune(value[0])) {
		hint, to, over = quoteHint(hint+", or, if it is text, write", text), end, 'x'
	}
	s.addOnce(line, column, message, hint)
	s.blot(line, column, to, over)
}

// addOnce adds no second problem to a line: it would be about the rest of what
// the first is about.
func (s *scan) addOnce(line, column int, message, hint string) {
	if !s.isLineBlotted(line) {
		s.add(line, column, message, hint)
	}
}

// refuseTemplate refuses a template that lacks its quotes, which to YAML is a
// mapping inside a mapping.
func (s *scan) refuseTemplate(line, column int, flow bool) {
	end := s.rest(line, column, false)
	inside, _, closed := strings.Cut(string(s.text.line(line)[column-1:]), "}}")
	switch {
	case !closed:
		s.open = true
	case flow:
		end = column + len([]rune(inside+"}}"))
	}
	s.add(line, column, `a template needs quotes: without them YAML reads "{{" as the start of a mapping`,
		quoteHint("write", s.between(line, column, end)))
	s.blot(line, column, end, 'x')
}

func (s *scan) refuseDirective(line, column int) {
	if column > 1 {
		s.refuseText(line, column, false, "YAML takes it for a directive")
		return
	}
	s.add(line, column, `directives (lines that start with "%") are not supported`, "delete the line")
	s.blot(line, column, len(s.text.line(line))+1, ' ')
}

// refuseReserved refuses a value that starts with a character that YAML
// reserves. Other invalid tokens are left to the parser.
func (s *scan) refuseReserved(tk *token.Token, flow bool) bool {
	for _, sign := range []string{"@", "`"} {
		if s.text.has(tk.Position.Line, tk.Position.Column, sign) {
			s.refuseText(tk.Position.Line, tk.Position.Column, flow, "YAML reserves the character")
			return true
		}
	}
	return false
}

// quoteHint returns verb and text in single quotes, if that is short enough to
// be of help.
func quoteHint(verb, text string) string {
	if len(text) > 100 || strings.Contains(text, "\n") {
		return "put the value in single quotes"
	}
	return verb + " " + singleQuoted(text)
}
