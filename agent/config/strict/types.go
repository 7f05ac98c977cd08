package strict

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Expecter is a type that says in words what it takes, to follow "expected":
// `a duration such as "15m"`.
type Expecter interface{ Expected() string }

// Enumer is a type based on string, or a text type, that takes these texts only.
type Enumer interface{ Enum() []string }

// Patterner is a type with a regular expression for its texts, in the syntax
// that RE2 and ECMA 262 share. Schema publishes it. For a type based on string
// it is enforced too; a text type decides for itself.
type Patterner interface{ SchemaPattern() string }

// Defaulter is a struct with defaults of its own where it is a map's or a
// list's entry or behind a nil pointer: SetDefaults is called on each new one
// before it is decoded.
type Defaulter interface{ SetDefaults() }

// Offsetter is an error that knows where inside the text it arose: the offset
// in bytes.
type Offsetter interface{ Offset() int }

// Hinter is an error that knows what to do about it.
type Hinter interface{ Hint() string }

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
)

// as returns a new t as an I, if *t is one.
func as[I any](t reflect.Type) (I, bool) {
	i, ok := reflect.New(t).Interface().(I)
	return i, ok
}

func isText(t reflect.Type) bool {
	return t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(textUnmarshaler)
}

// isMapping says whether t is written as a mapping.
func isMapping(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return !isText(t) && (t.Kind() == reflect.Struct || t.Kind() == reflect.Map)
}

// isScalar says whether t is written as a scalar.
func isScalar(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return isText(t) || !isMapping(t) && t.Kind() != reflect.Slice
}

// newEntry returns a new, settable t with its own defaults.
func newEntry(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	if d, ok := p.Interface().(Defaulter); ok {
		d.SetDefaults()
	}
	return p.Elem()
}

// field is a setting of a struct.
type field struct {
	name, help string
	index      int
	typ        reflect.Type
}

// fieldsOf returns the settings of struct t in declaration order.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		fields = append(fields, field{name: name, help: f.Tag.Get("help"), index: i, typ: f.Type})
	}
	return fields
}

// CheckType says why a configuration of v's type (a struct, or a pointer to
// one) cannot be used: a field without a yaml or help tag, two fields with one
// key, a kind that has no form in YAML, a type that contains itself. Decode,
// Walk and Schema take only types that it accepts.
func CheckType(v any) error {
	t := reflect.TypeOf(v)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct || isText(t) {
		return fmt.Errorf("cannot use %T as a configuration: it is not a struct", v)
	}
	c := typeChecker{}
	c.check(t, t.String(), nil)
	return errors.Join(c.errs...)
}

// mustCheckType panics for a type that CheckType refuses, which every first
// use of it shows.
func mustCheckType(v any) {
	if err := CheckType(v); err != nil {
		panic(err)
	}
}

type typeChecker struct{ errs []error }

func (c *typeChecker) refuse(where, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("cannot use %s: %s", where, fmt.Sprintf(format, args...)))
}

func (c *typeChecker) check(t reflect.Type, where string, outer []reflect.Type) {
	for _, o := range outer {
		if o == t {
			c.refuse(where, "%s contains itself", t)
			return
		}
	}
	outer = append(outer, t)
	switch {
	case isText(t):
		if !reflect.PointerTo(t).Implements(textMarshaler) {
			c.refuse(where, "%s has UnmarshalText but not MarshalText", t)
		}
		return
	case t.PkgPath() == "time":
		c.refuse(where, "%s has no text form: use a type with UnmarshalText", t)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		c.checkStruct(t, where, outer)
	case reflect.Map:
		c.checkMap(t, where, outer)
	case reflect.Pointer:
		if k := t.Elem().Kind(); !isText(t.Elem()) && (k == reflect.Pointer || k == reflect.Slice || k == reflect.Map) {
			c.refuse(where, "a pointer to %s says nothing that %s does not", t.Elem(), t.Elem())
			return
		}
		c.check(t.Elem(), where, outer)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			c.refuse(where, "bytes have no text form: use a string")
			return
		}
		c.check(t.Elem(), where+"[]", outer)
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
	default:
		c.refuse(where, "%s has no form in YAML", t)
	}
}

func (c *typeChecker) checkStruct(t reflect.Type, where string, outer []reflect.Type) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			c.refuse(where+"."+f.Name, "an embedded struct's settings have no key of their own: name the field")
		}
	}
	seen := map[string]bool{}
	for _, f := range fieldsOf(t) {
		at := where + "." + t.Field(f.index).Name
		if !isPlainKey(f.name) {
			c.refuse(at, "it needs a yaml tag with its key, in letters, digits, _ and -")
		}
		if f.help == "" || strings.ContainsAny(f.help, "\r\n") {
			c.refuse(at, "it needs a help tag of one line")
		}
		if seen[f.name] {
			c.refuse(at, "the key %q is used twice", f.name)
		}
		seen[f.name] = true
		c.check(f.typ, at, outer)
	}
}

func (c *typeChecker) checkMap(t reflect.Type, where string, outer []reflect.Type) {
	if t.Key().Kind() != reflect.String || isText(t.Key()) {
		c.refuse(where, "a map's key must be based on string and not a text type")
	}
	c.check(t.Elem(), where+"[]", outer)
}
