package strict

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// decoder sets values from nodes and collects what does not fit.
type decoder struct {
	root     reflect.Type
	problems Problems
}

func (d *decoder) add(pos Pos, path, message, hint string) {
	d.problems = append(d.problems, Problem{Pos: pos, Path: path, Message: message, Hint: hint})
}

// mismatch reports a node that is no t, and returns false.
func (d *decoder) mismatch(n *node, t reflect.Type, path, hint string) bool {
	if n.flow && isScalar(t) {
		hint = "if it is text, put it in quotes"
	}
	d.add(n.pos(), path, "expected "+expected(t)+", found "+found(n), hint)
	return false
}

// value decodes n into v, which is settable, and says whether it set v. What is
// wrong in n is reported and not set: a struct keeps the field it had, a map
// gets no such entry, and a list is not set at all, for the places of its
// entries are their names.
func (d *decoder) value(n *node, v reflect.Value, path string) bool {
	t := v.Type()
	switch {
	case n.kind == refusedKind:
		return false
	case n.empty && !isMapping(t):
		return d.missing(n, t, path)
	case t.Kind() == reflect.Pointer:
		to := newEntry(t.Elem())
		if !v.IsNil() {
			to.Set(v.Elem())
		}
		good := d.value(n, to, path)
		v.Set(to.Addr()) // also when it is not good: an [Attempt] is to know that it is there
		return good
	case isText(t):
		return d.text(n, v, path)
	case t.Kind() == reflect.Struct:
		return d.structure(n, v, path)
	case t.Kind() == reflect.Map:
		return d.mapping(n, v, path)
	case t.Kind() == reflect.Slice:
		return d.list(n, v, path)
	}
	return d.scalar(n, v, path)
}

// missing reports a key with nothing after it where that is not a mapping, and
// returns false.
func (d *decoder) missing(n *node, t reflect.Type, path string) bool {
	hint := "write null to leave it unset"
	switch {
	case t.Kind() == reflect.String:
		hint += ", '' for an empty text"
	case t.Kind() == reflect.Slice:
		hint += ", [] for an empty list"
	}
	d.add(n.pos(), path, "there is no value: expected "+expected(t), hint)
	return false
}

// isReset says whether n sets a setting back to its default.
func isReset(n *node) bool { return n.kind == nullKind && !n.empty }

// distinct returns the entries of a mapping without those whose key came
// before, which it reports.
func (d *decoder) distinct(n *node, path string) []*entry {
	var entries []*entry
	first := map[string]*entry{}
	for i := range n.entries {
		e := &n.entries[i]
		if f := first[e.key]; f != nil {
			d.add(e.pos(), Key(path, e.key), fmt.Sprintf("set twice, first on line %d", f.line), "delete one of them")
			continue
		}
		first[e.key] = e
		entries = append(entries, e)
	}
	return entries
}

func (d *decoder) structure(n *node, v reflect.Value, path string) bool {
	t := v.Type()
	if n.kind != mapKind && n.kind != nullKind {
		return d.mismatch(n, t, path, "")
	}
	fields := fieldsOf(t)
	for _, e := range d.distinct(n, path) {
		f := slices.IndexFunc(fields, func(f field) bool { return f.name == e.key })
		switch {
		case f < 0:
			d.add(e.pos(), path, "unknown key "+quote(e.key), d.suggest(e.key, fields))
		case !isReset(e.value):
			d.value(e.value, v.Field(fields[f].index), Key(path, e.key))
		}
	}
	return true
}

func (d *decoder) mapping(n *node, v reflect.Value, path string) bool {
	t := v.Type()
	if n.kind != mapKind && n.kind != nullKind {
		return d.mismatch(n, t, path, "")
	}
	m := reflect.MakeMap(t)
	for _, k := range v.MapKeys() {
		m.SetMapIndex(k, v.MapIndex(k))
	}
	for _, e := range d.distinct(n, path) {
		at := Key(path, e.key)
		key := reflect.ValueOf(e.key).Convert(t.Key())
		goodKey := d.checkKey(e, t.Key(), at)
		if isReset(e.value) {
			m.SetMapIndex(key, reflect.Value{})
			continue
		}
		element := newEntry(t.Elem())
		if old := m.MapIndex(key); old.IsValid() && !e.value.fresh {
			element.Set(old)
		}
		if d.value(e.value, element, at) && goodKey {
			m.SetMapIndex(key, element)
		}
	}
	v.Set(m)
	return true
}

// checkKey reports a key that the map does not take.
func (d *decoder) checkKey(e *entry, t reflect.Type, path string) bool {
	if e.key == "" {
		d.add(e.pos(), path, "a key must not be empty", "")
		return false
	}
	hint, ok := checkString(e.key, t)
	if !ok {
		d.add(e.pos(), path, "expected "+expected(t)+" as the key, found "+quote(e.key), hint)
	}
	return ok
}

func (d *decoder) list(n *node, v reflect.Value, path string) bool {
	t := v.Type()
	if n.kind != listKind {
		return d.mismatch(n, t, path, listHint(n, t))
	}
	list := reflect.MakeSlice(t, len(n.items), len(n.items))
	good := true
	for i, item := range n.items {
		list.Index(i).Set(newEntry(t.Elem()))
		if item.kind == nullKind {
			d.add(item.pos(), Index(path, i), fmt.Sprintf("a list's entry must have a value: expected %s, found %s", expected(t.Elem()), found(item)), "")
			good = false
			continue
		}
		good = d.value(item, list.Index(i), Index(path, i)) && good
	}
	if good {
		v.Set(list)
	}
	return good
}

// listHint shows how to write as a list what n says without being one.
func listHint(n *node, t reflect.Type) string {
	if n.kind != scalarKind || !isScalar(t.Elem()) || len(n.text) > 60 {
		return ""
	}
	parts := strings.Split(n.text, ",")
	for i, p := range parts {
		parts[i] = formatString(strings.TrimSpace(p))
	}
	return "write [" + strings.Join(parts, ", ") + "]"
}
