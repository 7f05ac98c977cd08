package ec2_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/ec2"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const (
	id     = "i-0123456789abcdef0"
	region = "eu-west-1"
)

// world is a simulated world and a client in it, in virtual time.
type world struct {
	*sim.World
	t      *testing.T
	client *ec2.Client

	mu    sync.Mutex
	dials []string
}

// plain is an endpoint without TLS; "" is AWS's own.
const plain = "http://ec2.eu-west-1.amazonaws.com"

func bubble(t *testing.T, o sim.Options, endpoint string, change func(*awsapi.Options), f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{World: sim.New(o), t: t}
		n := sim.NewNetwork()
		t.Cleanup(func() { _ = n.Close() })
		if err := w.Connect(n); err != nil {
			t.Fatal(err)
		}
		authority, err := w.Authority()
		if err != nil {
			t.Fatal(err)
		}
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			w.mu.Lock()
			w.dials = append(w.dials, addr)
			w.mu.Unlock()
			return n.DialContext(ctx, network, addr)
		}
		options := awsapi.Options{Metadata: imds.New(imds.Options{Dial: dial}), Dial: dial, ExtraRoots: authority.PEM()}
		if change != nil {
			change(&options)
		}
		config, err := awsapi.Config(options)
		if err != nil {
			t.Fatal(err)
		}
		w.client = ec2.New(config, endpoint)
		f(t, w)
	})
}

func (w *world) fault(pattern string, f sim.Fault) {
	w.t.Helper()
	if err := w.SetFault(pattern, f); err != nil {
		w.t.Fatal(err)
	}
}

func TestTagsOfOneInstance(t *testing.T) {
	tags := map[string]string{
		"env": "prod", "with space": "a key that instance metadata cannot serve", "empty": "",
		"hostile": "$(reboot) `id` <&\"'>\\ Zürich\nsecond line", "aws:autoscaling:groupName": "web",
	}
	bubble(t, sim.Options{MetadataTagsDisabled: true, Tags: tags}, "", nil, func(t *testing.T, w *world) {
		if _, err := w.AddNode(sim.Instance{ID: "i-0fedcba9876543210"}, map[string]string{"env": "other"}); err != nil {
			t.Fatal(err)
		}
		got, err := w.client.Tags(t.Context(), region, id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tags, got); diff != "" {
			t.Error(diff)
		}
		if !slices.Contains(w.dials, "ec2.eu-west-1.amazonaws.com:443") {
			t.Errorf("dialled %q", w.dials)
		}
		none, err := w.client.Tags(t.Context(), region, "i-00000000000000000")
		if err != nil || none == nil || len(none) != 0 {
			t.Errorf("of an instance without tags: %v, %v", none, err)
		}
	})
}

