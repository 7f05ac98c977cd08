package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// memoryConn is one end of a connection in memory that behaves and fails as a
// TCP socket does. It is not a net.Pipe because there a Write returns only
// when it has been read: an answer may then arrive while the transport is
// still writing the request, upon which the AWS SDK closes the request's body,
// the transport takes that for a failed write, and closes the connection.
type memoryConn struct {
	in, out       *stream
	local, remote net.Addr
	linger0       atomic.Bool // Close is to reset the connection
	closing       sync.Once
	onClose       func()
}

// newMemoryConns makes the two ends of a connection.
func newMemoryConns(client, server net.Addr) (clientEnd, serverEnd *memoryConn) {
	up, down := newStream(), newStream()
	return &memoryConn{in: down, out: up, local: client, remote: server},
		&memoryConn{in: up, out: down, local: server, remote: client}
}

func (c *memoryConn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

func (c *memoryConn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

func (c *memoryConn) Close() error {
	err := net.ErrClosed
	c.closing.Do(func() {
		reset := c.linger0.Load()
		c.in.update(func(s *stream) { s.readerClosed, s.reset = true, s.reset || reset })
		c.out.update(func(s *stream) { s.writerClosed, s.reset = true, s.reset || reset })
		c.onClose()
		err = nil
	})
	return err
}

// SetLinger(0) makes Close reset the connection, as on a net.TCPConn; other
// values have no effect.
func (c *memoryConn) SetLinger(sec int) error {
	c.linger0.Store(sec == 0)
	return nil
}

func (c *memoryConn) LocalAddr() net.Addr  { return c.local }
func (c *memoryConn) RemoteAddr() net.Addr { return c.remote }

func (c *memoryConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.in.update(func(s *stream) { s.readDeadline = t })
	return nil
}

func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.out.update(func(s *stream) { s.writeDeadline = t })
	return nil
}

// wrap makes the error a socket would give of a stream's.
func (c *memoryConn) wrap(op string, err error) error {
	if err == nil || err == io.EOF { // io.Reader's callers compare EOF
		return err
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// streamBuffer is how much a stream holds before writes wait for reads.
const streamBuffer = 64 << 10

// stream is one direction of a connection.
type stream struct {
	mu                          sync.Mutex
	changed                     chan struct{} // closed and replaced at every change
	buffer                      []byte
	readerClosed, writerClosed  bool
	reset                       bool
	readDeadline, writeDeadline time.Time
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

// read waits for bytes, the end or an error.
func (s *stream) read(p []byte) (n int, err error) {
	s.await(func() (done bool, deadline time.Time) {
		switch {
		case s.readerClosed:
			err = net.ErrClosed
		case s.reset:
			err = syscall.ECONNRESET
		case expired(s.readDeadline):
			err = os.ErrDeadlineExceeded
		case len(s.buffer) > 0:
			n = copy(p, s.buffer)
			s.buffer = s.buffer[n:]
		case s.writerClosed:
			err = io.EOF
		default:
			return len(p) == 0, s.readDeadline
		}
		return true, time.Time{}
	})
	return n, err
}

// write waits until all of p is in the buffer.
func (s *stream) write(p []byte) (n int, err error) {
	s.await(func() (done bool, deadline time.Time) {
		switch {
		case s.writerClosed:
			err = net.ErrClosed
		case s.reset:
			err = syscall.ECONNRESET
		case s.readerClosed:
			err = syscall.EPIPE
		case expired(s.writeDeadline):
			err = os.ErrDeadlineExceeded
		default:
			fits := min(len(p)-n, streamBuffer-len(s.buffer))
			s.buffer = append(s.buffer, p[n:n+fits]...)
			n += fits
			return n == len(p), s.writeDeadline
		}
		return true, time.Time{}
	})
	return n, err
}

// await calls try, with the lock held, at first and after every change until
// it is done; try says when it wants to be called at the latest.
func (s *stream) await(try func() (done bool, deadline time.Time)) {
	for {
		s.mu.Lock()
		before := len(s.buffer)
		done, deadline := try()
		if len(s.buffer) != before {
			s.wake()
		}
		changed := s.changed
		s.mu.Unlock()
		if done {
			return
		}
		waitUntil(changed, deadline)
	}
}

// update changes the stream.
func (s *stream) update(change func(*stream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
	s.wake()
}

// wake wakes whoever waits; the caller holds the lock.
func (s *stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// waitUntil waits for the change or the deadline, the zero time being none.
func waitUntil(changed <-chan struct{}, deadline time.Time) {
	if deadline.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func expired(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }
