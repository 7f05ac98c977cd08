package sim

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strconv"
	"time"
)

// applyFault answers r in the way f says.
func (w *World) applyFault(f Fault, answer http.ResponseWriter, r *http.Request, x exchange) {
	if !pause(r, f.Latency) {
		return
	}
	if f.Kind == "" {
		x.handle(answer, r)
		return
	}
	var right bufferedAnswer
	if f.Processed || f.Kind == FaultTruncate || f.Kind == FaultSlow {
		x.handle(&right, r)
	}
	switch f.Kind {
	case FaultHang:
		// The server notices that the client is gone only once the request
		// has been read to its end.
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	case FaultStatus:
		x.errors.writeStatus(answer, f.Status)
	case FaultThrottle:
		x.errors.writeThrottled(answer)
	case FaultGarbage:
		answer.Header().Set("Content-Type", "application/octet-stream")
		_, _ = answer.Write(w.faults.garbage(garbageSize))
	case FaultEmpty:
		answer.WriteHeader(http.StatusOK)
	case FaultTruncate:
		right.writePart(answer, f.Size)
	case FaultHuge:
		writeHuge(answer, f.Size)
	case FaultReset:
		resetConnection(answer)
	case FaultSlow:
		right.writeSlowly(answer, r, f.Size)
	case FaultStale:
		x.handle(answer, r.WithContext(context.WithValue(r.Context(), staleKey{}, true)))
	}
}

// pause waits and says whether the client is still there.
func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// bufferedAnswer is an answer that has not been sent.
type bufferedAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *bufferedAnswer) Header() http.Header {
	if b.header == nil {
		b.header = http.Header{}
	}
	return b.header
}

func (b *bufferedAnswer) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}

func (b *bufferedAnswer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}

// writePart announces the whole body and sends size bytes of it, or half if that
// is 0; that the rest is missing makes the server close the connection. What has
// no more than that arrives whole.
func (b *bufferedAnswer) writePart(w http.ResponseWriter, size int64) {
	for key, values := range b.Header() {
		w.Header()[key] = values
	}
	part := int64(b.body.Len()) / 2
	length := max(b.body.Len(), 2)
	if size > 0 {
		part, length = min(size, int64(b.body.Len())), b.body.Len()
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(max(b.status, http.StatusOK))
	_, _ = w.Write(b.body.Bytes()[:part])
}

// writeSlowly sends rate bytes of the body a second.
func (b *bufferedAnswer) writeSlowly(w http.ResponseWriter, r *http.Request, rate int64) {
	if rate == 0 {
		rate = defaultSlowRate
	}
	for key, values := range b.Header() {
		w.Header()[key] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(b.body.Len()))
	w.WriteHeader(max(b.status, http.StatusOK))
	for b.body.Len() > 0 {
		_, _ = w.Write(b.body.Next(int(rate)))
		_ = http.NewResponseController(w).Flush()
		if !pause(r, time.Second) {
			return
		}
	}
}

// staleKey marks a request whose answer is to be out of date.
type staleKey struct{}

// writeHuge sends size bytes without announcing how many there will be.
func writeHuge(w http.ResponseWriter, size int64) {
	if size == 0 {
		size = defaultHugeSize
	}
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	w.Header().Set("Content-Type", "text/plain")
	for size > 0 {
		n, err := w.Write(chunk[:min(size, int64(len(chunk)))])
		if err != nil {
			return
		}
		size -= int64(n)
	}
}

// resetConnection closes the connection so that the client sees a reset.
func resetConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if c, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}
