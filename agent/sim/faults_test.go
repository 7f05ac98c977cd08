package sim_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// seen is what a plain HTTP client sees of one request.
type seen struct {
	status int
	body   []byte
	err    error // of the request or of reading the body
}

func see(ctx context.Context, client *http.Client, method, url string, headers ...string) seen {
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return seen{err: err}
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		return seen{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return seen{status: resp.StatusCode, body: body, err: err}
}

func TestFaultsInTheServicesOwnWords(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault sim.Fault
		ec2   string
		ecs   string
		imds  int
	}{
		{"throttle", sim.Fault{Kind: sim.FaultThrottle}, "RequestLimitExceeded", "ThrottlingException", 429},
		{"500", sim.Fault{Kind: sim.FaultStatus, Status: 500}, "InternalError", "ServerException", 500},
		{"503", sim.Fault{Kind: sim.FaultStatus, Status: 503}, "Unavailable", "ServiceUnavailableException", 503},
		{"403", sim.Fault{Kind: sim.FaultStatus, Status: 403}, "UnauthorizedOperation", "AccessDeniedException", 403},
		{"401", sim.Fault{Kind: sim.FaultStatus, Status: 401}, "AuthFailure", "UnrecognizedClientException", 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				code := func(err error) string {
					var api smithy.APIError
					if !errors.As(err, &api) {
						return "no API error"
					}
					return api.ErrorCode()
				}
				for _, service := range []string{"ec2", "ecs"} {
					if err := b.SetFault(service, tc.fault); err != nil {
						t.Fatal(err)
					}
				}
				_, err := b.ec2().DescribeTags(t.Context(), nil)
				if code(err) != tc.ec2 {
					t.Errorf("EC2: %v", err)
				}
				_, err = b.ecs().ListContainerInstances(t.Context(), nil)
				if code(err) != tc.ecs {
					t.Errorf("ECS: %v", err)
				}
				if err := b.SetFault("imds/meta-data", tc.fault); err != nil {
					t.Fatal(err)
				}
				if s := see(t.Context(), b.http, "GET", "http://169.254.169.254/latest/meta-data/mac"); s.status != tc.imds {
					t.Errorf("IMDS: %d, %v", s.status, s.err)
				}
			})
		})
	}
}

func TestHangLastsUntilTheClientGoes(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		if err := b.SetFault("imds/meta-data", sim.Fault{Kind: sim.FaultHang}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err := getMetadata(t.Context(), b.imds(), "mac")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the SDK's time-out", err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %s, want the SDK's 5s", took)
		}
		synctest.Wait()
		last := b.Calls()[len(b.Calls())-1]
		if last.Status != 0 || last.Fault != "hang" || last.Duration != 5*time.Second {
			t.Errorf("logged as %+v", last)
		}
	})
}

func TestHangEndsWithTheServer(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		if err := b.SetFault("*", sim.Fault{Kind: sim.FaultHang}); err != nil {
			t.Fatal(err)
		}
		done := make(chan seen)
		go func() { done <- see(t.Context(), b.http, "GET", "http://localhost:51678/v1/metadata") }()
		if err := b.AwaitCalls(t.Context(), "introspection", 1); err != nil {
			t.Fatal(err)
		}
		if err := b.network.Close(); err != nil {
			t.Fatal(err)
		}
		if s := <-done; s.err == nil {
			t.Errorf("answered %d by a closed server", s.status)
		}
	})
}

func TestHopLimitLosesTheTokenAnswer(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		if err := b.SetFault("imds/api/token", sim.Fault{Kind: sim.FaultHang, Processed: true}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err := getMetadata(t.Context(), b.imds(), "mac")
		if took := time.Since(start); err == nil || took != 5*time.Second {
			t.Errorf("%v after %s, want the SDK's time-out after 5s", err, took)
		}
		if n := b.Count("imds/meta-data"); n != 0 {
			t.Errorf("%d requests without a token", n)
		}
	})
}

func TestProcessedFaultHasAnEffect(t *testing.T) {
	for _, processed := range []bool{false, true} {
		inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
			arn := b.SetRegistered("web")
			fault := sim.Fault{Kind: sim.FaultReset, Processed: processed}
			if err := b.SetFault("ecs/PutAttributes", fault); err != nil {
				t.Fatal(err)
			}
			if err := b.putAttribute(t.Context(), arn, "a", "b"); err == nil {
				t.Fatal("answered")
			}
			if ci, _ := b.ContainerInstance(); (ci.Attributes["a"] == "b") != processed {
				t.Errorf("processed %t, attributes %v", processed, ci.Attributes)
			}
		})
	}
}

func TestLatency(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		if err := b.SetFault("ec2", sim.Fault{Latency: 3 * time.Second}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := b.ec2().DescribeTags(t.Context(), nil); err != nil || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %s, want an answer after 3s", err, time.Since(start))
		}
		if err := b.SetFault("ec2", sim.Fault{Kind: sim.FaultThrottle, Latency: time.Second}); err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		_, err := b.ec2().DescribeTags(t.Context(), nil)
		wantCode(t, err, "RequestLimitExceeded", 503)
		if time.Since(start) != time.Second {
			t.Errorf("refused after %s, want 1s", time.Since(start))
		}
	})
}

