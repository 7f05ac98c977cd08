package strict

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// text decodes a text type from the characters of the scalar.
func (d *decoder) text(n *node, v reflect.Value, path string) bool {
	t := v.Type()
	if n.kind != scalarKind {
		return d.mismatch(n, t, path, "")
	}
	if e, ok := as[Enumer](t); ok && !slices.Contains(e.Enum(), n.text) {
		return d.mismatch(n, t, path, didYouMean(n.text, e.Enum()))
	}
	fresh := reflect.New(t)
	if err := unmarshalText(fresh.Interface().(encoding.TextUnmarshaler), n.text); err != nil {
		message := "expected " + expected(t) + ", found " + found(n)
		if cause := onOneLine(err.Error()); cause != "" {
			message += ": " + cause
		}
		d.add(placeOf(n, err), path, message, hintOf(err))
		return false
	}
	v.Set(fresh.Elem())
	return true
}

// unmarshalText guards against what a parser behind u cannot take: a layer must
// not be able to end the program.
func unmarshalText(u encoding.TextUnmarshaler, text string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it cannot be read: %v", r)
		}
	}()
	return u.UnmarshalText([]byte(text))
}

func (d *decoder) scalar(n *node, v reflect.Value, path string) bool {
	t := v.Type()
	k := t.Kind()
	switch {
	case n.kind != scalarKind:
		return d.mismatch(n, t, path, "")
	case k == reflect.String:
		if hint, ok := checkString(n.text, t); !ok {
			return d.mismatch(n, t, path, hint)
		}
		v.SetString(n.text)
		return true
	case n.style != plainStyle:
		hint := ""
		if k == reflect.Bool && isBool(n.text) || k != reflect.Bool && number.MatchString(n.text) {
			hint = "write it without quotes"
		}
		return d.mismatch(n, t, path, hint)
	case k == reflect.Bool:
		return d.boolean(n, v, path)
	case isInteger(k):
		return d.integer(n, v, path)
	}
	return d.float(n, v, path)
}

func (d *decoder) boolean(n *node, v reflect.Value, path string) bool {
	if isBool(n.text) {
		v.SetBool(strings.EqualFold(n.text, "true"))
		return true
	}
	hint := ""
	switch strings.ToLower(n.text) {
	case "yes", "y", "on", "1":
		hint = "write true"
	case "no", "n", "off", "0":
		hint = "write false"
	}
	return d.mismatch(n, v.Type(), path, hint)
}

// integer takes decimal numbers only. A leading zero means octal to one reader
// and decimal to the next, so it is refused.
func (d *decoder) integer(n *node, v reflect.Value, path string) bool {
	t := v.Type()
	if digits := strings.TrimLeft(n.text, "+-"); len(digits) > 1 && digits[0] == '0' {
		return d.mismatch(n, t, path, "write it in decimal, without a leading zero")
	}
	if v.CanInt() {
		i, err := strconv.ParseInt(n.text, 10, t.Bits())
		if err != nil {
			return d.mismatch(n, t, path, rangeHint(err, t))
		}
		v.SetInt(i)
		return true
	}
	u, err := strconv.ParseUint(strings.TrimPrefix(n.text, "+"), 10, t.Bits())
	if err != nil {
		return d.mismatch(n, t, path, rangeHint(err, t))
	}
	v.SetUint(u)
	return true
}

func (d *decoder) float(n *node, v reflect.Value, path string) bool {
	t := v.Type()
	f, err := strconv.ParseFloat(n.text, t.Bits())
	if err != nil || !number.MatchString(n.text) || strings.ContainsAny(n.text, "_xob") {
		return d.mismatch(n, t, path, rangeHint(err, t))
	}
	v.SetFloat(f)
	return true
}

// checkString says whether text fits t, a type based on string, and if not,
// what may have been meant.
func checkString(text string, t reflect.Type) (hint string, ok bool) {
	if e, enumerates := as[Enumer](t); enumerates && !slices.Contains(e.Enum(), text) {
		return didYouMean(text, e.Enum()), false
	}
	if p, hasPattern := as[Patterner](t); hasPattern {
		matched, err := regexp.MatchString(p.SchemaPattern(), text)
		return "", matched && err == nil
	}
	return "", true
}

// rangeHint tells a number that is beyond its type from what is no number,
// where what is expected does not say the range.
func rangeHint(err error, t reflect.Type) string {
	if errors.Is(err, strconv.ErrRange) && (t.Bits() == 64 || !isInteger(t.Kind())) {
		return fmt.Sprintf("it does not fit %d bits", t.Bits())
	}
	return ""
}
