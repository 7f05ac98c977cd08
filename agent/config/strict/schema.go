package strict

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// Schema returns the JSON Schema (draft 2020-12) of v's type, indented, with
// v's values as defaults: what editors need to complete and check a layer. It
// accepts every layer that Decode accepts, except that it knows nothing of what
// text types check beyond their Enum and SchemaPattern.
func Schema(v any, id, title string) ([]byte, error) {
	if err := CheckType(v); err != nil {
		return nil, err
	}
	value := reflect.Indirect(reflect.ValueOf(v))
	if !value.IsValid() {
		return nil, fmt.Errorf("cannot write a schema of a nil %T", v)
	}
	root := object{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"$id", id}, {"title", title}}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(append(root, schemaOf(value.Type(), value)...)); err != nil {
		return nil, fmt.Errorf("cannot write the schema: %w", err)
	}
	return out.Bytes(), nil
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	separator := byte('{')
	for _, m := range o {
		b.WriteByte(separator)
		if err := encoder.Encode(m.name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encoder.Encode(m.value); err != nil {
			return nil, err
		}
		separator = ','
	}
	if len(o) == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// schemaOf returns the schema of t. Def is the default's value, the zero Value
// where there is none.
func schemaOf(t reflect.Type, def reflect.Value) object {
	if t.Kind() == reflect.Pointer {
		if def.IsValid() && !def.IsNil() {
			def = def.Elem()
		} else {
			def = ownDefaults(t)
		}
		t = t.Elem()
	}
	switch {
	case isText(t), t.Kind() == reflect.String:
		return textSchema(t)
	case t.Kind() == reflect.Struct:
		return structSchema(t, def)
	case t.Kind() == reflect.Map:
		s := object{{"type", "object"}}
		if keys := restrictions(t.Key()); len(keys) > 0 {
			s = append(s, member{"propertyNames", keys})
		}
		return append(s, member{"additionalProperties", orNull(schemaOf(t.Elem(), ownDefaults(t.Elem())))})
	case t.Kind() == reflect.Slice:
		return object{{"type", "array"}, {"items", schemaOf(t.Elem(), ownDefaults(t.Elem()))}}
	case t.Kind() == reflect.Bool:
		return object{{"type", "boolean"}}
	case isInteger(t.Kind()):
		return integerSchema(t)
	}
	return object{{"type", "number"}}
}

// ownDefaults returns a new t if it sets defaults of its own.
func ownDefaults(t reflect.Type) reflect.Value {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, ok := as[Defaulter](t); ok {
		return newEntry(t)
	}
	return reflect.Value{}
}

// structSchema gives a property its default where it is one value: a struct's
// is in its own properties.
func structSchema(t reflect.Type, def reflect.Value) object {
	properties := object{}
	for _, f := range fieldsOf(t) {
		var value reflect.Value
		if def.IsValid() {
			value = def.Field(f.index)
		}
		property := append(object{{"description", f.help}}, orNull(schemaOf(f.typ, value))...)
		if value.IsValid() && !(isMapping(f.typ) && f.typ.Kind() != reflect.Map) {
			if d, ok := jsonOf(value); ok {
				property = append(property, member{"default", d})
			}
		}
		properties = append(properties, member{f.name, property})
	}
	return object{{"type", "object"}, {"properties", properties}, {"additionalProperties", false}}
}

// textSchema lets through what YAML takes for a number or a boolean: Decode
// reads its characters.
func textSchema(t reflect.Type) object {
	r := restrictions(t)
	if _, ok := as[Enumer](t); ok {
		return r
	}
	return append(object{{"type", []string{"string", "number", "boolean"}}}, r...)
}

// restrictions returns what limits the texts of t.
func restrictions(t reflect.Type) object {
	var r object
	if e, ok := as[Enumer](t); ok {
		r = append(r, member{"enum", e.Enum()})
	}
	if p, ok := as[Patterner](t); ok {
		r = append(r, member{"pattern", p.SchemaPattern()})
	}
	return r
}

func integerSchema(t reflect.Type) object {
	s := object{{"type", "integer"}}
	low, high := integerRange(t)
	if t.Bits() < 64 || low == 0 {
		s = append(s, member{"minimum", low})
	}
	if t.Bits() < 64 {
		s = append(s, member{"maximum", high})
	}
	return s
}

// orNull lets null through, which resets a setting or removes an entry.
func orNull(s object) object {
	out := make(object, len(s))
	for i, m := range s {
		switch value := m.value.(type) {
		case string:
			if m.name == "type" {
				m.value = []string{value, "null"}
			}
		case []string:
			if m.name == "type" {
				m.value = append(value[:len(value):len(value)], "null")
			}
			if m.name == "enum" {
				m.value = withNull(value)
			}
		}
		out[i] = m
	}
	return out
}

func withNull(texts []string) []any {
	all := make([]any, 0, len(texts)+1)
	for _, t := range texts {
		all = append(all, t)
	}
	return append(all, nil)
}

// jsonOf returns v for JSON; false where it has no value to show.
func jsonOf(v reflect.Value) (any, bool) {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		if v.IsNil() {
			return nil, false
		}
		return jsonOf(v.Elem())
	case isText(t):
		text, err := marshalText(v)
		return text, err == nil
	}
	switch t.Kind() {
	case reflect.Slice:
		list := []any{}
		for i := range v.Len() {
			if e, ok := jsonOf(v.Index(i)); ok {
				list = append(list, e)
			}
		}
		return list, true
	case reflect.Map:
		members := object{}
		for _, k := range sortedKeys(v) {
			if e, ok := jsonOf(v.MapIndex(k)); ok {
				members = append(members, member{k.String(), e})
			}
		}
		return members, true
	case reflect.Struct:
		members := object{}
		for _, f := range fieldsOf(t) {
			if e, ok := jsonOf(v.Field(f.index)); ok {
				members = append(members, member{f.name, e})
			}
		}
		return members, true
	}
	return v.Interface(), true
}
