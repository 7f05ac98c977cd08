package agent_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// source is the part of one package that goes into a program: tests may break
// the rules.
type source struct {
	dir   string // below the root of the module
	fset  *token.FileSet
	files []*ast.File
}

// parse reads the Go packages below the root of a module, by directory.
func parse(tree fs.FS) (map[string]*source, error) {
	packages := make(map[string]*source)
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && strings.ContainsAny(d.Name()[:1], "._") || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		if packages[dir] == nil {
			packages[dir] = &source{dir: dir, fset: token.NewFileSet()}
		}
		p := packages[dir]
		file, err := parser.ParseFile(p.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		p.files = append(p.files, file)
		return err
	})
	return packages, err
}

// check returns every breach of the rules, each with its place and the rule.
func check(packages map[string]*source) []string {
	var all []string
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		p := packages[dir]
		for _, rule := range []func(*source) []string{listed, layered, banned, documented, wired, lean, passive, stateless} {
			all = append(all, rule(p)...)
		}
	}
	return all
}

func (p *source) at(n ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s: %s", p.fset.Position(n.Pos()), fmt.Sprintf(format, args...))
}

// listed: every package has its line in layers.
func listed(p *source) []string {
	if _, ok := layer(p.dir); !ok {
		return []string{p.dir + ": not listed in layers: say what it may import"}
	}
	return nil
}

func layer(dir string) (imports string, ok bool) {
	for _, l := range layers {
		if matches(l.pkg, dir) {
			return l.imports, true
		}
	}
	return "", false
}

// layered: a package imports of ours only what its layer may.
func layered(p *source) []string {
	allowed, ok := layer(p.dir)
	if !ok {
		return nil
	}
	return p.imports(func(imported string) string {
		ours, ok := strings.CutPrefix(imported, module+"/")
		if ok && ours != "agent/pattern" && !matches(allowed, ours) {
			return fmt.Sprintf("%s may not import %s: see layers", p.dir, ours)
		}
		return ""
	})
}

// banned: a package imports nothing that its bans name.
func banned(p *source) []string {
	return p.imports(func(imported string) string {
		for _, ban := range bans {
			holds := (ban.in == "" || matches(ban.in, p.dir)) && !matches(ban.notIn, p.dir)
			if holds && matches(ban.imports, imported) && !matches(ban.except, imported) {
				return fmt.Sprintf("%s may not import %s: %s", p.dir, imported, ban.why)
			}
		}
		return ""
	})
}

// imports returns what breach says of each import; "" is no breach.
func (p *source) imports(breach func(imported string) string) []string {
	var all []string
	for _, file := range p.files {
		for _, spec := range file.Imports {
			if text := breach(importPath(spec)); text != "" {
				all = append(all, p.at(spec, "%s", text))
			}
		}
	}
	return all
}

func importPath(spec *ast.ImportSpec) string {
	unquoted, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value
	}
	return unquoted
}

// matches reports whether one of the patterns, separated by spaces, matches name.
func matches(patterns, name string) bool {
	for pattern := range strings.FieldsSeq(patterns) {
		if base, all := strings.CutSuffix(pattern, "/..."); all && (name == base || strings.HasPrefix(name, base+"/")) {
			return true
		}
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}

// documented: one file of each package says what the package is responsible for.
func documented(p *source) []string {
	var docs []string
	for _, file := range p.files {
		if file.Doc != nil && strings.TrimSpace(file.Doc.Text()) != "" {
			docs = append(docs, file.Doc.Text())
		}
	}
	name := p.files[0].Name.Name
	switch {
	case len(docs) == 0:
		return []string{p.dir + ": no package comment"}
	case len(docs) > 1:
		return []string{p.dir + ": more than one package comment"}
	case name != "main" && !strings.HasPrefix(docs[0], "Package "+name+" "):
		return []string{fmt.Sprintf("%s: the package comment must begin with %q", p.dir, "Package "+name+" ")}
	}
	return nil
}

// wired: what runs is written down where it is wired, not registered on import.
func wired(p *source) []string {
	return p.nodes(func(n ast.Node) string {
		if f, ok := n.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			return "func init: nothing may run because a package is imported"
		}
		return ""
	})
}

var paginator = regexp.MustCompile(`^New\w*Paginator$`)

// lean: a paginator holds its client in an interface, and then the linker keeps
// every operation of that service.
func lean(p *source) []string {
	return p.nodes(func(n ast.Node) string {
		if id, ok := n.(*ast.Ident); ok && paginator.MatchString(id.Name) {
			return id.Name + ": a paginator keeps the whole SDK client in the binary; follow NextToken instead"
		}
		return ""
	})
}

