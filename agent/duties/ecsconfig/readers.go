package ecsconfig

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// assignment is one variable as a reader of ecs.config takes it.
type assignment struct {
	key, value string
	from, to   int // the lines, counted from 1, that it begins and ends on
}

// reader is one of the programs that read ecs.config. The agent's container
// gets what ecs-init reads; systemd gives ecs-init its own environment.
type reader struct {
	name string
	// read returns what the program takes, in order: the last assignment of a
	// key counts. With an error it takes nothing of the file.
	read func(data []byte) ([]assignment, *ignoredError)
}

func readers() []reader {
	return []reader{
		{"ecs-init", readECSInit},
		{"systemd", func(data []byte) ([]assignment, *ignoredError) { return readSystemd(data, false) }},
		// Amazon Linux 2023 has systemd 252. Older ones still, as of Amazon Linux
		// 2, where a backslash escapes in single quotes too, are not looked at.
		{"systemd before 254", func(data []byte) ([]assignment, *ignoredError) { return readSystemd(data, true) }},
	}
}

// ignoredError says what makes a program ignore the whole file, and where.
type ignoredError struct {
	line int
	what string
}

func (e *ignoredError) Error() string { return e.what }

// readECSInit reads as getEnvVars in aws/amazon-ecs-agent:ecs-init/docker/docker.go
// does: a line is split at its first "=" and nothing else means anything, so
// that quotes are part of the value and a comment with "=" is a variable.
func readECSInit(data []byte) ([]assignment, *ignoredError) {
	var found []assignment
	line := 0
	for text := range strings.SplitSeq(string(data), "\n") {
		line++
		if key, value, ok := strings.Cut(strings.TrimSpace(text), "="); ok {
			found = append(found, assignment{key, value, line, line})
		}
	}
	return found, nil
}

// readSystemd reads as load_env_file in systemd/systemd:src/basic/env-file.c
// does for EnvironmentFile=. Before version 254 a backslash at the end of a
// comment made the next line part of the comment: joinComments.
func readSystemd(data []byte, joinComments bool) ([]assignment, *ignoredError) {
	// read_full_file in src/basic/fileio.c refuses a file with a NUL.
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return nil, &ignoredError{1 + bytes.Count(data[:i], []byte("\n")), "there is a NUL byte"}
	}
	s := &envScanner{joinComments: joinComments, line: 1}
	for _, c := range data {
		s.step(c)
		if c == '\n' {
			s.line++
		}
		if s.err != nil {
			return nil, s.err
		}
	}
	switch s.state {
	case beforeKey, inKey, inComment, commentEscape:
	default:
		s.emit()
	}
	if s.err != nil {
		return nil, s.err
	}
	return s.found, nil
}

type envState int

const (
	beforeKey envState = iota
	inKey
	beforeValue // also after a closing quote
	inValue
	valueEscape
	inSingleQuotes
	inDoubleQuotes
	doubleQuotesEscape
	inComment
	commentEscape
)

type envScanner struct {
	joinComments     bool
	state            envState
	line, from       int
	key, value       []byte
	keyEnd, valueEnd int // lengths without the white space that is chomped
	found            []assignment
	err              *ignoredError
}

func isNewline(c byte) bool { return c == '\n' || c == '\r' }

func isBlank(c byte) bool { return c == ' ' || c == '\t' || isNewline(c) }

func (s *envScanner) step(c byte) {
	switch s.state {
	case beforeKey, inKey:
		s.stepKey(c)
	case inComment, commentEscape:
		s.stepComment(c)
	case inSingleQuotes, inDoubleQuotes, doubleQuotesEscape:
		s.stepQuotes(c)
	default:
		s.stepValue(c)
	}
}

func (s *envScanner) stepKey(c byte) {
	switch {
	case s.state == beforeKey && (c == '#' || c == ';'):
		s.state = inComment
	case s.state == beforeKey && isBlank(c):
	case s.state == beforeKey: // "=" too begins a key
		s.state, s.from = inKey, s.line
		s.key, s.keyEnd = append(s.key[:0], c), 1
		s.value, s.valueEnd = s.value[:0], 0
	case isNewline(c):
		s.state = beforeKey // no "=": the line is ignored
	case c == '=':
		s.state = beforeValue
	default:
		s.key = append(s.key, c)
		if !isBlank(c) {
			s.keyEnd = len(s.key)
		}
	}
}

