package strict

import (
	"errors"
	"reflect"
)

// Layer is a file of settings.
type Layer struct {
	Name string // as problems show it: "/etc/ecsnode/ecsnode.yaml"
	Data []byte
}

// Result tells what became of the layers, and where each value came from.
type Result struct {
	Problems Problems // sorted; of all layers
	LeftOut  []string // the names of the layers with problems, in order
	root     *node    // what the other layers say together; nil if nothing
	main     string   // the first of them, "" if there is none
}

// Decode decodes layers in order onto into, a pointer to a struct that holds
// the defaults and that CheckType accepts: it panics for any other. A layer
// with a problem is left out whole, the others are applied. Maps, slices and
// what pointers point to are replaced, never written to, so that defaults may
// share them.
func Decode(into any, layers ...Layer) *Result {
	target := targetOf(into)
	r := &Result{}
	for _, l := range layers {
		tree, problems := parse(l)
		if tree != nil {
			trial := decoder{root: target.Type()}
			trial.value(tree, reflect.New(target.Type()).Elem(), "")
			problems = append(problems, trial.problems...)
		}
		r.add(l, tree, problems)
	}
	if r.root != nil {
		d := decoder{root: target.Type()}
		d.value(r.root, target, "")
	}
	r.Problems.Sort()
	return r
}

func targetOf(into any) reflect.Value {
	mustCheckType(into)
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic("strict: into is not a pointer to a struct")
	}
	return v.Elem()
}

func (r *Result) add(l Layer, tree *node, problems Problems) {
	if len(problems) > 0 {
		r.Problems = append(r.Problems, problems...)
		r.LeftOut = append(r.LeftOut, l.Name)
		return
	}
	if r.main == "" {
		r.main = l.Name
	}
	if tree != nil {
		r.root = merge(r.root, tree)
	}
}

// Origin returns where the effective value of the setting at path was set, and
// false if it is a default. For a mapping it is the last layer that wrote it.
func (r *Result) Origin(path string) (Pos, bool) {
	if r.root == nil {
		return Pos{}, false
	}
	_, n, whole := r.root.locate(path)
	if !whole || n.kind == nullKind && !n.empty {
		return Pos{}, false
	}
	return n.pos(), true
}

// Locate returns the places of the key and of the value at path, for a problem
// that shows only in the decoded values. What no layer wrote is placed at the
// key of its nearest parent that one did, at the latest at the top of the first
// layer that was applied. Without layers both are zero. A list's entry has no
// key: its value's place stands for it.
func (r *Result) Locate(path string) (key, value Pos) {
	e, n, whole := r.nearest(path)
	if n == nil {
		if r.main == "" {
			return Pos{}, Pos{}
		}
		top := Pos{File: r.main, Line: 1, Column: 1}
		return top, top
	}
	key, value = n.pos(), n.pos()
	if e != nil {
		key = e.pos()
	}
	if !whole {
		value = key
	}
	return key, value
}

// nearest returns the written node nearest to path; nil where only the whole
// configuration is.
func (r *Result) nearest(path string) (*entry, *node, bool) {
	if r.root == nil {
		return nil, nil, false
	}
	e, n, whole := r.root.locate(path)
	if n == r.root {
		return nil, nil, false
	}
	return e, n, whole
}

// Problem returns err as a problem with the setting at path, placed at its
// value as Locate does. An err that implements Offsetter is placed inside the
// value's text, and one that implements Hinter brings the hint.
func (r *Result) Problem(path string, err error) Problem {
	_, pos := r.Locate(path)
	if _, n, whole := r.nearest(path); whole {
		pos = placeOf(n, err)
	}
	return Problem{Pos: pos, Path: path, Message: onOneLine(err.Error()), Hint: hintOf(err)}
}

// placeOf returns the place in n's text that err is about.
func placeOf(n *node, err error) Pos {
	if o := Offsetter(nil); errors.As(err, &o) {
		return n.at(o.Offset())
	}
	return n.pos()
}

func hintOf(err error) string {
	if h := Hinter(nil); errors.As(err, &h) {
		return onOneLine(h.Hint())
	}
	return ""
}
