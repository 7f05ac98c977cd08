package strict

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The bounds of a layer. Beyond the size they exist because the YAML scanner
// and parser take quadratic time over blank lines at the head of a block
// scalar, over tabs inside quotes and over the keys of a mapping, and because
// the parser is recursive.
const (
	MaxSize       = 1 << 20 // bytes
	maxLine       = 16 << 10
	maxBlankLines = 100
	maxTokens     = 30_000
	maxDepth      = 64
)

// source is the text of a layer, as lines of characters.
type source struct {
	file  string
	lines [][]rune
}

// newSource checks what can be said of a layer without reading it as YAML.
func newSource(l Layer) (*source, *Problem) {
	s := &source{file: l.Name}
	if len(l.Data) > MaxSize {
		return s, s.problem(1, 1, fmt.Sprintf("the file is too large: %d bytes, of which a configuration may have %d", len(l.Data), MaxSize), "")
	}
	text := strings.TrimPrefix(string(l.Data), "\ufeff")
	if p := s.checkCharacters(text); p != nil {
		return s, p
	}
	for line := range strings.SplitSeq(text, "\n") {
		s.lines = append(s.lines, []rune(strings.TrimSuffix(line, "\r")))
	}
	return s, s.checkLines()
}

func (s *source) checkCharacters(text string) *Problem {
	line, column := 1, 1
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !isEncoded(text[i:]):
			return s.problem(line, column, fmt.Sprintf("the byte 0x%02x is not UTF-8 text", text[i]), "save the file as UTF-8")
		case r == '\r' && strings.HasPrefix(text[i:], "\r\n"), r == '\t':
		case r == '\n':
			line, column = line+1, 0
		case isControl(r):
			return s.problem(line, column, fmt.Sprintf("the control character U+%04X is not allowed", r),
				`delete it, or write it as an escape in double quotes`)
		}
		column++
	}
	return nil
}

// isEncoded says whether text starts with a real U+FFFD, not with a bad byte.
func isEncoded(text string) bool {
	_, size := utf8.DecodeRuneInString(text)
	return size > 1
}

func isControl(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 && r != 0x85 || r == 0xfeff || r == 0xfffe || r == 0xffff
}

func (s *source) checkLines() *Problem {
	blank := 0
	for i, line := range s.lines {
		if len(line) > maxLine {
			return s.problem(i+1, maxLine+1, fmt.Sprintf("the line is too long: more than %d characters", maxLine), "")
		}
		blank++
		if strings.TrimSpace(string(line)) != "" {
			blank = 0
		}
		if blank > maxBlankLines {
			return s.problem(i+1, 1, fmt.Sprintf("more than %d blank lines in a row", maxBlankLines), "")
		}
	}
	return nil
}

func (s *source) pos(line, column int) Pos {
	return Pos{File: s.file, Line: line, Column: column}
}

func (s *source) problem(line, column int, message, hint string) *Problem {
	return &Problem{Pos: s.pos(line, column), Message: message, Hint: hint}
}

func (s *source) text() string {
	var b strings.Builder
	for i, line := range s.lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(string(line))
	}
	return b.String()
}

// line returns line n, counted from 1; nil beyond the ends.
func (s *source) line(n int) []rune {
	if n < 1 || n > len(s.lines) {
		return nil
	}
	return s.lines[n-1]
}

// has says whether want is at the place.
func (s *source) has(line, column int, want string) bool {
	l := s.line(line)
	if column < 1 || column > len(l) {
		return false
	}
	n := utf8.RuneCountInString(want)
	return column-1+n <= len(l) && string(l[column-1:column-1+n]) == want
}

// at returns the character at the place, "" beyond the ends.
func (s *source) at(line, column int) string {
	l := s.line(line)
	if column < 1 || column > len(l) {
		return ""
	}
	return string(l[column-1])
}

// find returns the place of want on a line, the nearest to column. The scanner
// counts a tab as no column at all, so its columns are only near the truth. It
// places some texts of several lines at their last one, so where want is not on
// the line it is looked for on as many lines above. Where it is nowhere the
// result is the line's first character.
func (s *source) find(line, column int, want string, above int) (int, int) {
	line = min(max(line, 1), len(s.lines))
	for l := line; l >= max(1, line-above); l-- {
		if c, ok := s.findOnLine(l, column, want); ok {
			return l, c
		}
	}
	return line, indentOf(s.line(line)) + 1
}

func (s *source) findOnLine(line, column int, want string) (int, bool) {
	for d := 0; d <= len(s.line(line))+column; d++ {
		for _, c := range []int{column + d, column - d} {
			if s.has(line, c, want) {
				return c, true
			}
		}
	}
	return 0, false
}

// indentOf counts the white space that line starts with.
func indentOf(line []rune) int {
	n := 0
	for n < len(line) && (line[n] == ' ' || line[n] == '\t') {
		n++
	}
	return n
}

// commentAt returns the index in line, at or after from, where a comment
// starts, with the white space before it; len(line) if there is none. It knows
// nothing of quotes.
func commentAt(line []rune, from int) int {
	for i := from; i < len(line); i++ {
		if line[i] == '#' && i > 0 && (line[i-1] == ' ' || line[i-1] == '\t') {
			return i
		}
	}
	return len(line)
}