func TestFailuresAreToldApart(t *testing.T) {
	const cannot = "cannot describe the tags of " + id + ": "
	const describe = "ec2/DescribeTags"
	for name, tc := range map[string]struct {
		options sim.Options
		arrange func(w *world)
		is      error
		says    string
		longest time.Duration
		calls   int
	}{
		"no permission": {
			arrange: func(w *world) { w.Deny("ec2:DescribeTags") },
			is:      facts.ErrRefused, calls: 1,
			says: cannot + "refused: the instance role must allow ec2:DescribeTags (UnauthorizedOperation)",
		},
		"an instance without a role": {
			options: sim.Options{Instance: sim.Instance{Role: sim.NoRole}},
			arrange: func(*world) {},
			is:      facts.ErrRefused,
			says:    cannot + "refused: the instance has no IAM role",
		},
		"throttling": {
			arrange: func(w *world) { w.SetRate(sim.BucketEC2NonMutating, sim.Rate{}) },
			is:      facts.ErrUnavailable, calls: 2, longest: 3 * time.Second,
			says: cannot + "unavailable: throttled (RequestLimitExceeded)",
		},
		"500": {
			arrange: func(w *world) { w.fault(describe, sim.Fault{Kind: sim.FaultStatus, Status: 500}) },
			is:      facts.ErrUnavailable, calls: 2, longest: 3 * time.Second,
			says: cannot + "unavailable: InternalError (HTTP status 500)",
		},
		"a hang": {
			arrange: func(w *world) { w.fault(describe, sim.Fault{Kind: sim.FaultHang}) },
			is:      facts.ErrUnavailable, calls: 1, longest: 10 * time.Second,
			says: cannot + "unavailable: no answer within 10s",
		},
		"garbage": {
			arrange: func(w *world) { w.fault(describe, sim.Fault{Kind: sim.FaultGarbage}) },
			is:      facts.ErrUnavailable, calls: 1,
			says: cannot + "unavailable: the answer makes no sense (HTTP status 200)",
		},
		"a truncated answer": {
			arrange: func(w *world) { w.fault(describe, sim.Fault{Kind: sim.FaultTruncate}) },
			is:      facts.ErrUnavailable, calls: 2, longest: 3 * time.Second,
			says: cannot + "unavailable: the answer was cut short",
		},
		"10 MB": {
			arrange: func(w *world) { w.fault(describe, sim.Fault{Kind: sim.FaultHuge, Size: 10 << 20}) },
			is:      facts.ErrUnavailable, calls: 2, longest: 3 * time.Second,
			says: cannot + "unavailable: the answer is longer than 1024 KiB",
		},
		"a reset connection": {
			arrange: func(w *world) { w.fault(describe, sim.Fault{Kind: sim.FaultReset}) },
			is:      facts.ErrUnavailable, calls: 2, longest: 3 * time.Second,
			says: cannot + "unavailable: connection reset by peer",
		},
		"no metadata for credentials": {
			arrange: func(w *world) { w.fault("imds", sim.Fault{Kind: sim.FaultHang}) },
			is:      facts.ErrUnavailable, longest: 3 * time.Second,
			says: cannot + "cannot get credentials of the instance role: cannot read meta-data/iam/security-credentials/: unavailable: no answer within 2s",
		},
		"garbage for credentials": {
			arrange: func(w *world) {
				w.fault("imds/meta-data/iam/security-credentials/ecsInstanceRole", sim.Fault{Kind: sim.FaultGarbage})
			},
			is:   facts.ErrUnavailable,
			says: cannot + "unavailable: cannot read credentials of the instance role: …",
		},
		"credentials that were never handed out": {
			arrange: func(w *world) { w.fault(describe, sim.Fault{Kind: sim.FaultStatus, Status: 401}) },
			is:      facts.ErrRefused, calls: 1,
			says: cannot + "refused: AuthFailure: An error has occurred (Unauthorized)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, tc.options, plain, nil, func(t *testing.T, w *world) {
				tc.arrange(w)
				start := time.Now()
				tags, err := w.client.Tags(t.Context(), region, id)
				if took := time.Since(start); took > tc.longest {
					t.Errorf("took %v", took)
				}
				checkError(t, err, tc.is, tc.says)
				if tags != nil {
					t.Errorf("tags beside an error: %v", tags)
				}
				if n := w.Count(describe); n != tc.calls {
					t.Errorf("%d calls, want %d", n, tc.calls)
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
}

func TestAnUnknownCertificateIsRefused(t *testing.T) {
	untrusted := func(o *awsapi.Options) { o.ExtraRoots = nil }
	bubble(t, sim.Options{}, "", untrusted, func(t *testing.T, w *world) {
		_, err := w.client.Tags(t.Context(), region, id)
		checkError(t, err, facts.ErrUnavailable, "cannot describe the tags of "+id+
			": unavailable: certificate not trusted: x509: certificate signed by unknown authority")
	})
}

func TestTheProxyIsForTheAPIAndNotForMetadata(t *testing.T) {
	proxied := func(o *awsapi.Options) {
		o.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://proxy.example:3128") }
	}
	bubble(t, sim.Options{}, "", proxied, func(t *testing.T, w *world) {
		_, err := w.client.Tags(t.Context(), region, id)
		checkError(t, err, facts.ErrUnavailable, "cannot describe the tags of "+id+": unavailable: proxy: connection refused")
		for _, addr := range w.dials {
			if addr != "169.254.169.254:80" && addr != "proxy.example:3128" {
				t.Errorf("dialled %s", addr)
			}
		}
	})
}

func TestCredentialsAreReadOnceAnHour(t *testing.T) {
	bubble(t, sim.Options{}, plain, nil, func(t *testing.T, w *world) {
		for range 24 * 4 {
			if _, err := w.client.Tags(t.Context(), region, id); err != nil {
				t.Fatal(err)
			}
			time.Sleep(15 * time.Minute)
		}
		if n := w.Count("imds/meta-data/iam/security-credentials/ecsInstanceRole"); n < 20 || n > 25 {
			t.Errorf("credentials were read %d times in a day", n)
		}
	})
}

func TestCredentialsOutliveASickMetadataService(t *testing.T) {
	bubble(t, sim.Options{}, plain, nil, func(t *testing.T, w *world) {
		if _, err := w.client.Tags(t.Context(), region, id); err != nil {
			t.Fatal(err)
		}
		w.fault("imds", sim.Fault{Kind: sim.FaultStatus, Status: 503})
		for range 8 { // the credentials are good for 6 hours, and asked for anew each hour
			time.Sleep(30 * time.Minute)
			if _, err := w.client.Tags(t.Context(), region, id); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// answers serves credentials as the world does, and one body for the API.
func answers(t *testing.T, body func(page int) string, f func(t *testing.T, c *ec2.Client, pages *int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := sim.NewNetwork()
		defer n.Close()
		pages := 0
		for addr, h := range map[string]http.Handler{
			"169.254.169.254:80": sim.New(sim.Options{}).IMDS(),
			"ec2.example:80": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				pages++
				fmt.Fprint(w, body(pages))
			}),
		} {
			if err := n.Serve(addr, h); err != nil {
				t.Fatal(err)
			}
		}
		config, err := awsapi.Config(awsapi.Options{Metadata: imds.New(imds.Options{Dial: n.DialContext}), Dial: n.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		f(t, ec2.New(config, "http://ec2.example"), &pages)
	})
}

func page(resource, key, next string) string {
	item := "<item><resourceId>" + resource + "</resourceId><resourceType>instance</resourceType><key>" + key + "</key><value>v</value></item>"
	return `<DescribeTagsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><tagSet>` + item + "</tagSet><nextToken>" + next + "</nextToken></DescribeTagsResponse>"
}

func TestPagesAreFollowedAndBounded(t *testing.T) {
	three := func(n int) string { return page(id, fmt.Sprint("key", n), strings.Repeat("x", max(3-n, 0))) }
	answers(t, three, func(t *testing.T, c *ec2.Client, _ *int) {
		got, err := c.Tags(t.Context(), region, id)
		if diff := cmp.Diff(map[string]string{"key1": "v", "key2": "v", "key3": "v"}, got); err != nil || diff != "" {
			t.Errorf("%v, %s", err, diff)
		}
	})
	endless := func(n int) string { return page(id, fmt.Sprint("key", n), "more") }
	answers(t, endless, func(t *testing.T, c *ec2.Client, pages *int) {
		_, err := c.Tags(t.Context(), region, id)
		checkError(t, err, facts.ErrUnavailable, "cannot describe the tags of "+id+": unavailable: the answer has more than 4 pages")
		if *pages != 4 {
			t.Errorf("%d pages", *pages)
		}
	})
}

func TestAnswersThatAreNotTagsAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ body, says string }{
		"nothing at all":            {"", "the answer has no list of tags"},
		"words":                     {"It works!", "the answer has no list of tags"},
		"a page":                    {"<html><body>Log in</body></html>", "the answer has no list of tags"},
		"a tag of another instance": {page("i-0fedcba9876543210", "env", ""), "the answer has a tag of another resource"},
		"a tag without a key":       {page(id, "", ""), "the answer has a tag that AWS does not allow"},
		"a key that is too long":    {page(id, strings.Repeat("k", 129), ""), "the answer has a tag that AWS does not allow"},
	} {
		t.Run(name, func(t *testing.T) {
			answers(t, func(int) string { return tc.body }, func(t *testing.T, c *ec2.Client, _ *int) {
				_, err := c.Tags(t.Context(), region, id)
				checkError(t, err, facts.ErrUnavailable, "cannot describe the tags of "+id+": unavailable: "+tc.says)
			})
		})
	}
}
