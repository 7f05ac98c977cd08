package imds_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const address = "169.254.169.254:80"

// bubble runs f with a world and a client of its IMDS, in virtual time.
func bubble(t *testing.T, o sim.Options, f func(t *testing.T, w *sim.World, c *imds.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := sim.New(o)
		f(t, w, serve(t, w.IMDS()))
	})
}

// serve returns a client of h; it is for use in a bubble.
func serve(t *testing.T, h http.Handler) *imds.Client {
	t.Helper()
	n := sim.NewNetwork()
	t.Cleanup(func() { _ = n.Close() })
	if err := n.Serve(address, h); err != nil {
		t.Fatal(err)
	}
	return imds.New(imds.Options{Dial: n.DialContext})
}

func TestInstanceReadsWhatEC2Tells(t *testing.T) {
	for name, tc := range map[string]struct {
		has      sim.Instance
		want     facts.Instance
		requests int
	}{
		"an instance outside of any placement group": {
			has: sim.Instance{},
			want: facts.Instance{
				ID: "i-0123456789abcdef0", Type: "m6i.large", Region: "eu-west-1", Zone: "eu-west-1a", ZoneID: "euw1-az1",
				AccountID: "123456789012", ImageID: "ami-0abcdef1234567890", Architecture: "x86_64", PrivateIP: "10.0.1.23",
				Hostname: "ip-10-0-1-23.eu-west-1.compute.internal", Lifecycle: facts.OnDemand,
			},
			requests: 5,
		},
		"a spot instance in a local zone, a partition of a placement group, on a host": {
			has: sim.Instance{
				ID: "i-0fedcba98765432ff", Region: "us-west-2", Zone: "us-west-2-lax-1a", ZoneID: "usw2-lax1-az1", Lifecycle: "spot",
				PlacementGroup: "spread out", PartitionNumber: 3, HostID: "h-0a1b2c3d4e5f60718", Architecture: "arm64", Type: "c7g.large",
			},
			want: facts.Instance{
				ID: "i-0fedcba98765432ff", Type: "c7g.large", Region: "us-west-2", Zone: "us-west-2-lax-1a", ZoneID: "usw2-lax1-az1",
				AccountID: "123456789012", ImageID: "ami-0abcdef1234567890", Architecture: "arm64", PrivateIP: "10.0.1.23",
				Hostname: "ip-10-0-1-23.us-west-2.compute.internal", Lifecycle: facts.Spot,
				PlacementGroup: "spread out", PlacementPart: "3", PlacementHostID: "h-0a1b2c3d4e5f60718",
			},
			requests: 8,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{Instance: tc.has}, func(t *testing.T, w *sim.World, c *imds.Client) {
				got, err := c.Instance(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Error(diff)
				}
				if n := w.Count("imds") - w.Count("imds/api/token"); n != tc.requests {
					t.Errorf("%d requests, want %d", n, tc.requests)
				}
			})
		})
	}
}

func TestInstanceWithoutAHostnameIsWhole(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		fault(t, w, "imds/meta-data/local-hostname", sim.Fault{Kind: sim.FaultStatus, Status: http.StatusNotFound})
		got, err := c.Instance(t.Context())
		if err != nil || got.ID != "i-0123456789abcdef0" || got.Hostname != "" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// What every instance has cannot be absent: a 404 for it is a sick service.
func TestA404ForWhatEveryInstanceHasIsUnavailable(t *testing.T) {
	for path, f := range map[string]sim.Fault{
		"instance-life-cycle": {Kind: sim.FaultStatus, Status: http.StatusNotFound},
		"placement":           {Kind: sim.FaultStatus, Status: http.StatusNotFound},
		"placement/":          {Kind: sim.FaultGarbage},
	} {
		t.Run(path, func(t *testing.T) {
			bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
				fault(t, w, "imds/meta-data/"+path, f)
				if got, err := c.Instance(t.Context()); !errors.Is(err, facts.ErrUnavailable) {
					t.Errorf("got %+v, %v", got, err)
				}
			})
		})
	}
}

