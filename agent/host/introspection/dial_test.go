package introspection

import (
	"net"
	"testing"
)

func TestAConnectionThatMeetsItselfLeavesThePortFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	d := net.Dialer{LocalAddr: at, Control: resetAtTheEnd}
	self, err := d.DialContext(t.Context(), "tcp", at.String())
	if err != nil {
		t.Fatal("it does not meet itself: ", err)
	}
	if self.LocalAddr().String() != self.RemoteAddr().String() {
		t.Fatalf("%v meets %v", self.LocalAddr(), self.RemoteAddr())
	}
	if err := self.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = net.Listen("tcp", at.String()); err != nil {
		t.Fatal("nobody can listen there: ", err)
	}
	_ = l.Close()
}
