package introspection

import (
	"context"
	"net"
	"syscall"
	"time"
)

// dial connects without ever keeping the agent from its port. 51678 is among the
// ports that the kernel gives to clients: while nobody listens there, a client on
// the same host may be given that very port and meet itself, and what such a
// connection leaves behind (TIME_WAIT) keeps the agent from listening for a
// minute. A connection that is reset at its end leaves nothing.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, Control: resetAtTheEnd}
	return d.DialContext(ctx, network, addr)
}

const dialTimeout = 2 * time.Second

func resetAtTheEnd(_, _ string, conn syscall.RawConn) error {
	var err error
	if failed := conn.Control(func(fd uintptr) {
		err = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	}); failed != nil {
		return failed
	}
	return err
}
