package strict

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// expected says in words what a t is, to follow "expected".
func expected(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if e, ok := as[Expecter](t); ok {
		return e.Expected()
	}
	if e, ok := as[Enumer](t); ok && isScalar(t) {
		return oneOf(e.Enum())
	}
	switch k := t.Kind(); {
	case isText(t):
		return "text"
	case isMapping(t):
		return `a mapping of "key: value" lines`
	case k == reflect.Slice && isMapping(t.Elem()):
		return `a list of "- key: value" lines`
	case k == reflect.Slice:
		return "a list such as [a, b]"
	case k == reflect.Bool:
		return "true or false"
	case isInteger(k):
		return expectedInteger(t)
	case k == reflect.Float32, k == reflect.Float64:
		return "a number"
	}
	return "text"
}

func expectedInteger(t reflect.Type) string {
	low, high := integerRange(t)
	switch {
	case t.Bits() < 64:
		return fmt.Sprintf("a whole number from %d to %d", low, high)
	case low == 0:
		return "a whole number of 0 or more"
	}
	return "a whole number"
}

func isInteger(k reflect.Kind) bool { return k >= reflect.Int && k <= reflect.Uint64 }

func integerRange(t reflect.Type) (low int64, high uint64) {
	if t.Kind() >= reflect.Uint {
		return 0, 1<<t.Bits() - 1
	}
	return -1 << (t.Bits() - 1), 1<<(t.Bits()-1) - 1
}

func oneOf(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = strconv.Quote(t)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

var number = pattern.New(`^[-+]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?$|^0[xob][\da-fA-F_]+$`)

// found says in words what n is, to follow "found".
func found(n *node) string {
	switch {
	case n.kind == nullKind && n.empty:
		return "nothing"
	case n.kind == nullKind:
		return "null"
	case n.kind == listKind:
		return "a list"
	case n.kind == mapKind:
		return "a mapping"
	case n.style == singleQuotedStyle, n.style == doubleQuotedStyle:
		return "the quoted text " + quote(n.text)
	case n.style == plainStyle && number.MatchString(n.text):
		return "the number " + shorten(n.text)
	case n.style == plainStyle && isBool(n.text):
		return n.text
	}
	return "the text " + quote(n.text)
}

// quote returns text in double quotes on one line, shortened when it is long.
func quote(text string) string { return strconv.Quote(shorten(text)) }

// onOneLine joins the lines of what others say.
func onOneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func shorten(text string) string {
	const most = 60
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "..."
	}
	return text
}

func isBool(text string) bool {
	switch text {
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return true
	}
	return false
}
