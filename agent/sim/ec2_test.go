package sim_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// ec2 is the SDK's client with credentials from IMDS, at AWS's own endpoint.
func (b bubble) ec2(options ...func(*ec2.Options)) *ec2.Client {
	return ec2.New(ec2.Options{
		Region: "eu-west-1", HTTPClient: b.http, Retryer: aws.NopRetryer{},
		Credentials: aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = b.imds() })),
	}, options...)
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: &name, Values: values}
}

// wantCode checks the code and HTTP status of an API error.
func wantCode(t *testing.T, err error, code string, status int) {
	t.Helper()
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		t.Fatalf("error %v, want %s", err, code)
	}
	if api.ErrorCode() != code || response.HTTPStatusCode() != status {
		t.Errorf("%s with status %d, want %s with %d", api.ErrorCode(), response.HTTPStatusCode(), code, status)
	}
}

func TestDescribeTags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		filters []types.Filter
		want    []string
	}{
		{"by instance", []types.Filter{filter("resource-id", "i-0123456789abcdef0")}, []string{"cluster=web", "env=prod", `quoted=it's <"&"> $(x)` + "\n"}},
		{"by instance and key", []types.Filter{filter("resource-id", "i-0123456789abcdef0"), filter("key", "env")}, []string{"env=prod"}},
		{"another instance", []types.Filter{filter("resource-id", "i-00000000000000000")}, nil},
		{"another kind of resource", []types.Filter{filter("resource-type", "volume")}, nil},
		{"by wildcard", []types.Filter{filter("key", "cl*", "e?v")}, []string{"cluster=web", "env=prod"}},
		{"by tag", []types.Filter{filter("tag:env", "prod")}, []string{"env=prod"}},
		{"by value", []types.Filter{filter("value", "web")}, []string{"cluster=web"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tags := map[string]string{"env": "prod", "cluster": "web", "quoted": `it's <"&"> $(x)` + "\n"}
			inBubble(t, sim.Options{Tags: tags}, func(t *testing.T, b bubble) {
				out, err := b.ec2().DescribeTags(t.Context(), &ec2.DescribeTagsInput{Filters: tc.filters, MaxResults: aws.Int32(5)})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, tag := range out.Tags {
					got = append(got, *tag.Key+"="+*tag.Value)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" || out.NextToken != nil {
					t.Errorf("next token %v, tags: %s", out.NextToken, diff)
				}
			})
		})
	}
}

func TestDescribeTagsRefusesUnknownFilter(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		_, err := b.ec2().DescribeTags(t.Context(), &ec2.DescribeTagsInput{Filters: []types.Filter{filter("colour", "red")}})
		wantCode(t, err, "InvalidParameterValue", http.StatusBadRequest)
	})
}

func TestDescribeTagsDenied(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.Deny("ec2:DescribeTags")
		_, err := b.ec2().DescribeTags(t.Context(), nil)
		wantCode(t, err, "UnauthorizedOperation", http.StatusForbidden)
		var api smithy.APIError
		errors.As(err, &api)
		want := "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/ecsInstanceRole/i-0123456789abcdef0" +
			" is not authorized to perform: ec2:DescribeTags because no identity-based policy allows the ec2:DescribeTags action"
		if api.ErrorMessage() != want {
			t.Errorf("message %q", api.ErrorMessage())
		}
		b.Allow("ec2:DescribeTags")
		if _, err := b.ec2().DescribeTags(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

func TestNodesOfAWorldShareRequestRates(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		client := b.ec2()
		ask := func() error {
			_, err := client.DescribeTags(t.Context(), &ec2.DescribeTagsInput{Filters: []types.Filter{filter("key", "env")}})
			return err
		}
		for i := range 100 { // the bucket of non-mutating actions
			if err := ask(); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
		}
		wantCode(t, ask(), "RequestLimitExceeded", http.StatusServiceUnavailable)
		time.Sleep(time.Second)
		for i := range 20 {
			if err := ask(); err != nil {
				t.Fatalf("call %d after a second: %v", i, err)
			}
		}
		wantCode(t, ask(), "RequestLimitExceeded", http.StatusServiceUnavailable)

		b.SetRate(sim.BucketEC2NonMutating, sim.Rate{Burst: 1, PerSecond: 0.1})
		if err := ask(); err != nil {
			t.Error(err)
		}
		wantCode(t, ask(), "RequestLimitExceeded", http.StatusServiceUnavailable)
		time.Sleep(time.Hour) // no more than the burst is saved up
		if err := ask(); err != nil {
			t.Error(err)
		}
		wantCode(t, ask(), "RequestLimitExceeded", http.StatusServiceUnavailable)
		b.EnableThrottle(false)
		if err := ask(); err != nil {
			t.Error(err)
		}
	})
}

func TestUnfilteredCallsHaveASmallerBucket(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		client := b.ec2()
		for i := range 50 {
			if _, err := client.DescribeTags(t.Context(), nil); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
		}
		_, err := client.DescribeTags(t.Context(), nil)
		wantCode(t, err, "RequestLimitExceeded", http.StatusServiceUnavailable)
	})
}

func TestDefaultChainOfTheSDK(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	inBubble(t, sim.Options{Instance: sim.Instance{Region: "eu-central-1"}}, func(t *testing.T, b bubble) {
		cfg, err := config.LoadDefaultConfig(t.Context(), config.WithHTTPClient(b.http), config.WithEC2IMDSRegion(func(o *config.UseEC2IMDSRegion) { o.Client = b.imds() }))
		if err != nil {
			t.Fatal(err)
		}
		client := ec2.NewFromConfig(cfg)
		for range 30 { // over several lives of the role's credentials
			if _, err := client.DescribeTags(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestSDKRetriesThrottling(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		if err := b.SetFault("ec2/DescribeTags", sim.Fault{Kind: sim.FaultThrottle, Count: 2}); err != nil {
			t.Fatal(err)
		}
		client := b.ec2(func(o *ec2.Options) { o.Retryer = retry.NewStandard() })
		if _, err := client.DescribeTags(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range b.Calls() {
			if c.Service == "ec2" {
				got = append(got, fmt.Sprint(c.Operation, c.Status, c.Fault))
			}
		}
		want := []string{"DescribeTags503throttle", "DescribeTags503throttle", "DescribeTags200"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWorldsMadeAlikeAnswerAlike(t *testing.T) {
	t.Parallel()
	a, b := sim.New(sim.Options{Seed: 7}), sim.New(sim.Options{Seed: 7})
	if x, y := a.SetRegistered("web"), b.SetRegistered("web"); x != y {
		t.Errorf("container instances %s and %s", x, y)
	}
}
