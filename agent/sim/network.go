package sim

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
)

// Network is a network in memory: listeners by address and connections that,
// unlike sockets, block in a way that testing/synctest sees. Made inside a
// bubble it must be closed in it; after Close nothing of it is running.
type Network struct {
	ctx    context.Context
	cancel context.CancelFunc
	serves sync.WaitGroup

	mu        sync.Mutex
	listeners map[string]*memoryListener
	conns     map[*memoryConn]struct{}
	dials     uint16
}

// NewNetwork makes an empty network.
func NewNetwork() *Network {
	n := &Network{listeners: map[string]*memoryListener{}, conns: map[*memoryConn]struct{}{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// Listen takes connections to addr, a host:port; an addr without a host takes
// those to every host at that port that nobody else listens on. An addr that is a
// path takes those of the network "unix".
func (n *Network) Listen(addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", addr, net.ErrClosed)
	}
	if n.listeners[addr] != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", addr, syscall.EADDRINUSE)
	}
	l := &memoryListener{network: n, addr: memoryAddr(addr), incoming: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// DialContext connects to addr, for http.Transport.DialContext. Without a
// listener the connection is refused, or there is no such socket.
func (n *Network) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	l, err := n.listenerFor(network, addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: memoryAddr(addr), Err: err}
	}
	client, server := n.newConns(l.addr)
	select {
	case l.incoming <- server:
		return client, nil
	case <-l.closed:
		err = os.NewSyscallError("connect", syscall.ECONNREFUSED)
	case <-ctx.Done():
		err = ctx.Err()
	}
	_, _ = client.Close(), server.Close()
	return nil, &net.OpError{Op: "dial", Net: network, Addr: memoryAddr(addr), Err: err}
}

func (n *Network) listenerFor(network, addr string) (*memoryListener, error) {
	candidates, none := []string{addr}, syscall.ENOENT
	if network != "unix" {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		candidates, none = append(candidates, ":"+port), syscall.ECONNREFUSED
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, candidate := range candidates {
		if l := n.listeners[candidate]; l != nil {
			return l, nil
		}
	}
	return nil, os.NewSyscallError("connect", none)
}

// Serve serves handler at addr until the network is closed.
func (n *Network) Serve(addr string, handler http.Handler) error {
	return n.ServeTLS(addr, handler, nil)
}

// ServeTLS is Serve with TLS; without a config it is without TLS.
func (n *Network) ServeTLS(addr string, handler http.Handler, config *tls.Config) error {
	l, err := n.Listen(addr)
	if err != nil {
		return err
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	n.serves.Go(func() { _ = Serve(n.ctx, l, handler) })
	return nil
}

// Close closes every listener and connection and returns once all that Serve
// started has ended.
func (n *Network) Close() error {
	n.cancel()
	n.mu.Lock()
	var open []io.Closer
	for _, l := range n.listeners {
		open = append(open, l)
	}
	for c := range n.conns {
		open = append(open, c)
	}
	n.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
	n.serves.Wait()
	return nil
}

// newConns makes the two ends of a connection.
func (n *Network) newConns(to net.Addr) (client, server *memoryConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials++
	from := memoryAddr(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 32768+n.dials%28232).String())
	client, server = newMemoryConns(from, to)
	for _, c := range []*memoryConn{client, server} {
		n.conns[c] = struct{}{}
		c.onClose = func() { n.forget(c) }
	}
	return client, server
}

func (n *Network) forget(c *memoryConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

type memoryAddr string

func (memoryAddr) Network() string  { return "tcp" }
func (a memoryAddr) String() string { return string(a) }

type memoryListener struct {
	network  *Network
	addr     memoryAddr
	incoming chan net.Conn
	closing  sync.Once
	closed   chan struct{}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
}

func (l *memoryListener) Close() error {
	l.closing.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, string(l.addr))
		l.network.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *memoryListener) Addr() net.Addr { return l.addr }
