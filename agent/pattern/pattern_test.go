package pattern_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// What is compiled on its first use would fail there.
func TestEveryPatternOfTheAgentCompiles(t *testing.T) {
	found := 0
	err := fs.WalkDir(os.DirFS(".."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), "../"+name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for n := range ast.Preorder(file) {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				continue
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || f.Sel.Name != "New" {
				continue
			}
			if of, ok := f.X.(*ast.Ident); !ok || of.Name != "pattern" {
				continue
			}
			found++
			text := ""
			for part := range ast.Preorder(call.Args[0]) {
				switch part := part.(type) {
				case *ast.BasicLit:
					literal, err := strconv.Unquote(part.Value)
					if err != nil {
						return err
					}
					text += literal
				case *ast.Ident: // a part that has a name: some group
					text += "(?:x)"
				}
			}
			if _, err := regexp.Compile(text); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 80 {
		t.Errorf("%d patterns were found: are the sources being read?", found)
	}
}

func TestAPatternIsTheExpression(t *testing.T) {
	p := pattern.New(`a(b+)`)
	if got := p.FindStringSubmatch("xabbx"); len(got) != 2 || got[0] != "abb" || got[1] != "bb" {
		t.Errorf("%q", got)
	}
	if p.MatchString("b") || p.Match([]byte("a")) || p.FindString("cab") != "ab" || p.String() != "a(b+)" {
		t.Error("it matches something else")
	}
	if got := p.ReplaceAllString("ab abb", "$1"); got != "b bb" {
		t.Error(got)
	}
	if got := p.ReplaceAllStringFunc("ab abb", strings.ToUpper); got != "AB ABB" {
		t.Error(got)
	}
	if got := p.FindStringSubmatchIndex("xab"); len(got) != 4 || got[2] != 2 {
		t.Errorf("%v", got)
	}
}

func TestWhatIsNoExpressionFailsOnUse(t *testing.T) {
	p := pattern.New("(")
	defer func() {
		if recover() == nil {
			t.Error("it was taken")
		}
	}()
	p.MatchString("")
}
