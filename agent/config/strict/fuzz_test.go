package strict

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("node_config:\n  files:\n    node.config: {mode: 0600}\ntasks:\n- networks:\n  - port: 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got := sampleDefaults()
		r := Decode(got, Layer{Name: "ecsnode.yaml", Data: data})
		checkResult(t, r, data, got)
		checkPlaces(t, data)
		checkAttempt(t, r, got, data)
		for _, p := range r.Problems {
			if strings.HasPrefix(p.Message, unreadable) {
				t.Errorf("a guard was needed: %v", p)
			}
		}
	})
}

// checkAttempt holds Attempt to agree with Decode on a good layer, alone and
// twice over, and to stand any other.
func checkAttempt(t *testing.T, r *Result, decoded *sample, data []byte) {
	t.Helper()
	layer := Layer{Name: "ecsnode.yaml", Data: data}
	attempted := sampleDefaults()
	Attempt(attempted, layer)
	twice := sampleDefaults()
	Attempt(twice, layer, layer)
	if len(r.Problems) > 0 {
		return
	}
	if diff := cmp.Diff(decoded, attempted, exported); diff != "" {
		t.Errorf("Decode and Attempt differ (-decoded +attempted):\n%s", diff)
	}
	if diff := cmp.Diff(decoded, twice, exported); diff != "" {
		t.Errorf("a layer over itself differs (-once +twice):\n%s", diff)
	}
}

// checkPlaces holds every node of the tree to stand where its text is.
func checkPlaces(t *testing.T, data []byte) {
	t.Helper()
	root, problems := parse(Layer{Data: data})
	var check func(n *node)
	check = func(n *node) {
		if n.kind == refusedKind && len(problems) == 0 {
			t.Errorf("a value at %v is dropped without a word", n.pos())
		}
		sign := map[style]string{singleQuotedStyle: "'", doubleQuotedStyle: `"`, literalStyle: "|", foldedStyle: ">"}[n.style]
		switch {
		case n.kind != scalarKind:
		case sign != "" && !n.src.has(n.line, n.column, sign):
			t.Errorf("%q does not start with %s at %v", n.text, sign, n.pos())
		case n.style == plainStyle && !n.src.spells(n.line, n.column, n.text),
			(n.style == literalStyle || n.style == foldedStyle) && !n.src.spells(n.line+1, 1, n.text):
			t.Errorf("%q is not at %v", n.text, n.pos())
		}
		if n.kind == scalarKind && utf8.ValidString(n.text) {
			for offset := range n.text {
				if p := n.at(offset); p.Line < n.line || p.Line > len(n.src.lines) || p.Column < 1 {
					t.Errorf("byte %d of %q is at %v", offset, n.text, p)
				}
			}
		}
		for _, e := range n.entries {
			if !n.src.has(e.line, e.column, "'") && !n.src.has(e.line, e.column, `"`) &&
				!n.src.spells(e.line, e.column, e.key) {
				t.Errorf("the key %q is not at %v", e.key, e.pos())
			}
			check(e.value)
		}
		for _, item := range n.items {
			check(item)
		}
	}
	if root != nil {
		check(root)
	}
}

func FuzzFormatValue(f *testing.F) {
	f.Add("text")
	f.Add("it's \"quoted\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		if utf8.ValidString(text) && len(text) < 1000 && utf8.RuneCountInString(text) > 0 {
			checkReadBack(t, text)
		}
	})
}
