package imds_test

import (
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func fault(t *testing.T, w *sim.World, pattern string, f sim.Fault) {
	t.Helper()
	if err := w.SetFault(pattern, f); err != nil {
		t.Fatal(err)
	}
}

const document = "imds/dynamic/instance-identity/document"

func TestFaultsAreToldApart(t *testing.T) {
	status := func(s int) sim.Fault { return sim.Fault{Kind: sim.FaultStatus, Status: s} }
	const read = "cannot read dynamic/instance-identity/document: "
	for name, tc := range map[string]struct {
		at    string
		fault sim.Fault
		is    error
		says  string // all of the message; a prefix if it ends in …
		took  time.Duration
		calls int // tokens included
	}{
		"a hang":                       {document, sim.Fault{Kind: sim.FaultHang}, facts.ErrUnavailable, read + "unavailable: no answer within 2s", 2 * time.Second, 2},
		"a hang for the token":         {"imds/api/token", sim.Fault{Kind: sim.FaultHang}, facts.ErrUnavailable, read + "unavailable: no answer within 2s", 2 * time.Second, 1},
		"a hop limit that is too low":  {"imds/api/token", sim.Fault{Kind: sim.FaultHang, Processed: true}, facts.ErrUnavailable, read + "unavailable: no answer within 2s", 2 * time.Second, 1},
		"an answer that is too late":   {document, sim.Fault{Latency: 3 * time.Second}, facts.ErrUnavailable, read + "unavailable: no answer within 2s", 2 * time.Second, 2},
		"401 for ever":                 {document, status(401), facts.ErrRefused, read + "refused: 401 also with a new token", 0, 4},
		"401 for the token":            {"imds/api/token", status(401), facts.ErrRefused, read + "refused: 401 also with a new token", 0, 2},
		"403":                          {document, status(403), facts.ErrRefused, read + "refused: 403: is the metadata endpoint (HttpEndpoint) disabled?", 0, 2},
		"404 for the document":         {document, status(404), facts.ErrUnavailable, read + "unavailable: HTTP status 404", 0, 2},
		"404 for the token":            {"imds/api/token", status(404), facts.ErrUnavailable, read + "unavailable: HTTP status 404 for a session token", 0, 1},
		"500":                          {document, status(500), facts.ErrUnavailable, read + "unavailable: HTTP status 500 for it", 0, 2},
		"503 for the token":            {"imds/api/token", status(503), facts.ErrUnavailable, read + "unavailable: HTTP status 503 for a session token", 0, 1},
		"throttling":                   {document, sim.Fault{Kind: sim.FaultThrottle}, facts.ErrUnavailable, read + "unavailable: HTTP status 429 for it", 0, 2},
		"garbage":                      {document, sim.Fault{Kind: sim.FaultGarbage}, facts.ErrUnavailable, read + "unavailable: not the JSON expected: …", 0, 2},
		"garbage for a token":          {"imds/api/token", sim.Fault{Kind: sim.FaultGarbage}, facts.ErrUnavailable, read + "unavailable: the session token makes no sense", 0, 1},
		"a truncated answer":           {document, sim.Fault{Kind: sim.FaultTruncate}, facts.ErrUnavailable, read + "unavailable: the answer was cut short", 0, 2},
		"a truncated token":            {"imds/api/token", sim.Fault{Kind: sim.FaultTruncate}, facts.ErrUnavailable, read + "unavailable: the answer was cut short", 0, 1},
		"10 MB":                        {document, sim.Fault{Kind: sim.FaultHuge, Size: 10 << 20}, facts.ErrUnavailable, read + "unavailable: the answer is longer than 256 KiB", 0, 2},
		"10 MB of token":               {"imds/api/token", sim.Fault{Kind: sim.FaultHuge, Size: 10 << 20}, facts.ErrUnavailable, read + "unavailable: the answer is longer than 256 KiB", 0, 1},
		"a reset connection":           {document, sim.Fault{Kind: sim.FaultReset}, facts.ErrUnavailable, read + "unavailable: connection reset by peer", 0, 2},
		"500 for an optional text":     {"imds/meta-data/local-hostname", status(500), facts.ErrUnavailable, "cannot read meta-data/local-hostname: unavailable: HTTP status 500 for it", 0, 4},
		"garbage for an optional text": {"imds/meta-data/local-hostname", sim.Fault{Kind: sim.FaultGarbage}, facts.ErrUnavailable, "cannot read meta-data/local-hostname: unavailable: not the text expected: …", 0, 4},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
				fault(t, w, tc.at, tc.fault)
				start := time.Now()
				_, err := c.Instance(t.Context())
				if took := time.Since(start); took != tc.took {
					t.Errorf("took %v, want %v", took, tc.took)
				}
				checkError(t, err, tc.is, tc.says)
				if n := w.Count("imds"); n != tc.calls {
					t.Errorf("%d calls, want %d: %v", n, tc.calls, w.Counts())
				}
				w.ClearFaults()
				if _, err := c.Instance(t.Context()); err != nil {
					t.Errorf("it does not heal: %v", err)
				}
			})
		})
	}
}

