package sim_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// onLoopback serves a handler on a free port of loopback until the test ends.
func onLoopback(t *testing.T, handler http.Handler) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- sim.Serve(ctx, l, handler) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// direct is an HTTP client that goes through no proxy.
func direct(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// request sends a request with headers given as pairs.
func request(t *testing.T, client *http.Client, method, url string, headers ...string) (status int, header http.Header, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

const (
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
	tokenHeader = "X-aws-ec2-metadata-token"
)

func newToken(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	status, _, token := request(t, client, http.MethodPut, url+"/latest/api/token", ttlHeader, "21600")
	if status != http.StatusOK {
		t.Fatalf("token: %d %s", status, token)
	}
	return token
}

func TestIMDSTokens(t *testing.T) {
	t.Parallel()
	client, url := direct(t), onLoopback(t, sim.New(sim.Options{}).IMDS())
	good := newToken(t, client, url)
	other := newToken(t, client, onLoopback(t, sim.New(sim.Options{Seed: 1}).IMDS()))
	for _, tc := range []struct {
		name, method, path string
		headers            []string
		want               int
	}{
		{"a token", "PUT", "/latest/api/token", []string{ttlHeader, "1"}, 200},
		{"without TTL", "PUT", "/latest/api/token", nil, 400},
		{"TTL 0", "PUT", "/latest/api/token", []string{ttlHeader, "0"}, 400},
		{"TTL too long", "PUT", "/latest/api/token", []string{ttlHeader, "21601"}, 400},
		{"TTL no number", "PUT", "/latest/api/token", []string{ttlHeader, "6h"}, 400},
		{"versioned token path", "PUT", "/2021-03-23/api/token", []string{ttlHeader, "60"}, 403},
		{"forwarded", "PUT", "/latest/api/token", []string{ttlHeader, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
		{"token by GET", "GET", "/latest/api/token", []string{ttlHeader, "60"}, 405},
		{"a value", "GET", "/latest/meta-data/mac", []string{tokenHeader, good}, 200},
		{"a value by HEAD", "HEAD", "/latest/meta-data/mac", []string{tokenHeader, good}, 200},
		{"a value by POST", "POST", "/latest/meta-data/mac", []string{tokenHeader, good}, 405},
		{"a value of a dated version", "GET", "/2021-03-23/meta-data/mac", []string{tokenHeader, good}, 200},
		{"without token", "GET", "/latest/meta-data/mac", nil, 401},
		{"with garbage", "GET", "/latest/meta-data/mac", []string{tokenHeader, "x"}, 401},
		{"with another instance's", "GET", "/latest/meta-data/mac", []string{tokenHeader, other}, 401},
		{"unknown path without token", "GET", "/latest/meta-data/nothing", nil, 401},
		{"unknown path", "GET", "/latest/meta-data/nothing", []string{tokenHeader, good}, 404},
		{"unknown version", "GET", "/2021-03-24/meta-data/mac", []string{tokenHeader, good}, 404},
		{"below a value", "GET", "/latest/meta-data/mac/x", []string{tokenHeader, good}, 404},
	} {
		status, _, body := request(t, client, tc.method, url+tc.path, tc.headers...)
		if status != tc.want {
			t.Errorf("%s: %d %q, want %d", tc.name, status, body, tc.want)
		}
	}
}

func TestIMDSAnswersLookLikeAWS(t *testing.T) {
	t.Parallel()
	client, url := direct(t), onLoopback(t, sim.New(sim.Options{}).IMDS())
	token := newToken(t, client, url)
	_, header, body := request(t, client, "GET", url+"/latest/meta-data/instance-type", tokenHeader, token)
	if body != "m6i.large" || header.Get("Server") != "EC2ws" || header.Get("Content-Type") != "text/plain" {
		t.Errorf("%q, %v", body, header)
	}
	if ttl := header.Get(ttlHeader); ttl != "21600" && ttl != "21599" {
		t.Errorf("remaining TTL %s", ttl)
	}
	_, header, body = request(t, client, "GET", url+"/latest/meta-data/spot/instance-action", tokenHeader, token)
	want := `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>404 - Not Found</title>
 </head>
 <body>
  <h1>404 - Not Found</h1>
 </body>
</html>
`
	if diff := cmp.Diff(want, body); diff != "" || header.Get("Content-Type") != "text/html" {
		t.Errorf("%v %s", header, diff)
	}
}

func TestIMDSTokenExpires(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		const imds = "http://169.254.169.254"
		_, _, token := request(t, b.http, "PUT", imds+"/latest/api/token", ttlHeader, "60")
		get := func() int {
			status, _, _ := request(t, b.http, "GET", imds+"/latest/meta-data/instance-id", tokenHeader, token)
			return status
		}
		time.Sleep(time.Minute)
		if status := get(); status != 200 {
			t.Errorf("in the last instant: %d", status)
		}
		time.Sleep(time.Nanosecond)
		if status := get(); status != 401 {
			t.Errorf("after it: %d", status)
		}
		_, _, token = request(t, b.http, "PUT", imds+"/latest/api/token", ttlHeader, "60")
		b.ExpireTokens()
		if status := get(); status != 401 {
			t.Errorf("after ExpireTokens: %d", status)
		}
	})
}

func TestSDKGetsANewTokenAfter401(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		client := b.imds()
		for range 3 {
			if _, err := getMetadata(t.Context(), client, "mac"); err != nil {
				t.Fatal(err)
			}
			b.ExpireTokens()
		}
		if n := b.Count("imds/api/token"); n != 3 {
			t.Errorf("%d tokens, want 3", n)
		}
	})
}

