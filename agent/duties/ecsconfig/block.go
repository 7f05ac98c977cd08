package ecsconfig

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// The lines of the block that are no settings. None has an "=": to ecs-init it
// would be a variable.
const (
	beginMark = "# BEGIN ecsnode"
	endMark   = "# END ecsnode"
	beginLine = beginMark + ": ecsnode writes this block, changes within it are lost\n"
	breakLine = "# The line break before this block is ecsnode's too.\n"
	endLine   = endMark + "\n"
)

// setting is one line of the block.
type setting struct{ key, value string }

// contents is ecs.config taken apart.
type contents struct {
	before, after []byte // what is not ours
	block         []byte // ours, with its marker lines; nil: there is none
	// ownBreak says that the last newline of before is ours: what was there
	// when the block was first written did not end in one.
	ownBreak bool
	settings []setting // of the block
	strays   []string  // keys of lines that others wrote into the block; the lines are in after
}

// markerError is a file whose marker lines say no one thing.
type markerError struct {
	line int
	what string
}

func (e *markerError) Error() string {
	return fmt.Sprintf("line %d: %s; remove the marker lines of ecsnode and what it wrote between them, and it writes the block anew", e.line, e.what)
}

// parse finds the block.
func parse(file []byte) (contents, error) {
	begin, blockEnd := -1, -1 // offsets
	beginAt, number, offset := 0, 0, 0
	for line := range bytes.Lines(file) {
		number++
		switch {
		case isMark(line, beginMark) && begin >= 0:
			return contents{}, &markerError{number, fmt.Sprintf("a second %q, after that of line %d", beginMark, beginAt)}
		case isMark(line, beginMark):
			begin, beginAt = offset, number
		case isMark(line, endMark) && (begin < 0 || blockEnd >= 0):
			return contents{}, &markerError{number, fmt.Sprintf("%q without %q before it", endMark, beginMark)}
		case isMark(line, endMark):
			blockEnd = offset + len(line)
		}
		offset += len(line)
	}
	switch {
	case begin < 0:
		return contents{before: file}, nil
	case blockEnd < 0:
		return contents{}, &markerError{beginAt, fmt.Sprintf("%q without %q after it", beginMark, endMark)}
	}
	c := contents{before: file[:begin], block: file[begin:blockEnd]}
	c.ownBreak = begin > 0 && bytes.Contains(c.block, []byte(breakLine))
	var strays []byte
	for line := range bytes.Lines(c.block) {
		assignments, _ := readECSInit(line) // never fails
		for _, a := range assignments {
			if canBeOurs(a.key) {
				c.settings = append(c.settings, setting{a.key, a.value})
				continue
			}
			strays = append(strays, line...)
			c.strays = append(c.strays, a.key)
		}
	}
	c.after = slices.Concat(strays, file[blockEnd:])
	return c, nil
}

// canBeOurs reports whether there is a configuration that makes ecsnode write
// this key.
func canBeOurs(key string) bool { return ownSetting(key) != "" || checkKey(key) == nil }

// isMark reports whether line is a marker line, whatever it goes on to say and
// with whatever line end an editor gave it.
func isMark(line []byte, mark string) bool {
	rest, ok := strings.CutPrefix(strings.TrimSpace(string(line)), mark)
	return ok && (rest == "" || rest[0] == ':' || rest[0] == ' ')
}

// bytes returns the file, with what others wrote into the block behind it.
func (c contents) bytes() []byte { return slices.Concat(c.before, c.block, c.after) }

// outside returns the file without the block: byte for byte what it was, unless
// something has been written behind a line break of ours, which then stays.
func (c contents) outside() []byte {
	if c.ownBreak && len(c.after) == 0 {
		return c.before[:len(c.before)-1]
	}
	return slices.Concat(c.before, c.after)
}

// Without returns a file without the block of ecsnode, for an image of the node.
func Without(file []byte) ([]byte, error) {
	c, err := parse(file)
	if err != nil {
		return nil, err
	}
	return c.outside(), nil
}