func (s *envScanner) stepValue(c byte) {
	switch {
	case s.state == valueEscape:
		s.state = inValue
		if !isNewline(c) { // else the line goes on
			s.add(c)
		}
	case isNewline(c):
		s.emit()
		s.state = beforeKey
	case c == '\\':
		s.state, s.valueEnd = valueEscape, len(s.value)
	case s.state == beforeValue && c == '\'':
		s.state = inSingleQuotes
	case s.state == beforeValue && c == '"':
		s.state = inDoubleQuotes
	case s.state == beforeValue && isBlank(c):
	case isBlank(c):
		s.value = append(s.value, c)
	default:
		s.state = inValue
		s.add(c)
	}
}

// stepQuotes takes newlines like any other character.
func (s *envScanner) stepQuotes(c byte) {
	switch {
	case s.state == doubleQuotesEscape:
		s.state = inDoubleQuotes
		switch c {
		case '"', '\\', '`', '$':
			s.add(c)
		case '\n':
		default:
			s.add('\\', c)
		}
	case s.state == inSingleQuotes && c == '\'', s.state == inDoubleQuotes && c == '"':
		s.state = beforeValue
	case s.state == inDoubleQuotes && c == '\\':
		s.state = doubleQuotesEscape
	default:
		s.add(c)
	}
}

func (s *envScanner) stepComment(c byte) {
	switch {
	case s.state == commentEscape && (s.joinComments || !isNewline(c)):
		s.state = inComment
	case isNewline(c):
		s.state = beforeKey
	case c == '\\':
		s.state = commentEscape
	}
}

func (s *envScanner) add(c ...byte) {
	s.value = append(s.value, c...)
	s.valueEnd = len(s.value)
}

// emit takes what has been read unless its key is no name of a variable.
func (s *envScanner) emit() {
	key, value := string(s.key[:s.keyEnd]), string(s.value[:s.valueEnd])
	if !isSystemdText(key) || !isSystemdText(value) {
		s.err = &ignoredError{s.from, "there is text that is not valid UTF-8"}
		return
	}
	if isVariableName(key) {
		s.found = append(s.found, assignment{key, value, s.from, s.line})
	}
}

// isSystemdText is utf8_is_valid in systemd/systemd:src/basic/utf8.c, which
// refuses the noncharacters of Unicode too.
func isSystemdText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE {
			return false
		}
	}
	return true
}

func isVariableName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// maxValue keeps KEY=value well under the 128 KiB that one string of a
// process's environment may have (MAX_ARG_STRLEN of Linux).
const maxValue = 64 << 10

// checkWritable says why KEY=value would not give every reader this value.
func checkWritable(value string) error {
	trimmed := strings.TrimSpace(value)
	control := strings.IndexFunc(value, isControl)
	switch {
	case len(value) > maxValue:
		return fmt.Errorf("the value has %d bytes, of which ecs.config can hold %d", len(value), maxValue)
	case !isSystemdText(value):
		return fmt.Errorf("the value is not valid UTF-8 text")
	case control >= 0:
		r, _ := utf8.DecodeRuneInString(value[control:])
		return fmt.Errorf("the value has the control character %U, which ecs.config cannot hold", r)
	case trimmed != value:
		return fmt.Errorf("the value begins or ends with white space, which ecs.config cannot hold")
	case strings.Contains(value, `\`):
		return fmt.Errorf("the value has a backslash, which the readers of ecs.config take differently")
	case strings.HasPrefix(value, `"`), strings.HasPrefix(value, "'"):
		return fmt.Errorf("the value begins with a quote, which the readers of ecs.config take differently")
	}
	return nil
}

// isControl is unicode.IsControl without its tables: C0, DEL and C1.
func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }
