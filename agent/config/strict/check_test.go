package strict

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// checkResult holds r, of one layer with data decoded onto sampleDefaults, to
// what Decode promises whatever the data is.
func checkResult(t *testing.T, r *Result, data []byte, got *sample) {
	t.Helper()
	lines := bytes.Split(data, []byte("\n"))
	checkPos := func(what string, p Pos) {
		t.Helper()
		switch {
		case p.File != "ecsnode.yaml", p.Line < 1, p.Line > len(lines), p.Column < 1:
			t.Errorf("%s is at %v in a file of %d lines", what, p, len(lines))
		case utf8.Valid(data) && p.Column > utf8.RuneCount(lines[p.Line-1])+1:
			t.Errorf("%s is at %v, beyond the line's end", what, p)
		}
	}
	for i, p := range r.Problems {
		checkPos("a problem", p.Pos)
		if p.Message == "" || strings.ContainsAny(p.Error(), "\r\n") || !utf8.ValidString(p.Error()) {
			t.Errorf("a problem is not one line of text: %q", p.Error())
		}
		if i > 0 && (p.Pos.Line < r.Problems[i-1].Pos.Line) {
			t.Errorf("problems are not sorted: %v", r.Problems)
		}
	}
	if len(r.Problems) > 0 {
		if diff := cmp.Diff(sampleDefaults(), got, exported); diff != "" {
			t.Errorf("a layer with problems was applied (-defaults +got):\n%s", diff)
		}
	}
	if (len(r.Problems) > 0) != (len(r.LeftOut) > 0) {
		t.Errorf("%d problems, but left out: %q", len(r.Problems), r.LeftOut)
	}
	Walk(got, func(s Setting) {
		key, value := r.Locate(s.Path)
		if len(r.LeftOut) > 0 && key != (Pos{}) {
			t.Errorf("%s is at %v in a layer that was left out", s.Path, key)
		}
		if len(r.LeftOut) == 0 {
			checkPos(s.Path+"'s key", key)
			checkPos(s.Path, value)
		}
		if origin, ok := r.Origin(s.Path); ok && origin != value {
			t.Errorf("%s: origin %v, value at %v", s.Path, origin, value)
		}
	})
}

var exported = cmp.AllowUnexported(template{})
