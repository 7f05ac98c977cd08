package render

// Text is a string setting that may be a template over facts. It is written
// and read back as its source. The zero value renders as the empty string.
type Text struct {
	src string
	t   *Template // nil: src is plain
}

// NewText parses src. It is meant for defaults and panics on a bad template.
func NewText(src string) Text {
	var t Text
	if err := t.UnmarshalText([]byte(src)); err != nil {
		panic(err)
	}
	return t
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Text) UnmarshalText(b []byte) error {
	tmpl, err := Parse("text", string(b), struct{}{}) // nothing has no fields: nil would have any
	if err != nil {
		return err
	}
	*t = Text{string(b), tmpl}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.src), nil }

func (t Text) String() string { return t.src }

// IsZero reports whether the setting is empty.
func (t Text) IsZero() bool { return t.src == "" }

// Equal reports whether t and o have the same source.
func (t Text) Equal(o Text) bool { return t.src == o.src }

// Expected says what the setting takes.
func (Text) Expected() string { return "text or a template" }

// Calls reports whether t calls a function of templates.
func (t Text) Calls(function string) bool { return t.t != nil && t.t.Calls(function) }

// Asks returns what t asks of Parameter Store and Secrets Manager.
func (t Text) Asks() Asks {
	if t.t == nil {
		return Asks{}
	}
	return t.t.Asks()
}

// Render returns the value over in; see [Template.Render].
func (t Text) Render(in Inputs) (string, error) {
	if t.t == nil {
		return t.src, nil
	}
	return t.t.Render(in, struct{}{})
}