func checkError(t *testing.T, err, is error, says string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, class := range []error{facts.ErrAbsent, facts.ErrUnavailable, facts.ErrRefused} {
		if errors.Is(err, class) != (class == is) {
			t.Errorf("%v: errors.Is %q is %t", err, class, errors.Is(err, class))
		}
	}
	prefix, open := strings.CutSuffix(says, "…")
	if got := err.Error(); got != says && !(open && strings.HasPrefix(got, prefix)) {
		t.Errorf("got  %s\nwant %s", got, says)
	}
	if len(err.Error()) > 1024 {
		t.Errorf("the message has %d bytes", len(err.Error()))
	}
}

func TestTagFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		at    string
		fault sim.Fault
		says  string
	}{
		"garbage for the list":    {"imds/meta-data/tags/instance", sim.Fault{Kind: sim.FaultGarbage, Count: 1}, "cannot read meta-data/tags/instance: unavailable: not a list of tag keys: …"},
		"garbage for a value":     {"imds/meta-data/tags/instance/env", sim.Fault{Kind: sim.FaultGarbage}, "cannot read meta-data/tags/instance/env: unavailable: not the value of a tag: …"},
		"a truncated list":        {"imds/meta-data/tags/instance", sim.Fault{Kind: sim.FaultTruncate, Count: 1}, "cannot read meta-data/tags/instance: unavailable: the answer was cut short"},
		"one value that is a 500": {"imds/meta-data/tags/instance/env", sim.Fault{Kind: sim.FaultStatus, Status: 500}, "cannot read meta-data/tags/instance/env: unavailable: HTTP status 500 for it"},
		"a hang in the middle":    {"imds/meta-data/tags/instance/env", sim.Fault{Kind: sim.FaultHang}, "cannot read meta-data/tags/instance/env: unavailable: no answer within 2s"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
				fault(t, w, tc.at, tc.fault)
				tags, err := c.Tags(t.Context())
				checkError(t, err, facts.ErrUnavailable, tc.says)
				if tags != nil {
					t.Errorf("half of the tags were returned: %v", tags)
				}
			})
		})
	}
}

func TestDisabledEndpointIsNamed(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		w.EnableIMDS(false)
		_, err := c.Get(t.Context(), "spot/instance-action")
		checkError(t, err, facts.ErrRefused, "cannot read meta-data/spot/instance-action: refused: 403: is the metadata endpoint (HttpEndpoint) disabled?")
	})
}

func TestRefusedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sim.NewNetwork()
		defer n.Close()
		c := imds.New(imds.Options{Dial: n.DialContext})
		_, err := c.Get(t.Context(), "ami-id")
		checkError(t, err, facts.ErrUnavailable, "cannot read meta-data/ami-id: unavailable: connection refused")
	})
}

