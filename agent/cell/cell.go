// Package cell holds values that one duty publishes and others read.
//
// A cell has one writer and any number of readers. A reader asks for the
// current value during its pass and may be woken when it really changes.
package cell

import (
	"slices"
	"sync"
)

// Reader is the read half of a cell.
type Reader[T any] interface {
	// Get returns the current value; ok is false until the first Set.
	Get() (v T, ok bool)
	Waker
}

// Waker is anything that can wake a duty.
type Waker interface {
	// Wake sends to ch at every change until stop is called. It never blocks:
	// a full channel already holds a wake-up.
	Wake(ch chan<- struct{}) (stop func())
}

// Cell holds a T. Make one with [New].
type Cell[T any] struct {
	equal func(a, b T) bool

	mu    sync.Mutex
	v     T
	ok    bool
	wakes []*chan<- struct{} // by pointer: one channel may be registered twice
}

// New returns an empty cell. equal decides whether a Set is a change.
func New[T any](equal func(a, b T) bool) *Cell[T] { return &Cell[T]{equal: equal} }

// Comparable returns an empty cell of a type that == can compare.
func Comparable[T comparable]() *Cell[T] {
	return New(func(a, b T) bool { return a == b })
}

// Set stores v, wakes the readers if it differs from the current value, and
// reports whether it did.
func (c *Cell[T]) Set(v T) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ok && c.equal(c.v, v) {
		return false
	}
	c.v, c.ok = v, true
	for _, ch := range c.wakes {
		select {
		case *ch <- struct{}{}:
		default:
		}
	}
	return true
}

// Get implements [Reader].
func (c *Cell[T]) Get() (T, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.v, c.ok
}

// Wake implements [Waker].
func (c *Cell[T]) Wake(ch chan<- struct{}) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &ch
	c.wakes = append(c.wakes, p)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wakes = slices.DeleteFunc(c.wakes, func(q *chan<- struct{}) bool { return q == p })
	}
}

// View returns a Reader of a part of src: pick runs at every Get. Its readers
// are woken at every change of src, also when the part stayed the same.
func View[S, T any](src Reader[S], pick func(S) T) Reader[T] {
	return view[S, T]{src, pick}
}

type view[S, T any] struct {
	Reader[S]
	pick func(S) T
}

func (v view[S, T]) Get() (t T, ok bool) {
	s, ok := v.Reader.Get()
	if !ok {
		return t, false
	}
	return v.pick(s), true
}
