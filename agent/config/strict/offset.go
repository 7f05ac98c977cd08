package strict

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// quotedColumn returns the column of the byte at offset in the text of the
// quoted scalar that starts at column; false if that is not on this line.
func quotedColumn(line []rune, column, offset int) (int, bool) {
	if column > len(line) {
		return 0, false
	}
	quote := line[column-1]
	for i, bytes := column, 0; ; {
		width, decoded := quotedRune(line[i:], quote)
		if bytes >= offset {
			return i + 1, true
		}
		if width == 0 {
			return 0, false
		}
		bytes += max(1, utf8.RuneLen(decoded))
		i += width
	}
}

// quotedRune decodes the first character of what follows an opening quote. The
// width counts the characters it is written with; it is 0 at the closing
// quote, at the end of the line and for an escape that is none.
func quotedRune(rest []rune, quote rune) (width int, decoded rune) {
	switch {
	case len(rest) == 0:
		return 0, 0
	case rest[0] == quote:
		if quote == '\'' && len(rest) > 1 && rest[1] == quote {
			return 2, quote
		}
		return 0, 0
	case rest[0] == '\\' && quote == '"':
		return escape(rest)
	}
	return 1, rest[0]
}

// escapes are the escapes of YAML 1.2, section 5.7, that have no digits.
const (
	escapeSigns   = "0abt\tnvfre \"/\\N_LP"
	escapeDecoded = "\x00\a\b\t\t\n\v\f\r\x1b \"/\\\u0085\u00a0\u2028\u2029"
)

func escape(rest []rune) (width int, decoded rune) {
	if len(rest) < 2 {
		return 0, 0
	}
	if i := strings.IndexRune(escapeSigns, rest[1]); i >= 0 {
		return 2, []rune(escapeDecoded)[i]
	}
	digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[rest[1]]
	if digits == 0 || len(rest) < 2+digits {
		return 0, 0
	}
	code, err := strconv.ParseUint(string(rest[2:2+digits]), 16, 32)
	if err != nil || !utf8.ValidRune(rune(code)) {
		return 0, 0
	}
	return 2 + digits, rune(code)
}

// literalPlace returns the place of the byte at offset in the text of a literal
// block scalar.
func literalPlace(n *node, offset int) (line, column int, ok bool) {
	first := n.line + 1
	for first <= len(n.src.lines) && strings.TrimSpace(string(n.src.line(first))) == "" {
		first++
	}
	before := n.text[:offset]
	line = n.line + 1 + strings.Count(before, "\n")
	start := strings.LastIndexByte(before, '\n') + 1
	written, _, _ := strings.Cut(n.text[start:], "\n")
	column = indentOf(n.src.line(first)) + 1
	if line > len(n.src.lines) || written != "" && !n.src.has(line, column, written) {
		return 0, 0, false
	}
	return line, column + utf8.RuneCountInString(before[start:]), true
}