// value returns what the block sets a key to.
func (c contents) value(key string) (string, bool) {
	for _, s := range slices.Backward(c.settings) {
		if s.key == key {
			return s.value, true
		}
	}
	return "", false
}

// lineOf returns the line of the file that a line of outside is.
func (c contents) lineOf(line int) int {
	if line > countLines(c.before) {
		line += countLines(c.block)
	}
	return line
}

func countLines(text []byte) int { return bytes.Count(text, []byte("\n")) }

// inPlace returns the file with these settings where the block is now.
func (c contents) inPlace(settings []setting) contents {
	c.settings, c.block = settings, format(settings, c.ownBreak)
	return c
}

// atEnd returns the file with these settings in a block at its end.
func (c contents) atEnd(settings []setting) contents {
	before := c.outside()
	ownBreak := len(before) > 0 && !bytes.HasSuffix(before, []byte("\n"))
	if ownBreak {
		before = slices.Concat(before, []byte("\n"))
	}
	return contents{before: before, block: format(settings, ownBreak), ownBreak: ownBreak, settings: settings}
}

func format(settings []setting, ownBreak bool) []byte {
	var b bytes.Buffer
	b.WriteString(beginLine)
	if ownBreak {
		b.WriteString(breakLine)
	}
	for _, s := range settings {
		b.WriteString(s.key + "=" + s.value + "\n")
	}
	b.WriteString(endLine)
	return b.Bytes()
}

// place returns the file with a block that holds these settings, each of which
// can be written. The block stays where it is as long as every reader takes
// the settings from there, and else goes to the end, where the last assignment
// of a key is. Without settings there is no block.
func (c contents) place(settings []setting) (contents, error) {
	if len(settings) == 0 {
		return contents{before: c.outside()}, nil
	}
	outside := c.outside()
	if c.block != nil {
		if in := c.inPlace(settings); in.verify(outside) == nil {
			return in, nil
		}
	}
	end := c.atEnd(settings)
	if err := end.verify(outside); err != nil {
		return contents{}, fmt.Errorf("line %d: %s", c.lineOf(err.line), err.what)
	}
	return end, nil
}

// misread says which line of the outside keeps a reader from taking the block
// as it is meant.
type misread struct {
	line int
	what string
}

// verify reads the file as its readers do. Each must take from the block its
// settings, all of them and nothing else, from the outside what it takes
// without the block, and no later value of a key of ours. It returns nil if so.
func (c contents) verify(outside []byte) *misread {
	for _, r := range readers() {
		want, err := r.read(outside)
		if err != nil {
			return &misread{err.line, fmt.Sprintf("%v, and %s ignores a file with that: mend the line", err, r.name)}
		}
		got, err := r.read(c.bytes())
		if err != nil {
			return &misread{1, fmt.Sprintf("%s ignores the file once the block is in it: %v", r.name, err)}
		}
		if bad := c.compare(r.name, got, want); bad != nil {
			return bad
		}
	}
	return nil
}

// compare judges what one reader takes from the file, and from its outside.
func (c contents) compare(name string, got, outside []assignment) *misread {
	first := countLines(c.before) + 1
	last := first + countLines(c.block) - 1
	var inside []setting
	var rest []assignment
	for _, a := range got {
		switch {
		case a.from < first && a.to >= first:
			return &misread{a.from, fmt.Sprintf("%s reads the value of %s on beyond the end of its line, because of an open quote or a backslash, and would take the block of ecsnode as part of it: mend the line", name, a.key)}
		case a.from > last && slices.ContainsFunc(c.settings, func(s setting) bool { return s.key == a.key }):
			return &misread{a.from, fmt.Sprintf("%s is set again after the block", a.key)}
		case a.from >= first && a.from <= last:
			inside = append(inside, setting{a.key, a.value})
		default:
			rest = append(rest, a)
		}
	}
	same := func(a, b assignment) bool { return a.key == b.key && a.value == b.value }
	if !slices.Equal(inside, c.settings) || !slices.EqualFunc(rest, outside, same) {
		return &misread{first, fmt.Sprintf("%s does not read the block as it is meant", name)}
	}
	return nil
}
