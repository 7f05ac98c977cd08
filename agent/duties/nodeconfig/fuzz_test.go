package nodeconfig_test

import (
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/templates"
)

// FuzzNodeConfig takes any tag and any text of a template. A file that comes
// of the tag assigns what the tag holds. A file that comes of the text is
// refused, or assigns literal values that survive being written once more.
func FuzzNodeConfig(f *testing.F) {
	for _, v := range hostile {
		f.Add("env", v, "A='"+v+"'")
		f.Add(v, "prod", `A="`+v+"\" # "+v+"\nexport B="+v)
	}
	f.Fuzz(func(t *testing.T, key, text, body string) {
		tagComesBack(t, key, text)
		if vars, ok := nodeconfig.Literal(body); ok {
			again, ok := nodeconfig.Literal(plainly(vars))
			if !ok || plainly(again) != plainly(vars) {
				t.Errorf("%q assigns %q, written again %q", body, vars, again)
			}
		}
	})
}

func tagComesBack(t *testing.T, key, text string) {
	t.Helper()
	spec := file(func(f *nodeconfig.File) {
		f.Tags.Include = []string{"*"}
		f.Values["MY_VALUE"] = value(`{{ tag "the key" }}`, nodeconfig.Fail, "")
	})
	r, err := nodeconfig.Render(spec, templates.NodeConfig(), inputs(map[string]string{key: text, "the key": text}))
	switch {
	case strings.Contains(text, "\x00"):
		if err == nil || !strings.Contains(err.Error(), "NUL") {
			t.Fatalf("a NUL byte: %v", err)
		}
		return
	case err != nil && strings.Contains(err.Error(), "share the name"):
		return // the key is spelt like "the key"
	case err != nil:
		t.Fatal(err)
	}
	vars, ok := nodeconfig.Literal(string(r.Body))
	if !ok || len(vars) != len(r.Variables) {
		t.Fatalf("%d variables came back as %q", len(r.Variables), vars)
	}
	for i, v := range vars {
		if v != r.Variables[i] {
			t.Errorf("%q came back as %q", r.Variables[i], v)
		}
		if !strings.HasPrefix(v.Name, "NODE_") && v.Value != text {
			t.Errorf("%s = %q, want %q", v.Name, v.Value, text)
		}
	}
}

// plainly writes variables as the built-in template does.
func plainly(vars []nodeconfig.Variable) string {
	var b strings.Builder
	for _, v := range vars {
		b.WriteString(v.Name + "='" + strings.ReplaceAll(v.Value, "'", `'\''`) + "'\n")
	}
	return b.String()
}
