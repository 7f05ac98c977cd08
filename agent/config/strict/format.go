package strict

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// FormatValue returns a setting's value as YAML on one line, which Decode reads
// back as the same value. A nil pointer is null.
func FormatValue(v any) string {
	if v == nil {
		return "null"
	}
	return formatValue(reflect.ValueOf(v))
}

func formatValue(v reflect.Value) string {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		if v.IsNil() {
			return "null"
		}
		return formatValue(v.Elem())
	case isText(t):
		return formatText(v)
	}
	switch t.Kind() {
	case reflect.String:
		return formatString(v.String())
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, t.Bits())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = formatValue(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Map:
		var parts []string
		for _, k := range sortedKeys(v) {
			parts = append(parts, formatString(k.String())+": "+formatValue(v.MapIndex(k)))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case reflect.Struct:
		var parts []string
		for _, f := range fieldsOf(t) {
			parts = append(parts, f.name+": "+formatValue(v.Field(f.index)))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v.Interface())
}

func formatText(v reflect.Value) string {
	text, err := marshalText(v)
	if err != nil {
		return "null"
	}
	return formatString(text)
}

// marshalText returns the text of v, a text type.
func marshalText(v reflect.Value) (string, error) {
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	text, err := p.Interface().(encoding.TextMarshaler).MarshalText()
	return string(text), err
}

var date = pattern.New(`^[0-9.+-]+$`)

// plain matches texts that no reader of YAML takes for anything else, once
// words and numbers with a meaning are excluded.
var plain = pattern.New(`^[A-Za-z0-9_./][A-Za-z0-9_./+@%-]*( [A-Za-z0-9_./+@%-]+)*$`)

func formatString(text string) string {
	switch {
	case plain.MatchString(text) && !hasMeaning(text):
		return text
	case strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }):
		return doubleQuoted(text)
	}
	return singleQuoted(text)
}

// hasMeaning says whether a reader of YAML 1.1 or 1.2 takes plain text for
// something else than text.
func hasMeaning(text string) bool {
	switch strings.ToLower(text) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".inf", ".nan":
		return true
	}
	return number.MatchString(text) || date.MatchString(text)
}

func singleQuoted(text string) string {
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

// doubleQuoted escapes in the manner that YAML, JSON and Go have in common.
func doubleQuoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
