package daemonjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/ecsnode/ecsnode/agent/render"
)

// Config says which keys of /etc/docker/daemon.json are ecsnode's.
type Config struct {
	Settings map[string]Value `yaml:"settings" help:"Keys of /etc/docker/daemon.json, such as live-restore: true; an object or a list is written as JSON: log-opts: '{\"max-size\": \"10m\"}'. Other keys of the file are kept."`
}

// Default sets nothing.
func Default() Config { return Config{} }

// Value is one JSON value. What is no JSON is a string. Strings may be
// templates over facts; each is rendered by itself, so that whoever sets a tag
// cannot add to the document.
type Value struct {
	src   string
	value any // as encoding/json has it, with json.Number, and texts for strings
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *Value) UnmarshalText(b []byte) error {
	value, err := decode(b)
	if err != nil {
		value = string(b)
	}
	if value, err = parse(value); err != nil {
		return err
	}
	*v = Value{string(b), value}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.src), nil }

// Expected says what the setting takes.
func (Value) Expected() string { return `JSON, or text` }

// Equal reports whether v and o have the same source.
func (v Value) Equal(o Value) bool { return v.src == o.src }

// render returns the value over in.
func (v Value) render(in render.Inputs) (any, error) { return renderAll(v.value, in) }

var errMoreThanOne = errors.New("there is more than one JSON value")

// decode reads one JSON value and keeps numbers as they are written.
func decode(data []byte) (v any, err error) {
	err = decodeInto(data, &v)
	return v, err
}

func decodeInto(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errMoreThanOne
	}
	return nil
}

// parse replaces every string below v, keys apart, by a template.
func parse(v any) (any, error) {
	return each(v, func(leaf any) (any, error) {
		s, ok := leaf.(string)
		if !ok {
			return leaf, nil
		}
		var t render.Text
		err := t.UnmarshalText([]byte(s))
		return t, err
	})
}

// Calls reports whether a template in v calls a function.
func (v Value) Calls(function string) bool {
	calls := false
	_, _ = each(v.value, func(leaf any) (any, error) {
		t, ok := leaf.(render.Text)
		calls = calls || ok && t.Calls(function)
		return leaf, nil
	})
	return calls
}

// Asks returns what templates in v ask of Parameter Store and Secrets Manager.
func (v Value) Asks() (asks render.Asks) {
	_, _ = each(v.value, func(leaf any) (any, error) {
		if t, ok := leaf.(render.Text); ok {
			asks = asks.Add(t.Asks())
		}
		return leaf, nil
	})
	return asks
}

func renderAll(v any, in render.Inputs) (any, error) {
	return each(v, func(leaf any) (any, error) {
		if t, ok := leaf.(render.Text); ok {
			return t.Render(in)
		}
		return leaf, nil
	})
}

// each returns a copy of v with f of each of its leaves. It reports all that
// goes wrong.
func each(v any, f func(any) (any, error)) (any, error) {
	var errs []error
	switch v := v.(type) {
	case map[string]any:
		object := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			item, err := each(v[key], f)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", key, err))
			}
			object[key] = item
		}
		return object, errors.Join(errs...)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			item, err := each(v[i], f)
			errs = append(errs, err)
			list[i] = item
		}
		return list, errors.Join(errs...)
	}
	return f(v)
}

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	for _, key := range slices.Sorted(maps.Keys(c.Settings)) {
		if key == "" {
			report(`settings.""`, "a key of daemon.json has a name")
		}
	}
}
