package nodeconfig

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// written shows what assignments returns.
func written(all []assignment) string {
	var b strings.Builder
	for _, a := range all {
		fmt.Fprintf(&b, "%d:%s=%q ", a.line, a.name, a.value)
	}
	return strings.TrimSpace(b.String())
}

func TestAssignmentsOfALiteralFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                             {"", ""},
		"comments":                            {"# A=1\n  # it's $(id) \\\n", ""},
		"nothing assigned":                    {"A=\nB=''\nC=\"\"\n", `1:A="" 2:B="" 3:C=""`},
		"bare":                                {"A=a-b_c./:,+@%=1\n", `1:A="a-b_c./:,+@%=1"`},
		"bare, with escapes":                  {`A=a\ b\'\$\\c`, `1:A="a b'$\\c"`},
		"a comment ends with its line":        {"A=1 # 2\\\nB=3", `1:A="1" 2:B="3"`},
		"a backslash, escaped, at the end":    {"A=a\\\\\nB=1", `1:A="a\\" 2:B="1"`},
		"single quotes":                       {`A='a "b" $c \d` + "\n" + `e'`, `1:A="a \"b\" $c \\d\ne"`},
		"single quotes, backslash at the end": {"A='\\\n\\\\\n\\'\nB=1", `1:A="\\\n\\\\\n\\" 4:B="1"`},
		"a quote within":                      {`A='it'\''s'`, `1:A="it's"`},
		"double quotes":                       {`A="it's \$5 \"or\" \` + "`so\\`" + ` a\b \\"`, `1:A="it's $5 \"or\" ` + "`so`" + ` a\\b \\"`},
		"double quotes over two lines":        {"A=\"a\\\nb\\\\\\\nc\"", `1:A="ab\\c"`},
		"mixed":                               {`A=a"b"'c'\d`, `1:A="abcd"`},
		"several on a line":                   {"A=1 B='2'; C=3 # last", `1:A="1" 1:B="2" 1:C="3"`},
		"export and readonly":                 {"export A='1 2' B=\nreadonly C=\"3\"", `1:A="1 2" 1:B="" 2:C="3"`},
		"carriage returns in quotes":          {"A='\r\n\r' # \r\nB=\"\r\n\"", `1:A="\r\n\r" 3:B="\r\n"`},
		"bytes that are no UTF-8":             {"A='\xff\xc3' # \xff\nB=\"\x80\"", `1:A="\xff\xc3" 2:B="\x80"`},
		"characters of the private area":      {"A='\uE00D\uE080\uE0FF'", `1:A="\ue00d\ue080\ue0ff"`},
		"no line end":                         {"A='1'", `1:A="1"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := assignments(c.text)
			if err == nil {
				err = confirm(c.text, got)
			}
			if err != nil || written(got) != c.want {
				t.Errorf("got %s, %v; want %s", written(got), err, c.want)
			}
		})
	}
}

func TestAssignmentsRefusesEverythingElse(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"id", "A=1 id", "A=1 export B=2", "! A=1", "A=1 &", "A=1 >f", ">f", "A=1 && B=2", "A=1 | B=2", "(A=1)", "{ A=1; }",
		"if A=1; then B=2; fi", "f() { A=1; }", ". ./x", "eval A=1", "unset A", "set -x", ":", "[ A=1 ]", "local A=1", "declare A=1",
		"A=$B", "A=${B}", "A=${B:-c}", "A=$(id)", "A=`id`", "A=$((1+1))", `A="$B"`, `A="${B}"`, `A="$(id)"`, "A=\"`id`\"", `A="$((1))"`, `A="a$"`, "A=$",
		"A=$'a'", `A=$"a"`, "A=<(id)", "A=(1 2)", "A[0]=1", "A+=1", "A=1 2", "A==~", "A=~", "A=a:~b", "A=*", "A=a?", "A=[a]", "A={a,b}", "A=a#b", "A=!x", "A=^x",
		"A=é", "A=\xff", "A=\"\\\x7f\"", "A=\"\x01\"", "A=\\\x7f", "A=\\\r", "A=\\é", "A=1\r", "A=1\r\nB=2", "\rA=1", "\xffA=1", "A=\v1",
		"export", "readonly", "export A", "export -n A=1", "export -- A=1", "export A=1 B", "export A=$B", "export A=~", "export A=*", "export 'A=1'", "export A'='1",
		`export "A"=1`, "export 1=2", "export A[0]=1", `e\xport A=1`, "'export' A=1", "export A=1 & ", "export A=1 >f", "alias A=1", "1=2", "A =1", "é=1", "A-B=1", "'A'=1",
		"A='", `A="`, "A=\\", "A=a\\\nb", "A=\\\n1", "A\\\n=1", "A=1 # 2\\\nid", "A= #\\\nid", "A=1 <<E\nx\nE", "A='1'\x00", "A=\x001", "#\x00", ")", "}", "fi", "do", "A=1;;", "case A in esac",
	} {
		if got, err := assignments(text); err == nil {
			t.Errorf("%q was taken for %s", text, written(got))
		}
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"A=1\n\nid":             "line 3: " + errNotLiteral.Error(),
		"A='\n\n'\nid":          "line 4: " + errNotLiteral.Error(),
		"A=\"\\\n\n\"\n# c\nid": "line 5: " + errNotLiteral.Error(),
		"A=1\nB=$C":             "line 2: B: " + errExpands.Error(),
		"A=1\nexport B=$C":      "line 2: B: " + errExpands.Error(),
		"A=1\nB='x\ny":          "line 2: B: a single quote is never closed",
		"A=1\nB=\"x\ny":         "line 2: B: a double quote is never closed",
		"A=1\nB=<(id)":          "line 2: B: " + errNotLiteral.Error(),
		"A='1'\nB=2\r\nC=3":     "line 2: B: there is a carriage return outside of quotes: lines must end in LF alone",
		"A=1\nB=\"a\" \xff)":    "line 2: " + errNotLiteral.Error(),
		"A=ä":                   `line 1: A: "\xc3" must be in quotes`,
		"A=\"\\\x7f\"":          `line 1: A: '\x7f' must be in single quotes: bash loses it in double ones`,
		"A=a\\\nb":              "line 1: A: a backslash outside of quotes must be before a printable ASCII character",
		"A=1\x00":               "line 1: A: there is a NUL byte, which shells drop",
		"A='\x00'":              "line 1: A: there is a NUL byte, which shells drop",
		"A=\"\x00\"":            "line 1: A: there is a NUL byte, which shells drop",
	} {
		if _, err := assignments(text); err == nil || err.Error() != want {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// What shield is for. Should the parser take these as shells do one day, it can go.
func TestTheParserDiffersFromShells(t *testing.T) {
	t.Parallel()
	parse := func(text string) (*syntax.File, error) {
		return syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(text), "")
	}
	if f, err := parse("A=1\rB=2"); err != nil || len(f.Stmts[0].Cmd.(*syntax.CallExpr).Assigns) != 2 {
		t.Errorf("a carriage return is no white space now: %v", err)
	}
	if f, err := parse("A= # b\\\nid"); err != nil || len(f.Stmts) != 1 {
		t.Errorf("a comment ends with its line now: %v", err)
	}
	if _, err := parse("A='\xff'"); err == nil {
		t.Error("what is no UTF-8 is taken now")
	}
}

// confirm has to stand by itself too: it is there for what the first reader
// may get wrong.
func TestConfirmRefusesWhatIsNotTheSame(t *testing.T) {
	t.Parallel()
	a := []assignment{{name: "A"}}
	for text, want := range map[string]string{
		"A=1":           "",
		"export A=1":    "",
		"A=1 B=2":       "two ways of reading it find different variables",
		"B=1":           "two ways of reading it find different variables",
		"":              "two ways of reading it find different variables",
		"A=":            "",
		"A=\"$(id)\"":   "line 1: " + errNotLiteral.Error(),
		"A=$B":          "line 1: " + errNotLiteral.Error(),
		"\nA=`id`":      "line 2: " + errNotLiteral.Error(),
		"A=1 id":        "line 1: " + errNotLiteral.Error(),
		"id":            "line 1: " + errNotLiteral.Error(),
		"id A=1":        "line 1: " + errNotLiteral.Error(),
		"A=1 >f":        "line 1: " + errNotLiteral.Error(),
		"A=1 &":         "line 1: " + errNotLiteral.Error(),
		"! A=1":         "line 1: " + errNotLiteral.Error(),
		"(A=1)":         "line 1: " + errNotLiteral.Error(),
		"export A":      "line 1: " + errNotLiteral.Error(),
		"A=1 export":    "line 1: " + errNotLiteral.Error(),
		"A=1 # 2\\\nid": "line 2: " + errNotLiteral.Error(),
		"A='":           "cannot read it as shell: 1:3: reached EOF without closing quote `'`",
	} {
		got := ""
		if err := confirm(text, a); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

// Text from a tag or a file may nest what a shell would run as deeply as it
// likes. Reading it must not take a stack as deep.
func TestDepthCostsNothing(t *testing.T) {
	stack := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.StackInuse
	}
	for _, deep := range []string{"(", "$(", "A=$((", "{ ", "if ", "A=\"$("} {
		text := strings.Repeat(deep, (4<<20)/len(deep))
		before := stack()
		if all, err := assignments(text); err == nil {
			t.Errorf("%q was taken for %d assignments", deep, len(all))
		}
		if after := stack(); after > before+1<<20 {
			t.Errorf("%q: the stack grew from %d to %d bytes", deep, before, after)
		}
	}
}
