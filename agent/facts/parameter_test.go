package facts_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"strings"
	"testing"
	texttemplate "text/template"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// wherever is a parameter in all the places from which one may be shown.
func wherever(p facts.Parameter) map[string]any {
	return map[string]any{
		"itself":    p,
		"pointer":   &p,
		"slice":     []facts.Parameter{p},
		"map":       map[string]facts.Parameter{"a": p},
		"field":     struct{ P facts.Parameter }{p},
		"pointed":   struct{ P *facts.Parameter }{&p},
		"embedded":  struct{ facts.Parameter }{p},
		"interface": []any{p},
		"result":    facts.ParameterResult{Parameter: p},
		"results":   map[string]facts.ParameterResult{"a": {Parameter: p}},
	}
}

// forms are all the ways in which a text can be written that one may read back.
func forms(text string) []string {
	return []string{
		text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), fmt.Sprintf("% x", text),
		fmt.Sprint([]byte(text)), strings.Trim(fmt.Sprint([]byte(text)), "[]"), strings.Trim(fmt.Sprint([]rune(text)), "[]"),
	}
}

func TestASecretIsNeverShown(t *testing.T) {
	t.Parallel()
	const secret = "hunter2 “swordfish”"
	shown := map[string]string{}
	for place, v := range wherever(facts.Parameter{Value: secret, Secret: true}) {
		for _, verb := range "vTtbcdoOqxXUeEfFgGs" {
			for _, flags := range []string{"", "+", "#", "-30", "+#030.20", " ", "0"} {
				format := "%" + flags + string(verb)
				shown[place+" as "+format] = fmt.Sprintf(format, v)
			}
		}
		shown[place+" by Errorf"] = fmt.Errorf("cannot use %w %v", fmt.Errorf("%s", v), v).Error()
		shown[place+" by Println"] = fmt.Sprintln(v)
		for name, handler := range handlers {
			var log bytes.Buffer
			slog.New(handler(&log)).With("with", v).WithGroup("group").Info("message", "key", v, slog.Group("in", "key", v))
			shown[place+" in a log of "+name] = log.String()
		}
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", place, err)
		}
		shown[place+" as JSON"] = string(encoded)
		var text, html bytes.Buffer
		if err := texttemplate.Must(texttemplate.New("").Parse("{{.}} {{printf `%#v` .}}")).Execute(&text, v); err != nil {
			t.Errorf("%s: %v", place, err)
		}
		if err := template.Must(template.New("").Parse("{{.}}<script>x = {{.}}</script>")).Execute(&html, v); err != nil {
			t.Errorf("%s: %v", place, err)
		}
		shown[place+" in a template"], shown[place+" in a page"] = text.String(), html.String()
	}
	for how, text := range shown {
		for _, form := range append(forms(secret), forms("hunter2")...) {
			if strings.Contains(text, form) {
				t.Errorf("%s: %s", how, text)
			}
		}
	}
	for _, how := range []string{"itself as %v", "itself as %+v", "itself as %s", "map as %v", "field as %+v", "itself in a log of text", "itself in a log of JSON", "result as %+v"} {
		if !strings.Contains(shown[how], "(secret)") {
			t.Errorf("%s: %q does not say that it is a secret", how, shown[how])
		}
	}
	if got := shown["itself as %#v"]; got != `"(secret)"` {
		t.Errorf("as %%#v: %s", got)
	}
}

var handlers = map[string]func(*bytes.Buffer) slog.Handler{
	"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
	"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
}

func TestWhatIsNoSecretIsShown(t *testing.T) {
	t.Parallel()
	p := facts.Parameter{Value: "db.internal"}
	for format, want := range map[string]string{"%v": "db.internal", "%s": "db.internal", "%q": `"db.internal"`, "%-13s|": "db.internal  |", "%.2s": "db"} {
		if got := fmt.Sprintf(format, p); got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
	}
	for name, handler := range handlers {
		var log bytes.Buffer
		slog.New(handler(&log)).Info("m", "p", p)
		if !strings.Contains(log.String(), "db.internal") {
			t.Errorf("a log of %s: %s", name, log.String())
		}
	}
}

func TestParametersAsJSON(t *testing.T) {
	t.Parallel()
	for _, p := range []facts.Parameter{{}, {Value: "a\n\"b\""}, {Value: "hunter2", Secret: true}, {Secret: true}} {
		stored, err := json.Marshal(facts.StoredParameter(p))
		if err != nil {
			t.Fatal(err)
		}
		var back facts.StoredParameter
		if err := json.Unmarshal(stored, &back); err != nil || facts.Parameter(back) != p {
			t.Errorf("stored as %s, read as %v, %v", stored, facts.Parameter(back) == p, err)
		}
		shown, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var read facts.Parameter
		err = json.Unmarshal(shown, &read)
		switch {
		case p.Secret && (err == nil || err.Error() != "a parameter without its value"):
			t.Errorf("a secret that was left out was read from %s: %v", shown, err)
		case !p.Secret && (err != nil || read != p):
			t.Errorf("shown as %s, read as %v, %v", shown, read, err)
		}
	}
	var p facts.Parameter
	if err := json.Unmarshal([]byte(`[]`), &p); err == nil {
		t.Error("a list was read")
	}
}
