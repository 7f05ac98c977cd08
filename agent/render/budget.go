package render

import (
	"errors"
	"reflect"
)

// Work bounds what one rendering may handle in its functions and loops, in
// bytes: a template that multiplies a text, or loops without end, must not take
// the node's memory or its time. A rendering of the largest output takes a few
// times MaxOutput.
const Work = 64 << 20

var errTooMuch = errors.New("does more than one template may: it loops too often or handles too much text")

// budget is what is left of the work of one rendering.
type budget int

// spend panics with errTooMuch, which text/template turns into the error of the
// function that was called.
func (b *budget) spend(bytes int) {
	if *b -= budget(bytes); *b < 0 {
		panic(errTooMuch)
	}
}

// metered returns fn with the size of its arguments and results counted. What
// it returns is of at most MaxOutput.
func (b *budget) metered(fn any) any {
	f := reflect.ValueOf(fn)
	call := f.Call
	if f.Type().IsVariadic() {
		call = f.CallSlice
	}
	return reflect.MakeFunc(f.Type(), func(args []reflect.Value) []reflect.Value {
		for _, arg := range args {
			b.spend(size(arg))
		}
		results := call(args)
		for _, result := range results {
			n := size(result)
			if n > maxValue {
				panic(errTooMuch)
			}
			b.spend(n)
		}
		return results
	}).Interface()
}

// maxValue bounds one value: a list of short texts takes more than its text.
const maxValue = 16 * MaxOutput

// leaf is what the least value counts for.
const leaf = 16

// size is about how many bytes a value takes: leaf for each value in it, and the
// texts.
func size(v reflect.Value) int {
	const word = leaf
	switch v.Kind() {
	case reflect.String:
		return word + v.Len()
	case reflect.Interface:
		return size(v.Elem())
	case reflect.Slice:
		n := word
		for i := range v.Len() {
			n += size(v.Index(i))
		}
		return n
	case reflect.Map:
		n := word
		for it := v.MapRange(); it.Next(); {
			n += size(it.Key()) + size(it.Value())
		}
		return n
	}
	return word
}
