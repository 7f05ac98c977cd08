package strict

// merge returns low with high over it. Neither is changed. Both have been
// decoded: what is empty is a mapping without settings.
func merge(low, high *node) *node {
	switch {
	case low == nil, high.kind != mapKind && !high.empty:
		return high
	case low.kind != mapKind && !low.empty:
		over := *high
		over.fresh = isReset(low)
		return &over
	}
	merged := *low
	merged.kind, merged.empty = mapKind, false
	merged.src, merged.line, merged.column = high.src, high.line, high.column
	merged.entries = append([]entry(nil), low.entries...)
	for _, e := range high.entries {
		if old := merged.entry(e.key); old != nil {
			e.value = merge(old.value, e.value)
			*old = e
		} else {
			merged.entries = append(merged.entries, e)
		}
	}
	return &merged
}

// locate walks from n down a path. It returns the entry (nil for the top and
// for a list's entry) and the node it got to, and whether that is the whole
// path.
func (n *node) locate(path string) (*entry, *node, bool) {
	steps, ok := splitPath(path)
	var at *entry
	for _, s := range steps {
		if s.list {
			item := n.item(s.index)
			if item == nil {
				return at, n, false
			}
			at, n = nil, item
			continue
		}
		e := n.entry(s.key)
		if e == nil {
			return at, n, false
		}
		at, n = e, e.value
	}
	return at, n, ok
}