func TestAListedTagThatAnswers404IsNotAbsent(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		fault(t, w, "imds/meta-data/tags/instance/env", sim.Fault{Kind: sim.FaultStatus, Status: http.StatusNotFound})
		if got, err := c.Tags(t.Context()); !errors.Is(err, facts.ErrUnavailable) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestTagsComeBackByteForByte(t *testing.T) {
	tags := map[string]string{
		"env":                       "prod",
		"empty":                     "",
		"aws:autoscaling:groupName": "web",
		"shell":                     "$(reboot) `id` 'a' \"b\" \\ $HOME ; exit",
		"lines":                     "\n first\r\n\tsecond\n\n",
		"spaces":                    "  both ends  ",
		"utf-8":                     "Zürich 東京 \u202e",
		"longest":                   strings.Repeat("ü", 256),
		"key.with+all=of_the,@-:":   "x",
		"markup":                    "<html>&amp;</html>",
	}
	bubble(t, sim.Options{Tags: tags}, func(t *testing.T, w *sim.World, c *imds.Client) {
		got, err := c.Tags(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tags, got); diff != "" {
			t.Error(diff)
		}
		if n := w.Count("imds/meta-data/tags"); n != len(tags)+1 {
			t.Errorf("%d requests, want %d", n, len(tags)+1)
		}
	})
}

func TestTagsThatAreNotEnabledAreAbsent(t *testing.T) {
	bubble(t, sim.Options{MetadataTagsDisabled: true}, func(t *testing.T, _ *sim.World, c *imds.Client) {
		if _, err := c.Tags(t.Context()); !errors.Is(err, facts.ErrAbsent) {
			t.Errorf("got %v, want facts.ErrAbsent", err)
		}
	})
}

func TestGetTellsAbsentAndPresent(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		_, err := c.Get(t.Context(), "spot/instance-action")
		checkError(t, err, facts.ErrAbsent, "cannot read meta-data/spot/instance-action: absent")
		w.SetSpotInterruption("terminate", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		got, err := c.Get(t.Context(), "spot/instance-action")
		if err != nil || !strings.Contains(string(got), "2026-01-02T03:04:05Z") {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestATokenThatIsNotTakenIsReplacedOnce(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		if _, err := c.Get(t.Context(), "ami-id"); err != nil {
			t.Fatal(err)
		}
		w.ExpireTokens()
		if _, err := c.Get(t.Context(), "ami-id"); err != nil {
			t.Error(err)
		}
		if n := w.Count("imds/api/token"); n != 2 {
			t.Errorf("%d tokens, want 2", n)
		}
	})
}

func TestTokensOfAnHour(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		for range 720 {
			if _, err := c.Get(t.Context(), "ami-id"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		for _, call := range w.Calls() {
			if call.Status != http.StatusOK {
				t.Errorf("%s %s was %d", call.Method, call.Path, call.Status)
			}
		}
		// The SDK's tokens live 5 minutes.
		if n := w.Count("imds/api/token"); n < 12 || n > 13 {
			t.Errorf("%d tokens in an hour", n)
		}
	})
}

// The environment of a node may name a proxy for the AWS APIs.
func TestNoProxyIsEverUsed(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://proxy.example:3128")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://elsewhere.example")
	bubble(t, sim.Options{}, func(t *testing.T, _ *sim.World, c *imds.Client) {
		if _, err := c.Get(t.Context(), "ami-id"); err != nil {
			t.Error(err)
		}
	})
}

func TestACancelledReadingEndsAtOnce(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
		fault(t, w, "imds", sim.Fault{Kind: sim.FaultHang})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(100 * time.Millisecond)
			cancel()
		}()
		start := time.Now()
		_, err := c.Get(ctx, "ami-id")
		checkError(t, err, facts.ErrUnavailable, "cannot read meta-data/ami-id: unavailable: cancelled")
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}