func TestSDKClientsReportBadBodies(t *testing.T) {
	for _, f := range []sim.Fault{{Kind: sim.FaultGarbage}, {Kind: sim.FaultTruncate}, {Kind: sim.FaultHuge, Size: 1 << 20}} {
		inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
			b.SetRegistered("default")
			for _, service := range []string{"ec2", "ecs"} {
				if err := b.SetFault(service, f); err != nil {
					t.Fatal(err)
				}
			}
			// The EC2 client takes a body without any XML for an empty answer.
			out, err := b.ec2().DescribeTags(t.Context(), nil)
			if err == nil && (f.Kind != sim.FaultHuge || len(out.Tags) > 0) {
				t.Errorf("%s: EC2 client saw nothing wrong", f)
			}
			if _, err := b.ecs().ListContainerInstances(t.Context(), nil); err == nil {
				t.Errorf("%s: ECS client saw nothing wrong", f)
			}
		})
	}
}

// outcomes asks n times, a second apart, and writes down which were answered.
func (b bubble) outcomes(ctx context.Context, n int) string {
	var got strings.Builder
	for range n {
		s := see(ctx, b.http, "GET", "http://localhost:51678/v1/metadata")
		if s.status == 200 {
			got.WriteByte('+')
		} else {
			got.WriteByte('-')
		}
		time.Sleep(time.Second)
	}
	return got.String()
}

func TestConditionsOfFaults(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault sim.Fault
		want  string
	}{
		{"always", sim.Fault{}, "----------"},
		{"the next three", sim.Fault{Count: 3}, "---+++++++"},
		{"every other call", sim.Fault{Every: 2}, "-+-+-+-+-+"},
		{"every third call, twice", sim.Fault{Every: 3, Count: 2}, "-++-++++++"},
		{"by period", sim.Fault{Period: 3 * time.Second}, "---+++---+"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				b.SetRegistered("web")
				tc.fault.Kind, tc.fault.Status = sim.FaultStatus, 500
				if err := b.SetFault("introspection", tc.fault); err != nil {
					t.Fatal(err)
				}
				if got := b.outcomes(t.Context(), 10); got != tc.want {
					t.Errorf("%s, want %s", got, tc.want)
				}
			})
		})
	}
}

func TestProbabilityOfFaultsFollowsTheSeed(t *testing.T) {
	run := func(seed uint64) (got string) {
		inBubble(t, sim.Options{Seed: seed}, func(t *testing.T, b bubble) {
			b.SetRegistered("web")
			if err := b.SetFault("introspection", sim.Fault{Kind: sim.FaultStatus, Status: 500, Probability: 0.3}); err != nil {
				t.Fatal(err)
			}
			got = b.outcomes(t.Context(), 200)
		})
		return got
	}
	first := run(1)
	if n := strings.Count(first, "-"); n < 40 || n > 80 {
		t.Errorf("%d of 200 calls failed, want about 60", n)
	}
	if again := run(1); again != first {
		t.Error("the same seed, another outcome")
	}
	if other := run(2); other == first {
		t.Error("another seed, the same outcome")
	}
}

func TestLongestPatternThatHoldsApplies(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		for pattern, status := range map[string]int{"*": 501, "imds/meta-data": 502, "imds/meta-data/tags": 503, "imds/meta-data/inst*": 504} {
			if err := b.SetFault(pattern, sim.Fault{Kind: sim.FaultStatus, Status: status}); err != nil {
				t.Fatal(err)
			}
		}
		for path, want := range map[string]int{
			"/latest/api/token": 501, "/latest/meta-data/mac": 502, "/latest/meta-data/": 502,
			"/2021-03-23/meta-data/tags/instance/env": 503, "/latest/meta-data/instance-id": 504,
		} {
			if s := see(t.Context(), b.http, "GET", "http://169.254.169.254"+path); s.status != want {
				t.Errorf("%s: %d, want %d", path, s.status, want)
			}
		}
	})
}

func TestFaultsThatAreNone(t *testing.T) {
	t.Parallel()
	w := sim.New(sim.Options{})
	for _, f := range []sim.Fault{
		{},
		{Kind: "explode"},
		{Kind: sim.FaultStatus},
		{Kind: sim.FaultStatus, Status: 99},
		{Kind: sim.FaultHang, Status: 500},
		{Kind: sim.FaultHang, Size: 1},
		{Kind: sim.FaultHang, Count: -1},
		{Kind: sim.FaultHang, Probability: 1.5},
	} {
		if err := w.SetFault("imds", f); err == nil || !strings.HasPrefix(err.Error(), "cannot set fault on imds: ") {
			t.Errorf("%+v: %v", f, err)
		}
	}
	if n := len(w.Faults()); n != 0 {
		t.Errorf("%d faults set", n)
	}
}

func TestHugeAnswerToAClientThatStopsReading(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		if err := b.SetFault("ec2", sim.Fault{Kind: sim.FaultHuge, Size: 1 << 40}); err != nil {
			t.Fatal(err)
		}
		resp, err := b.http.Post("https://ec2.eu-west-1.amazonaws.com/", "application/x-www-form-urlencoded", strings.NewReader("Action=DescribeTags"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		synctest.Wait()
		if c := b.Calls()[0]; c.Bytes < 1<<20 || c.Bytes > 2<<20 {
			t.Errorf("%d bytes sent", c.Bytes)
		}
	})
}

func TestNilRetryerSeesEachFault(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		if err := b.SetFault("ec2", sim.Fault{Kind: sim.FaultReset, Count: 1}); err != nil {
			t.Fatal(err)
		}
		client := b.ec2(func(o *ec2.Options) { o.Retryer = aws.NopRetryer{} })
		if _, err := client.DescribeTags(t.Context(), nil); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("first call: %v, want a reset", err)
		}
		if _, err := client.DescribeTags(t.Context(), nil); err != nil {
			t.Errorf("second call: %v", err)
		}
	})
}
