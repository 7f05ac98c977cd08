package files

import (
	"bytes"
	"errors"
)

// A block is what is between two lines of its own in somebody else's file.
func markers(name, comment string) (begin, end []byte) {
	return []byte(comment + " BEGIN ecsnode: " + name + "\n"), []byte(comment + " END ecsnode: " + name + "\n")
}

var errMarkers = errors.New("its marker lines are not one pair: mend them by hand")

// find returns where the block begins and ends, its markers included; -1 where
// there is none.
func find(data []byte, name, comment string) (from, to int, err error) {
	begin, end := markers(name, comment)
	lineOf := func(marker []byte) (at int, err error) {
		at = -1
		for offset := 0; offset < len(data); {
			next := bytes.IndexByte(data[offset:], '\n')
			line := data[offset:]
			if next >= 0 {
				line = data[offset : offset+next+1]
			}
			if bytes.Equal(bytes.TrimRight(line, "\r\n"), bytes.TrimRight(marker, "\n")) {
				if at >= 0 {
					return 0, errMarkers
				}
				at = offset
			}
			offset += len(line)
		}
		return at, nil
	}
	from, err = lineOf(begin)
	if err != nil {
		return 0, 0, err
	}
	last, err := lineOf(end)
	if err != nil {
		return 0, 0, err
	}
	switch {
	case from < 0 && last < 0:
		return -1, -1, nil
	case from < 0 || last < from:
		return 0, 0, errMarkers
	}
	return from, min(last+len(end), len(data)), nil
}

// withBlock returns data with text, whole lines, as the block, at its place or at
// the end.
func withBlock(data []byte, name, comment string, text []byte) ([]byte, error) {
	from, to, err := find(data, name, comment)
	if err != nil {
		return nil, err
	}
	begin, end := markers(name, comment)
	block := join(begin, text, end)
	if from < 0 {
		if len(data) > 0 && data[len(data)-1] != '\n' {
			data = append(bytes.Clone(data), '\n')
		}
		return join(data, block), nil
	}
	return join(data[:from], block, data[to:]), nil
}

// withoutBlock returns data without the block.
func withoutBlock(data []byte, name, comment string) ([]byte, error) {
	from, to, err := find(data, name, comment)
	if err != nil || from < 0 {
		return data, err
	}
	return join(data[:from], data[to:]), nil
}

// blockOf returns the text of the block.
func blockOf(data []byte, name, comment string) (text []byte, there bool, err error) {
	from, to, err := find(data, name, comment)
	if err != nil || from < 0 {
		return nil, false, err
	}
	begin, end := markers(name, comment)
	return bytes.TrimSuffix(data[from+len(begin):to], end), true, nil
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
