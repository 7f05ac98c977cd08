package sim_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestServeReturnsAfterItsHandlers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := sim.NewNetwork()
		defer network.Close()
		l, err := network.Listen("host:80")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		handled := false
		served := make(chan error)
		go func() {
			served <- sim.Serve(ctx, l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				time.Sleep(time.Minute)
				handled = true
			}))
		}()
		client := &http.Client{Transport: &http.Transport{DialContext: network.DialContext}}
		go func() { _, _ = client.Get("http://host/") }()
		synctest.Wait()
		cancel()
		if err := <-served; err != nil || !handled {
			t.Errorf("returned %v, handler done: %t", err, handled)
		}
	})
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := sim.NewNetwork()
		defer network.Close()
		l, err := network.Listen("host:80")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error)
		go func() { served <- sim.Serve(t.Context(), l, http.NotFoundHandler()) }()
		l.Close()
		if err := <-served; err == nil {
			t.Error("no error although the listener was closed by another")
		}
	})
}
