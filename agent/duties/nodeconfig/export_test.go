package nodeconfig

import "fmt"

// Literal returns what a file assigns if it assigns literal values only, no
// name twice.
func Literal(body string) (vars []Variable, ok bool) {
	all, err := assignments(body)
	if err != nil {
		return nil, false
	}
	if err := confirm(body, all); err != nil {
		panic(fmt.Sprintf("%q is literal, and then again not: %v", body, err))
	}
	seen := map[string]bool{}
	for _, a := range all {
		if seen[a.name] {
			return nil, false
		}
		seen[a.name] = true
		vars = append(vars, Variable{a.name, a.value})
	}
	return vars, true
}
