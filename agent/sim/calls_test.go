package sim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestCallLogKeepsTheLastAndCountsAll(t *testing.T) {
	inBubble(t, sim.Options{CallLimit: 3}, func(t *testing.T, b bubble) {
		for i := range 5 {
			see(t.Context(), b.http, "GET", fmt.Sprintf("http://169.254.169.254/latest/meta-data/%d", i))
			time.Sleep(time.Second)
		}
		var got []string
		calls := b.Calls()
		for i, c := range calls {
			got = append(got, c.Operation)
			if i > 0 && c.Time.Sub(calls[i-1].Time) != time.Second {
				t.Errorf("%s came %s after %s", c.Operation, c.Time.Sub(calls[i-1].Time), calls[i-1].Operation)
			}
		}
		if diff := cmp.Diff([]string{"meta-data/2", "meta-data/3", "meta-data/4"}, got); diff != "" {
			t.Error(diff)
		}
		for pattern, want := range map[string]int{"*": 5, "imds": 5, "imds/meta-data": 5, "imds/meta-data/1": 1, "imds/meta": 0, "imds/meta*": 5, "ec2": 0} {
			if n := b.Count(pattern); n != want {
				t.Errorf("%d calls match %s, want %d", n, pattern, want)
			}
		}
		b.ResetCalls()
		if n := b.Count("*"); n != 0 || len(b.Calls()) != 0 {
			t.Errorf("after a reset: %d counted, %d logged", n, len(b.Calls()))
		}
	})
}

func TestCallsAsTheyAreLogged(t *testing.T) {
	var ended []sim.Call
	inBubble(t, sim.Options{OnCall: func(c sim.Call) { ended = append(ended, c) }}, func(t *testing.T, b bubble) {
		if err := b.SetFault("imds", sim.Fault{Latency: 1500 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		see(t.Context(), b.http, "GET", "http://169.254.169.254/latest/meta-data/mac")
		want := sim.Call{
			Time: start, Service: "imds", Operation: "meta-data/mac", Instance: "i-0123456789abcdef0", Method: "GET",
			Path: "/latest/meta-data/mac", Status: 401, Bytes: 343, Duration: 1500 * time.Millisecond, Fault: "latency 1.5s",
		}
		got := b.Calls()[0]
		if !strings.HasPrefix(got.Client, "127.0.0.1:") {
			t.Errorf("client %s", got.Client)
		}
		if diff := cmp.Diff([]sim.Call{got}, ended); diff != "" {
			t.Errorf("OnCall: %s", diff)
		}
		got.Client = ""
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		line, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		wantLine := `{"time":"2000-01-01T00:00:00Z","service":"imds","operation":"meta-data/mac","instance":"i-0123456789abcdef0","method":"GET",` +
			`"path":"/latest/meta-data/mac","status":401,"bytes":343,"client":"","fault":"latency 1.5s","seconds":1.5}`
		if diff := cmp.Diff(wantLine, string(line)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestCountersAreBounded(t *testing.T) {
	t.Parallel()
	w := sim.New(sim.Options{CallLimit: 10})
	handler := w.IMDS()
	for i := range 10_500 {
		r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("/latest/%d", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		handler.ServeHTTP(discard{}, r)
	}
	if n := w.Counts()["imds/(other)"]; n != 500 {
		t.Errorf("%d calls counted as others, want 500", n)
	}
	if n := w.Count("imds"); n != 10_500 {
		t.Errorf("%d calls in all, want 10500", n)
	}
}

// discard is a ResponseWriter that keeps nothing.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) WriteHeader(int)             {}
func (discard) Write(p []byte) (int, error) { return len(p), nil }

func TestAwaitCalls(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		arrived := make(chan error)
		go func() { arrived <- b.AwaitCalls(t.Context(), "imds/meta-data", 2) }()
		for range 2 {
			select {
			case err := <-arrived:
				t.Fatalf("returned early: %v", err)
			default:
			}
			see(t.Context(), b.http, "GET", "http://169.254.169.254/latest/meta-data/mac")
			see(t.Context(), b.http, "GET", "http://169.254.169.254/latest/api/token")
			synctest.Wait()
		}
		if err := <-arrived; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.AwaitCalls(ctx, "imds", 99); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting in vain: %v", err)
		}
	})
}
