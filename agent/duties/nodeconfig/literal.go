package nodeconfig

import (
	"errors"
	"fmt"
	"strings"
)

// assignment is one NAME=value of a shell file.
type assignment struct {
	name, value string
	line        int
	exported    bool
}

// Assignment is one NAME=value of a file that a shell sources.
type Assignment struct {
	Name, Value string
	Line        int
	Exported    bool
}

// Assignments returns what a file for shells assigns, in order. A file that does
// anything else is an error that names the line.
func Assignments(text string) ([]Assignment, error) {
	found, err := assignments(text)
	if err == nil {
		err = confirm(text, found)
	}
	if err != nil {
		return nil, err
	}
	all := make([]Assignment, len(found))
	for i, a := range found {
		all[i] = Assignment{a.name, a.value, a.line, a.exported}
	}
	return all, nil
}

// assignments reads a file that a POSIX shell could source and returns what it
// assigns, in order. It accepts only files that do nothing else: assignments of
// literal values, also after export or readonly, and comments. Whatever a
// shell would expand, run or redirect is an error that names the line, and so
// is what shells do not agree on.
//
// It works on bytes, in one go and without recursion, because what it reads
// may be anything.
func assignments(text string) ([]assignment, error) {
	s := &scanner{text: text, line: 1}
	var all []assignment
	for s.toStatement() {
		more, err := s.statement()
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", s.line, err)
		}
		all = append(all, more...)
	}
	return all, nil
}

var (
	errNotLiteral = errors.New("only assignments of literal values are allowed, with or without export or readonly")
	errExpands    = errors.New("the value is not literal: a shell would expand something in it")
)

// scanner reads a shell file byte by byte. Its methods leave at on the first
// byte that they did not take.
type scanner struct {
	text string
	at   int
	line int // of at, counted from 1
}

// peek returns the byte at hand, and 0 at the end. A NUL in the file is
// accepted nowhere.
func (s *scanner) peek() byte {
	if s.at == len(s.text) {
		return 0
	}
	return s.text[s.at]
}

func (s *scanner) end() bool { return s.at == len(s.text) }

// take returns the byte at hand and goes on to the next.
func (s *scanner) take() byte {
	c := s.text[s.at]
	if c == '\n' {
		s.line++
	}
	s.at++
	return c
}

// blanks skips the white space within a line, and a comment after it.
func (s *scanner) blanks() {
	for s.peek() == ' ' || s.peek() == '\t' {
		s.at++
	}
	if s.peek() != '#' {
		return
	}
	for !s.end() && s.peek() != '\n' && s.peek() != 0 {
		s.at++
	}
}

// toStatement goes on to the next statement, if there is one.
func (s *scanner) toStatement() bool {
	for s.blanks(); s.peek() == '\n'; s.blanks() {
		s.take()
	}
	return !s.end()
}

// statement takes one statement with the line end or semicolon after it.
func (s *scanner) statement() ([]assignment, error) {
	start := s.at
	name := s.name()
	exported := false
	if (name == "export" || name == "readonly") && (s.peek() == ' ' || s.peek() == '\t') {
		exported = name == "export"
		s.blanks()
	} else {
		s.at = start
	}
	var all []assignment
	for {
		one, err := s.assignment()
		if err != nil {
			return nil, err
		}
		one.exported = exported
		all = append(all, one)
		s.blanks()
		if s.end() {
			return all, nil
		}
		if c := s.peek(); c == '\n' || c == ';' {
			s.take()
			return all, nil
		}
	}
}

// name takes what may be a name.
func (s *scanner) name() string {
	start := s.at
	for isNameByte(s.peek()) {
		s.at++
	}
	return s.text[start:s.at]
}

func (s *scanner) assignment() (assignment, error) {
	a := assignment{name: s.name(), line: s.line}
	if !isName(a.name) || s.peek() != '=' {
		return a, errNotLiteral
	}
	s.take()
	var value strings.Builder
	if err := s.value(&value); err != nil {
		return a, fmt.Errorf("%s: %w", a.name, err)
	}
	a.value = value.String()
	return a, nil
}

// value takes a word. Outside of quotes only that may stand which no shell
// gives a meaning anywhere in a word.
func (s *scanner) value(out *strings.Builder) error {
	for !s.end() {
		switch c := s.peek(); {
		case c == ' ' || c == '\t' || c == '\n' || c == ';':
			return nil
		case c == '\'':
			if err := s.singleQuoted(out); err != nil {
				return err
			}
		case c == '"':
			if err := s.doubleQuoted(out); err != nil {
				return err
			}
		case c == '\\':
			s.take()
			if s.peek() < ' ' || s.peek() > '~' {
				return errors.New("a backslash outside of quotes must be before a printable ASCII character")
			}
			out.WriteByte(s.take())
		case isNameByte(c) || strings.IndexByte("./:,+@%=-", c) >= 0:
			out.WriteByte(s.take())
		default:
			return unquoted(c)
		}
	}
	return nil
}

func unquoted(c byte) error {
	switch c {
	case '$', '`':
		return errExpands
	case '\r':
		return errors.New("there is a carriage return outside of quotes: lines must end in LF alone")
	case '(', ')', '&', '|', '<', '>':
		return errNotLiteral
	case 0:
		return errors.New("there is a NUL byte, which shells drop")
	}
	return fmt.Errorf("%q must be in quotes", string([]byte{c}))
}

func (s *scanner) singleQuoted(out *strings.Builder) error {
	text, _, closed := strings.Cut(s.text[s.at+1:], "'")
	switch {
	case !closed:
		return errors.New("a single quote is never closed")
	case strings.Contains(text, "\x00"):
		return unquoted(0)
	}
	out.WriteString(text)
	s.at += len(text) + 2
	s.line += strings.Count(text, "\n")
	return nil
}

// doubleQuoted takes text in which a backslash stands for itself unless it is
// before a character that means something there.
func (s *scanner) doubleQuoted(out *strings.Builder) error {
	opened := s.line
	s.take()
	for !s.end() {
		switch c := s.take(); c {
		case '"':
			return nil
		case '\\':
			switch s.peek() {
			case '\n':
				s.take() // the line goes on
			case '$', '`', '"', '\\':
				out.WriteByte(s.take())
			default:
				out.WriteByte(c)
			}
		case '$', '`', 0:
			return unquoted(c)
		case '\x01', '\x7f':
			return fmt.Errorf("%q must be in single quotes: bash loses it in double ones", c)
		default:
			out.WriteByte(c)
		}
	}
	s.line = opened
	return errors.New("a double quote is never closed")
}
