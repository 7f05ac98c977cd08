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
func (d *decoder) text(n *node, v reflect.Value, path string) {
	t := v.Type()
	if n.kind != scalarKind {
		d.mismatch(n, t, path, "")
		return
	}
	if e, ok := as[Enumer](t); ok && !slices.Contains(e.Enum(), n.text) {
		d.mismatch(n, t, path, didYouMean(n.text, e.Enum()))
		return
	}
	fresh := reflect.New(t)
	if err := unmarshalText(fresh.Interface().(encoding.TextUnmarshaler), n.text); err != nil {
		message := "expected " + expected(t) + ", found " + found(n)
		if cause := onOneLine(err.Error()); cause != "" {
			message += ": " + cause
		}
		d.add(placeOf(n, err), path, message, hintOf(err))
		return
	}
	v.Set(fresh.Elem())
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

func (d *decoder) scalar(n *node, v reflect.Value, path string) {
	t := v.Type()
	if n.kind != scalarKind {
		d.mismatch(n, t, path, "")
		return
	}
	switch k := t.Kind(); {
	case k == reflect.String:
		if hint, ok := checkString(n.text, t); !ok {
			d.mismatch(n, t, path, hint)
			return
		}
		v.SetString(n.text)
	case n.style != plainStyle:
		hint := ""
		if k == reflect.Bool && isBool(n.text) || k != reflect.Bool && number.MatchString(n.text) {
			hint = "write it without quotes"
		}
		d.mismatch(n, t, path, hint)
	case k == reflect.Bool:
		d.boolean(n, v, path)
	case isInteger(k):
		d.integer(n, v, path)
	default:
		f, err := strconv.ParseFloat(n.text, t.Bits())
		if err != nil || !number.MatchString(n.text) || strings.ContainsAny(n.text, "_xob") {
			d.mismatch(n, t, path, rangeHint(err, t))
			return
		}
		v.SetFloat(f)
	}
}

func (d *decoder) boolean(n *node, v reflect.Value, path string) {
	if !isBool(n.text) {
		hint := ""
		switch strings.ToLower(n.text) {
		case "yes", "y", "on", "1":
			hint = "write true"
		case "no", "n", "off", "0":
			hint = "write false"
		}
		d.mismatch(n, v.Type(), path, hint)
		return
	}
	v.SetBool(strings.EqualFold(n.text, "true"))
}

// integer takes decimal numbers only. A leading zero means octal to one reader
// and decimal to the next, so it is refused.
func (d *decoder) integer(n *node, v reflect.Value, path string) {
	digits := strings.TrimLeft(n.text, "+-")
	if len(digits) > 1 && digits[0] == '0' {
		d.mismatch(n, v.Type(), path, "write it in decimal, without a leading zero")
		return
	}
	var err error
	if v.CanInt() {
		var i int64
		i, err = strconv.ParseInt(n.text, 10, v.Type().Bits())
		v.SetInt(i)
	} else {
		var u uint64
		u, err = strconv.ParseUint(strings.TrimPrefix(n.text, "+"), 10, v.Type().Bits())
		v.SetUint(u)
	}
	if err != nil {
		d.mismatch(n, v.Type(), path, rangeHint(err, v.Type()))
	}
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
