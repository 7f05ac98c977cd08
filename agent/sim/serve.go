package sim

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// Serve serves handler on l until ctx is done, then closes the listener and
// every connection, and returns once all connections have ended. The end of
// ctx is not an error.
func Serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	var open sync.WaitGroup
	server := &http.Server{
		Handler: handler,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed, http.StateHijacked:
				open.Done()
			}
		},
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	err := server.Serve(l)
	if stop() { // ended by itself
		_ = server.Close()
	}
	open.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}
