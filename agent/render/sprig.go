package render

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

// fromSprig are the functions that are taken from sprig as they are. None reads
// a clock, the network or the environment, is random, changes its arguments, or
// takes more memory or time than its arguments and its result have bytes.
var fromSprig = []string{
	"trim", "trimPrefix", "trimSuffix", "upper", "lower", "contains", "hasPrefix", "hasSuffix",
	"quote", "squote", "cat", "trunc", "substr", "kebabcase", "snakecase", "camelcase", "toString",
	"splitList", "sortAlpha", "list", "first", "last", "rest", "compact", "has", "dict", "get", "hasKey",
	"default", "empty", "coalesce", "ternary", "b64enc", "sha256sum", "base", "dir", "clean",
}

// ofNumbers are from sprig too, but for a text that is no number: sprig takes it
// for 0, here it is an error.
var ofNumbers = []string{"add", "sub", "mul", "div", "mod", "max", "min"}

// plain are the functions that know nothing of the node, by name.
var plain = func() map[string]any {
	all := sprig.TxtFuncMap()
	fns := map[string]any{}
	for _, name := range fromSprig {
		fns[name] = all[name]
	}
	for _, name := range ofNumbers {
		fns[name] = strictly(name, all[name])
	}
	maps.Copy(fns, map[string]any{
		"print": fmt.Sprint, "println": fmt.Sprintln, "printf": printf,
		"html": template.HTMLEscaper, "js": template.JSEscaper, "urlquery": template.URLQueryEscaper,
		"shellquote": ShellQuote, "envfilequote": EnvFileQuote,
		"json": toJSON, "toJson": toJSON, "fromJson": fromJSON,
		"int": toInt, "b64dec": fromBase64, "keys": keys, "fail": fail,
		"replace": replace, "indent": indent, "trimAll": trimAll,
		"join":    bounded(all["join"].(func(string, any) string)),
		"nindent": func(spaces int, text string) (string, error) { s, err := indent(spaces, text); return "\n" + s, err },
	})
	return fns
}()

func toJSON(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}

func fromJSON(text string) (v any, err error) {
	err = json.Unmarshal([]byte(text), &v)
	return v, err
}

func fromBase64(text string) (string, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	return string(data), err
}

func keys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func fail(message string) (string, error) { return "", errors.New(message) }

func toInt(v any) (int, error) {
	if text, ok := v.(string); ok {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return 0, fmt.Errorf("%q is no whole number", text)
		}
		return n, nil
	}
	switch r := reflect.ValueOf(v); {
	case r.CanInt():
		return int(r.Int()), nil
	case r.CanFloat() && r.Float() == float64(int(r.Float())): // as JSON has numbers
		return int(r.Float()), nil
	}
	return 0, fmt.Errorf("%v is no whole number", v)
}

// strictly returns an arithmetic function of sprig that refuses what is no
// number.
func strictly(name string, fn any) any {
	f := reflect.ValueOf(fn)
	call := f.Call
	if f.Type().IsVariadic() {
		call = f.CallSlice
	}
	check := func(v reflect.Value) {
		if _, err := toInt(v.Interface()); err != nil {
			panic(err)
		}
	}
	zero := name == "div" || name == "mod"
	return reflect.MakeFunc(f.Type(), func(args []reflect.Value) []reflect.Value {
		for _, arg := range args {
			if arg.Kind() != reflect.Slice {
				check(arg)
				continue
			}
			for i := range arg.Len() {
				check(arg.Index(i))
			}
		}
		if n, _ := toInt(args[len(args)-1].Interface()); zero && n == 0 {
			panic(errors.New("a division by zero"))
		}
		return call(args)
	}).Interface()
}

// replace is sprig's, with its order of arguments.
func replace(old, with, text string) (string, error) {
	if len(text)+strings.Count(text, old)*len(with) > 2*MaxOutput {
		return "", errTooMuch
	}
	return strings.ReplaceAll(text, old, with), nil
}

// trimAll is sprig's.
func trimAll(cutset, text string) (string, error) {
	const most = 64 // each is looked for at each end
	if len(cutset) > most {
		return "", fmt.Errorf("trimAll: more than %d characters to trim", most)
	}
	return strings.Trim(text, cutset), nil
}

func bounded(join func(string, any) string) func(string, any) (string, error) {
	return func(sep string, list any) (string, error) {
		n := 1
		if v := reflect.ValueOf(list); v.Kind() == reflect.Slice {
			n = v.Len()
		}
		if n*len(sep) > MaxOutput {
			return "", errTooMuch
		}
		return join(sep, list), nil
	}
}

// indent is sprig's.
func indent(spaces int, text string) (string, error) {
	const most = 200
	if spaces < 0 || spaces > most || strings.Count(text, "\n")*spaces > MaxOutput {
		return "", fmt.Errorf("%d spaces: expected 0 to %d, and no more than %d bytes in all", spaces, most, MaxOutput)
	}
	pad := strings.Repeat(" ", spaces)
	return pad + strings.ReplaceAll(text, "\n", "\n"+pad), nil
}

// printf is that of text/template, but for widths that only serve to fill
// memory, and for arguments written again and again.
func printf(format string, args ...any) (string, error) {
	// Each verb may be of one argument, and a width counts for each value in it.
	digits, verbs, longest := 0, strings.Count(format, "%"), 16
	number, widest := 0, 0
	for i := range len(format) {
		switch c := format[i]; {
		case c == '*':
			return "", errors.New("printf: * is not allowed: write the width")
		case c >= '0' && c <= '9':
			if digits++; digits > 3 {
				return "", errors.New("printf: a number of more than three digits in the format")
			}
			number = number*10 + int(c-'0')
			widest = max(widest, number)
		default:
			digits, number = 0, 0
		}
	}
	for _, arg := range args {
		n := size(reflect.ValueOf(arg))
		longest = max(longest, n+n/leaf*2*widest)
	}
	if verbs*longest > 8*MaxOutput {
		return "", errTooMuch
	}
	return fmt.Sprintf(format, args...), nil
}

// EnvFileQuote returns value as the rest of a line NAME=value of a file that
// docker run --env-file (docker/cli:pkg/kvfile) and systemd's EnvironmentFile=
// (systemd:src/basic/env-file.c) read alike. There is no quoting that both undo:
// a value that would come out of one of them changed is an error.
func EnvFileQuote(value string) (string, error) {
	switch {
	case strings.ContainsAny(value, "\n\r\x00"):
		return "", errors.New("a value with a line break or a NUL byte has no form in an environment file")
	case strings.TrimSpace(value) != value:
		return "", errors.New("a value that begins or ends with white space is not read alike by all readers of environment files")
	case strings.Contains(value, `\`) || strings.HasPrefix(value, `"`) || strings.HasPrefix(value, "'"):
		return "", errors.New(`a value with \, or one that begins with a quote, is not read alike by all readers of environment files`)
	}
	return value, nil
}
