package nodeconfig_test

import "testing"

// BenchmarkPassWithoutChange is what a steady node pays each time.
func BenchmarkPassWithoutChange(b *testing.B) {
	n := newNode(b)
	n.pass(true)
	for b.Loop() {
		if out, err := n.duty.Reconcile(b.Context()); err != nil || out.Changed {
			b.Fatal(out, err)
		}
	}
}
