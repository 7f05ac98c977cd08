package sim_test

import (
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// checkFault looks at an introspection server with the fault and without.
func checkFault(t *testing.T, world *sim.World, client *http.Client, url string, f sim.Fault, check func(*testing.T, seen)) {
	t.Helper()
	world.SetRegistered("web")
	if err := world.SetFault("introspection/v1/metadata", f); err != nil {
		t.Fatal(err)
	}
	check(t, see(t.Context(), client, "GET", url+"/v1/metadata"))
	world.ClearFaults()
	if s := see(t.Context(), client, "GET", url+"/v1/metadata"); s.status != 200 || s.err != nil {
		t.Errorf("without the fault: %d, %v", s.status, s.err)
	}
}

// TestFaultsOnEveryWire shows each kind over TCP, over TLS and in memory.
func TestFaultsOnEveryWire(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault sim.Fault
		check func(t *testing.T, s seen)
	}{
		{"garbage", sim.Fault{Kind: sim.FaultGarbage}, func(t *testing.T, s seen) {
			if s.err != nil || s.status != 200 || len(s.body) != 512 {
				t.Errorf("%d, %d bytes, %v", s.status, len(s.body), s.err)
			}
		}},
		{"empty", sim.Fault{Kind: sim.FaultEmpty}, func(t *testing.T, s seen) {
			if s.err != nil || s.status != 200 || len(s.body) != 0 {
				t.Errorf("%d, %d bytes, %v", s.status, len(s.body), s.err)
			}
		}},
		{"truncate", sim.Fault{Kind: sim.FaultTruncate}, func(t *testing.T, s seen) {
			if !errors.Is(s.err, io.ErrUnexpectedEOF) || s.status != 200 || len(s.body) == 0 {
				t.Errorf("%d, %d bytes, %v", s.status, len(s.body), s.err)
			}
		}},
		{"truncate, after some bytes", sim.Fault{Kind: sim.FaultTruncate, Size: 7}, func(t *testing.T, s seen) {
			if !errors.Is(s.err, io.ErrUnexpectedEOF) || s.status != 200 || len(s.body) != 7 {
				t.Errorf("%d, %d bytes, %v", s.status, len(s.body), s.err)
			}
		}},
		{"slow", sim.Fault{Kind: sim.FaultSlow, Size: 1 << 20}, func(t *testing.T, s seen) {
			if s.err != nil || s.status != 200 || len(s.body) == 0 {
				t.Errorf("%d, %d bytes, %v", s.status, len(s.body), s.err)
			}
		}},
		{"huge", sim.Fault{Kind: sim.FaultHuge}, func(t *testing.T, s seen) {
			if s.err != nil || s.status != 200 || len(s.body) != 16<<20 {
				t.Errorf("%d, %d bytes, %v", s.status, len(s.body), s.err)
			}
		}},
		{"huge, of a size", sim.Fault{Kind: sim.FaultHuge, Size: 100_000}, func(t *testing.T, s seen) {
			if len(s.body) != 100_000 {
				t.Errorf("%d bytes, %v", len(s.body), s.err)
			}
		}},
		{"reset", sim.Fault{Kind: sim.FaultReset}, func(t *testing.T, s seen) {
			if !errors.Is(s.err, syscall.ECONNRESET) {
				t.Errorf("%d, %v", s.status, s.err)
			}
		}},
		{"status", sim.Fault{Kind: sim.FaultStatus, Status: 503}, func(t *testing.T, s seen) {
			if s.status != 503 || string(s.body) != "{}" {
				t.Errorf("%d %s, %v", s.status, s.body, s.err)
			}
		}},
		{"throttle", sim.Fault{Kind: sim.FaultThrottle}, func(t *testing.T, s seen) {
			if s.status != 429 {
				t.Errorf("%d %s, %v", s.status, s.body, s.err)
			}
		}},
	} {
		t.Run(tc.name+" over TCP", func(t *testing.T) {
			world := sim.New(sim.Options{})
			checkFault(t, world, direct(t), onLoopback(t, world.Introspection()), tc.fault, tc.check)
		})
		t.Run(tc.name+" in memory", func(t *testing.T) {
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				checkFault(t, b.World, b.http, "http://localhost:51678", tc.fault, tc.check)
			})
		})
		t.Run(tc.name+" over TLS", func(t *testing.T) {
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				authority, err := b.Authority()
				if err != nil {
					t.Fatal(err)
				}
				if err := b.network.ServeTLS("agent:443", b.Introspection(), authority.TLSConfig()); err != nil {
					t.Fatal(err)
				}
				checkFault(t, b.World, b.http, "https://agent", tc.fault, tc.check)
			})
		})
	}
}
