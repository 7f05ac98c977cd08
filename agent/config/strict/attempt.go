package strict

// Attempt decodes like Decode, but applies of a layer with problems what is good
// in it. Nothing may act on the outcome: it is for checks of what the values say
// together, so that they report on a file beside its other problems. The Result
// has no problems of its own; it places those of the checks.
//
// What is not good is not set, but a pointer to it is not nil. A list of which
// one entry is not good is not set at all. Of a layer that is no YAML nothing is.
func Attempt(into any, layers ...Layer) *Result {
	target := targetOf(into)
	r := &Result{}
	for _, l := range layers {
		if tree, _ := parse(l); tree != nil {
			r.add(l, tree, nil)
		}
	}
	if r.root != nil {
		d := decoder{root: target.Type()}
		d.value(r.root, target, "")
	}
	return r
}
