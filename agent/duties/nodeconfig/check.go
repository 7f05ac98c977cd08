package nodeconfig

import (
	"errors"
	"fmt"
)

// check tells whether body, a rendering of source for a shell, does what it is
// for and nothing else: every value in it comes back as it went in, and no
// value has become a piece of shell code or an assignment of its own.
func check(body, source string, vars []Variable) error {
	found, err := assignments(body)
	if err == nil {
		err = confirm(body, found)
	}
	if err != nil {
		return err
	}
	want := make(map[string]string, len(vars))
	for _, v := range vars {
		want[v.Name] = v.Value
	}
	own := writtenOut(source)
	seen := map[string]bool{}
	for _, a := range found {
		value, known := want[a.name]
		switch {
		case seen[a.name]:
			return fmt.Errorf("line %d: %s is assigned a second time", a.line, a.name)
		case known && value != a.value:
			return fmt.Errorf("line %d: %s does not come back as it went in: in the template, pass it through shellquote", a.line, a.name)
		case !known && !own[a.name]:
			return fmt.Errorf("line %d: %s is assigned, but it is neither a variable of the file nor written as %s= in the template: is a shellquote missing?", a.line, a.name, a.name)
		}
		seen[a.name] = true
	}
	return allThere(vars, seen)
}

// writtenOut returns the names that a template assigns in so many words: those
// directly before a "=".
func writtenOut(source string) map[string]bool {
	names := map[string]bool{}
	start := 0 // of the run of name bytes that ends at i
	for i := range len(source) {
		if source[i] == '=' {
			names[source[start:i]] = true
		}
		if !isNameByte(source[i]) {
			start = i + 1
		}
	}
	return names
}

// allThere tells whether a file leaves out none of its values and tags. A
// template of the operator's own may do without standard variables.
func allThere(vars []Variable, seen map[string]bool) error {
	for _, v := range vars {
		if !seen[v.Name] && !isStandard(v.Name) {
			return fmt.Errorf("%s is not in the rendered file: the template must write every value and tag", v.Name)
		}
	}
	if len(seen) == 0 {
		return errors.New("the rendered file has no variable")
	}
	return nil
}
