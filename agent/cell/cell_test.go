package cell_test

import (
	"testing"

	"github.com/ecsnode/ecsnode/agent/cell"
)

func TestOnlyARealChangeWakes(t *testing.T) {
	c := cell.Comparable[string]()
	if _, ok := c.Get(); ok {
		t.Fatal("an empty cell has a value")
	}
	ch := make(chan struct{}, 1)
	c.Wake(ch)
	for _, step := range []struct {
		set  string
		wake bool
	}{{"a", true}, {"a", false}, {"b", true}, {"b", false}} {
		changed := c.Set(step.set)
		woken := len(ch) == 1
		if woken {
			<-ch
		}
		if changed != step.wake || woken != step.wake {
			t.Errorf("Set(%q): changed %v, woken %v, want %v", step.set, changed, woken, step.wake)
		}
	}
	if v, ok := c.Get(); !ok || v != "b" {
		t.Errorf("Get = %q, %v", v, ok)
	}
}

func TestFirstSetOfTheZeroValueIsAChange(t *testing.T) {
	if !cell.Comparable[string]().Set("") {
		t.Error("the first Set was no change")
	}
}

func TestWakeCanBeUndone(t *testing.T) {
	c := cell.Comparable[int]()
	ch := make(chan struct{}, 1)
	stop := c.Wake(ch)
	other := c.Wake(ch) // the same channel again, by another reader
	stop()
	c.Set(1)
	if len(ch) != 1 {
		t.Fatal("the second registration was lost with the first")
	}
	<-ch
	other()
	stop() // twice is harmless
	c.Set(2)
	if len(ch) != 0 {
		t.Error("woken after stop")
	}
}

func TestAFullChannelNeverBlocksTheWriter(t *testing.T) {
	c := cell.Comparable[int]()
	ch := make(chan struct{}) // nobody reads
	c.Wake(ch)
	c.Set(1)
	c.Set(2)
}

func TestView(t *testing.T) {
	type pair struct{ a, b int }
	c := cell.Comparable[pair]()
	a := cell.View(c, func(p pair) int { return p.a })
	if _, ok := a.Get(); ok {
		t.Error("the view of an empty cell has a value")
	}
	ch := make(chan struct{}, 1)
	defer a.Wake(ch)()
	c.Set(pair{1, 2})
	if v, ok := a.Get(); v != 1 || !ok || len(ch) != 1 {
		t.Errorf("Get = %d, %v, woken %d", v, ok, len(ch))
	}
}