func TestFlappingServiceIsReadWhileItIsThere(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		fault(t, w, "imds", sim.Fault{Kind: sim.FaultReset, Period: 10 * time.Second})
		var good, bad int
		for range 60 {
			if _, err := c.Instance(t.Context()); err == nil {
				good++
			} else if bad++; !errors.Is(err, facts.ErrUnavailable) {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		if good != 30 || bad != 30 {
			t.Errorf("%d good and %d bad readings", good, bad)
		}
	})
}

func TestManyReadersOfAHangingServiceAllComeBack(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		fault(t, w, "imds", sim.Fault{Kind: sim.FaultHang})
		start := time.Now()
		var readers sync.WaitGroup
		for range 20 {
			readers.Go(func() {
				if _, err := c.Get(t.Context(), "ami-id"); !errors.Is(err, facts.ErrUnavailable) {
					t.Error(err)
				}
			})
		}
		readers.Wait()
		if took := time.Since(start); took > imds.DefaultTimeout {
			t.Errorf("took %v", took)
		}
	})
}

// Once a token is not taken any more, the next one is waited for as the first was.
func TestManyReadersWhoseTokenExpiredAllComeBack(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		if _, err := c.Get(t.Context(), "ami-id"); err != nil {
			t.Fatal(err)
		}
		w.ExpireTokens()
		fault(t, w, "imds/api/token", sim.Fault{Kind: sim.FaultHang})
		var all sync.WaitGroup
		read := func() {
			start := time.Now()
			if _, err := c.Get(t.Context(), "ami-id"); !errors.Is(err, facts.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(start); took > imds.DefaultTimeout {
				t.Errorf("a reader came back after %v", took)
			}
		}
		all.Go(read)
		synctest.Wait() // it has had its 401 and waits for a token
		for range 8 {
			all.Go(read)
		}
		all.Wait()
	})
}

// One path that hangs while there is no token yet must not hold up the others.
func TestOnlyTheTokenIsWaitedForTogether(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		fault(t, w, "imds/meta-data/mac", sim.Fault{Kind: sim.FaultHang})
		start := time.Now()
		var readers sync.WaitGroup
		for range 5 {
			readers.Go(func() {
				if _, err := c.Get(t.Context(), "mac"); !errors.Is(err, facts.ErrUnavailable) {
					t.Error(err)
				}
			})
			readers.Go(func() {
				if _, err := c.Get(t.Context(), "ami-id"); err != nil || time.Since(start) > 0 {
					t.Errorf("%v, after %v", err, time.Since(start))
				}
			})
		}
		readers.Wait()
		if n := w.Count("imds/api/token"); n != 1 {
			t.Errorf("%d tokens for readers that started together", n)
		}
	})
}

// A slow sender is cut off although every single read of it is quick.
func TestDrippingAnswerIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for range 60 {
				if _, err := w.Write([]byte("x")); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				time.Sleep(100 * time.Millisecond)
			}
		}))
		start := time.Now()
		_, err := c.Get(t.Context(), "ami-id")
		checkError(t, err, facts.ErrUnavailable, "cannot read meta-data/ami-id: unavailable: no answer within 2s")
		if took := time.Since(start); took != imds.DefaultTimeout {
			t.Errorf("took %v", took)
		}
	})
}

func TestHugeAnswersAreBoundedInMemory(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		fault(t, w, "imds/meta-data", sim.Fault{Kind: sim.FaultHuge, Size: 1 << 30})
		if _, err := c.Get(t.Context(), "ami-id"); err == nil {
			t.Fatal("no error")
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := c.Get(t.Context(), "ami-id"); err == nil {
			t.Fatal("no error")
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
			t.Errorf("%d KiB allocated for an answer of 1 GiB", got>>10)
		}
	})
}
