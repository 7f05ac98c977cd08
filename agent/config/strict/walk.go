package strict

import (
	"maps"
	"reflect"
	"slices"
)

// Setting is one setting with its value.
type Setting struct {
	Path  string // as Origin takes it
	Value any
	Help  string // from the field's tag; a map's or list's entry has that of its field
}

// Walk calls fn for every setting of v (a configuration or a pointer to one) in
// declaration order, map entries by key. A list of scalars is one setting, a
// list of mappings one per setting in it. An empty map or list, and a nil
// pointer to a struct, are settings themselves.
func Walk(v any, fn func(Setting)) {
	mustCheckType(v)
	value := reflect.Indirect(reflect.ValueOf(v))
	if value.IsValid() {
		walk(value, Setting{}, fn)
	}
}

func walk(v reflect.Value, s Setting, fn func(Setting)) {
	t := v.Type()
	s.Value = v.Interface()
	switch {
	case isText(t):
		fn(s)
	case t.Kind() == reflect.Pointer && isMapping(t) && !v.IsNil():
		walk(v.Elem(), s, fn)
	case t.Kind() == reflect.Struct:
		for _, f := range fieldsOf(t) {
			walk(v.Field(f.index), Setting{Path: Key(s.Path, f.name), Help: f.help}, fn)
		}
	case t.Kind() == reflect.Map && v.Len() > 0:
		for _, k := range sortedKeys(v) {
			walk(v.MapIndex(k), Setting{Path: Key(s.Path, k.String()), Help: s.Help}, fn)
		}
	case t.Kind() == reflect.Slice && v.Len() > 0 && !isScalar(t.Elem()):
		for i := range v.Len() {
			walk(v.Index(i), Setting{Path: Index(s.Path, i), Help: s.Help}, fn)
		}
	default:
		fn(s)
	}
}

func sortedKeys(m reflect.Value) []reflect.Value {
	keys := map[string]reflect.Value{}
	for _, k := range m.MapKeys() {
		keys[k.String()] = k
	}
	sorted := make([]reflect.Value, 0, len(keys))
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		sorted = append(sorted, keys[name])
	}
	return sorted
}