// statusOf is the HTTP status in an error of an SDK client.
func statusOf(err error) int {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

func TestIMDSPaths(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 2, 10, 30, 0, 0, time.UTC)
	for _, tc := range []struct {
		name    string
		arrange func(*sim.World)
		path    string
		want    string // "404" if there is nothing
	}{
		{"hostname", nil, "hostname", "ip-10-0-1-23.eu-west-1.compute.internal"},
		{"zone id", nil, "placement/availability-zone-id", "euw1-az1"},
		{"life cycle", nil, "instance-life-cycle", "on-demand"},
		{"life cycle set", func(w *sim.World) { w.SetLifecycle("spot") }, "instance-life-cycle", "spot"},
		{"placement", nil, "placement/", "availability-zone\navailability-zone-id\nregion"},
		{"placement group unset", nil, "placement/group-name", "404"},
		{"partition", func(w *sim.World) { w.SetInstance(sim.Instance{PartitionNumber: 2}) }, "placement/partition-number", "2"},
		{"tags", nil, "tags/instance", "cluster\nenv"},
		{"tags with a slash", nil, "tags/instance/", "cluster\nenv"},
		{"a tag", nil, "tags/instance/env", "prod"},
		{"a tag that is not there", nil, "tags/instance/ENV", "404"},
		{"an empty tag", func(w *sim.World) { _ = w.SetTag("e", "") }, "tags/instance/e", ""},
		{"a tag of odd characters", func(w *sim.World) { _ = w.SetTag("a+b=c.d,e_f:g@h-i", "$(x)\n'\"é") }, "tags/instance/a+b=c.d,e_f:g@h-i", "$(x)\n'\"é"},
		{"a deleted tag", func(w *sim.World) { w.DeleteTag("env") }, "tags/instance/env", "404"},
		{"no tags", func(w *sim.World) { _ = w.SetTags(nil) }, "tags/instance", "404"},
		{"tags disabled", func(w *sim.World) { _ = w.EnableMetadataTags(false) }, "tags/instance/env", "404"},
		{"tags disabled, listing", func(w *sim.World) { _ = w.EnableMetadataTags(false) }, "tags/instance", "404"},
		{"no spot notice", nil, "spot/instance-action", "404"},
		{"spot notice", func(w *sim.World) { w.SetSpotInterruption("stop", at) }, "spot/instance-action", `{"action":"stop","time":"2026-11-02T10:30:00Z"}`},
		{"termination time", func(w *sim.World) { w.SetSpotInterruption("terminate", at) }, "spot/termination-time", "2026-11-02T10:30:00Z"},
		{"no termination time for a stop", func(w *sim.World) { w.SetSpotInterruption("stop", at) }, "spot/termination-time", "404"},
		{"spot notice taken back", func(w *sim.World) { w.SetSpotInterruption("stop", at); w.ClearSpotInterruption() }, "spot/instance-action", "404"},
		{"rebalance", func(w *sim.World) { w.SetRebalanceRecommendation(at) }, "events/recommendations/rebalance", `{"noticeTime":"2026-11-02T10:30:00Z"}`},
		{"no rebalance", nil, "events/recommendations/rebalance", "404"},
		{"target state", func(w *sim.World) { w.SetTargetLifecycleState("Terminated") }, "autoscaling/target-lifecycle-state", "Terminated"},
		{"no target state", nil, "autoscaling/target-lifecycle-state", "404"},
		{"no events", nil, "events/maintenance/scheduled", "[]"},
		{"an event", func(w *sim.World) {
			w.SetScheduledEvents([]sim.ScheduledEvent{{Code: "system-reboot", EventID: "e-1", State: "active", Description: "d", NotBefore: at}})
		}, "events/maintenance/scheduled", `[{"NotBefore":"2 Nov 2026 10:30:00 GMT","Code":"system-reboot","Description":"d","EventId":"e-1","NotAfter":"","State":"active"}]`},
		{"role", nil, "iam/security-credentials/", "ecsInstanceRole"},
		{"no role", func(w *sim.World) { w.SetInstance(sim.Instance{Role: sim.NoRole}) }, "iam/security-credentials/", "404"},
		{"top", func(w *sim.World) { w.SetInstance(sim.Instance{Role: sim.NoRole}) }, "", "ami-id\nevents/\nhostname\ninstance-action\ninstance-id\n" +
			"instance-life-cycle\ninstance-type\nlocal-hostname\nlocal-ipv4\nmac\nplacement/\nservices/\ntags/"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				if tc.arrange != nil {
					tc.arrange(b.World)
				}
				got, err := getMetadata(t.Context(), b.imds(), tc.path)
				switch {
				case statusOf(err) == 404:
					got = "404"
				case err != nil:
					t.Fatal(err)
				case strings.HasPrefix(tc.want, "{"), strings.HasPrefix(tc.want, "["):
					got = compact(t, got)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func compact(t *testing.T, document string) string {
	t.Helper()
	var out strings.Builder
	var raw json.RawMessage
	if err := json.Unmarshal([]byte(document), &raw); err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(&out).Encode(raw); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

func TestIMDSVersionsHaveWhatTheyHad(t *testing.T) {
	t.Parallel()
	client, url := direct(t), onLoopback(t, sim.New(sim.Options{}).IMDS())
	token := newToken(t, client, url)
	for path, want := range map[string]int{
		"/2020-10-27/meta-data/tags/instance/env": 404,
		"/2021-03-23/meta-data/tags/instance/env": 200,
		"/1.0/meta-data/instance-id":              200,
		"/1.0/meta-data/instance-life-cycle":      404,
		"/":                                       200,
		"/latest/":                                200,
	} {
		if status, _, _ := request(t, client, "GET", url+path, tokenHeader, token); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}

func TestIdentityDocument(t *testing.T) {
	inBubble(t, sim.Options{Instance: sim.Instance{UserData: "#!/bin/sh\n"}}, func(t *testing.T, b bubble) {
		out, err := b.imds().GetInstanceIdentityDocument(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := out.InstanceIdentityDocument
		want := imds.InstanceIdentityDocument{
			AccountID: "123456789012", Architecture: "x86_64", AvailabilityZone: "eu-west-1a", ImageID: "ami-0abcdef1234567890",
			InstanceID: "i-0123456789abcdef0", InstanceType: "m6i.large", PendingTime: time.Now().UTC(), PrivateIP: "10.0.1.23",
			Region: "eu-west-1", Version: "2017-09-30",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		userData, err := b.imds().GetUserData(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer userData.Content.Close()
		if body, err := io.ReadAll(userData.Content); err != nil || string(body) != "#!/bin/sh\n" {
			t.Errorf("user data %q, %v", body, err)
		}
	})
}

func TestIMDSDisabled(t *testing.T) {
	t.Parallel()
	world := sim.New(sim.Options{})
	client, url := direct(t), onLoopback(t, world.IMDS())
	token := newToken(t, client, url)
	world.EnableIMDS(false)
	if status, _, _ := request(t, client, "PUT", url+"/latest/api/token", ttlHeader, "60"); status != 403 {
		t.Errorf("token: %d, want 403", status)
	}
	if status, _, _ := request(t, client, "GET", url+"/latest/meta-data/mac", tokenHeader, token); status != 403 {
		t.Errorf("value: %d, want 403", status)
	}
}

func TestTagsThatAWSRefuses(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range 51 {
		many[strings.Repeat("k", i+1)] = ""
	}
	for _, tc := range []struct {
		name       string
		inMetadata bool
		tags       map[string]string
		refused    bool
	}{
		{"space in a key, in IMDS", true, map[string]string{"a b": ""}, true},
		{"slash in a key, in IMDS", true, map[string]string{"a/b": ""}, true},
		{"_index, in IMDS", true, map[string]string{"_index": ""}, true},
		{"space in a key", false, map[string]string{"a b": ""}, false},
		{"256 characters", true, map[string]string{"a": strings.Repeat("é", 256)}, false},
		{"257 characters", true, map[string]string{"a": strings.Repeat("é", 257)}, true},
		{"key of 129 characters", true, map[string]string{strings.Repeat("k", 129): ""}, true},
		{"empty key", false, map[string]string{"": ""}, true},
		{"51 tags", false, many, true},
	} {
		w := sim.New(sim.Options{MetadataTagsDisabled: !tc.inMetadata})
		if err := w.SetTags(tc.tags); (err != nil) != tc.refused {
			t.Errorf("%s: %v", tc.name, err)
		} else if err != nil && w.Tags()["env"] != "prod" {
			t.Errorf("%s: refused and yet changed", tc.name)
		}
	}
	w := sim.New(sim.Options{Tags: map[string]string{"a b": ""}, MetadataTagsDisabled: true})
	if err := w.EnableMetadataTags(true); err == nil {
		t.Error("metadata tags enabled with a key that IMDS cannot serve")
	}
}

// send sends a request with a body.
func send(t *testing.T, client *http.Client, method, url, body string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