// waits are the functions that wait or start a goroutine, by package.
var waits = map[string]string{
	"time":    "Sleep After Tick NewTicker NewTimer AfterFunc",
	"context": "AfterFunc",
}

// passive: a duty makes one pass and leaves time and concurrency to the engine.
func passive(p *source) []string {
	if !matches("agent/duties/*", p.dir) {
		return nil
	}
	var all []string
	for _, file := range p.files {
		waiting := make(map[string]string) // by the name of the package in this file
		for _, spec := range file.Imports {
			imported := importPath(spec)
			name := path.Base(imported)
			if spec.Name != nil {
				name = spec.Name.Name
			}
			if waits[imported] != "" {
				waiting[name] = waits[imported]
			}
			if name == "." {
				all = append(all, p.at(spec, "a dot import hides what is called"))
			}
		}
		for n := range ast.Preorder(file) {
			switch n := n.(type) {
			case *ast.GoStmt:
				all = append(all, p.at(n, "go statement: a duty starts no goroutine"))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && matches(waiting[x.Name], n.Sel.Name) {
					all = append(all, p.at(n, "%s.%s: a duty does not wait; return Outcome.Again", x.Name, n.Sel.Name))
				}
			}
		}
	}
	return all
}

// nodes returns what breach says of each syntax node; "" is no breach.
func (p *source) nodes(breach func(ast.Node) string) []string {
	var all []string
	for _, file := range p.files {
		for n := range ast.Preorder(file) {
			if text := breach(n); text != "" {
				all = append(all, p.at(n, "%s", text))
			}
		}
	}
	return all
}

// stateless: a package-level variable is a constant in all but name. It holds no
// lock, counter or channel, and nothing writes to it, here or from elsewhere.
func stateless(p *source) []string {
	uses := p.resolve()
	all := p.nodes(func(n ast.Node) string {
		for _, target := range writes(n) {
			id := root(target)
			if id == nil {
				continue
			}
			switch of := uses[id].(type) {
			case *types.PkgName:
				return fmt.Sprintf("%s: writes to a variable of package %s", types.ExprString(target), id.Name)
			case *types.Var:
				if of.Parent() == of.Pkg().Scope() {
					return fmt.Sprintf("%s: writes to the package-level variable %s", types.ExprString(target), id.Name)
				}
			}
		}
		return ""
	})
	for _, file := range p.files {
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				if v := spec.(*ast.ValueSpec); changes(v.Type, uses) {
					all = append(all, p.at(v, "%s: a package-level %s is state", v.Names[0].Name, types.ExprString(v.Type)))
				}
			}
		}
	}
	return all
}

// changes reports whether a type is there to change: a channel, or a type of
// package sync or sync/atomic, however many of them.
func changes(of ast.Expr, uses map[*ast.Ident]types.Object) bool {
	switch of := of.(type) {
	case *ast.ChanType:
		return true
	case *ast.StarExpr:
		return changes(of.X, uses)
	case *ast.ArrayType:
		return changes(of.Elt, uses)
	case *ast.IndexExpr: // atomic.Pointer[T]
		return changes(of.X, uses)
	case *ast.SelectorExpr:
		if id, ok := of.X.(*ast.Ident); ok {
			name, ok := uses[id].(*types.PkgName)
			return ok && matches("sync sync/atomic", name.Imported().Path())
		}
	}
	return false
}

// resolve tells what each identifier stands for. Imports are not followed, so
// types stay unknown where they come from other packages; names do not.
func (p *source) resolve() map[*ast.Ident]types.Object {
	info := types.Info{Uses: make(map[*ast.Ident]types.Object)}
	conf := types.Config{Error: func(error) {}}
	conf.Check(p.dir, p.fset, p.files, &info)
	return info.Uses
}

// writes returns the expressions that n gives a value to, or lets others do so.
func writes(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.SendStmt:
		return []ast.Expr{n.Chan}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.UnaryExpr:
		// &table[i] is how a large element is read without copying it.
		if _, indexed := ast.Unparen(n.X).(*ast.IndexExpr); n.Op == token.AND && !indexed {
			return []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && matches("delete clear close", f.Name) && len(n.Args) > 0 {
			return n.Args[:1]
		}
	}
	return nil
}

// root returns the identifier that an expression such as (*a.b[i]).c starts
// with, or nil.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.ParenExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return nil
		}
	}
}
