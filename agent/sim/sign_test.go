package sim_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// roleCredentials are what the node's IMDS hands out.
func (b bubble) roleCredentials(t *testing.T) aws.Credentials {
	t.Helper()
	c, err := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = b.imds() }).Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// signed is how a request is signed; the zero value of a field is the right
// way.
type signed struct {
	change          func(*aws.Credentials)
	service, region string
	skew            time.Duration
	tamper          func(*http.Request)
	unsigned        bool
}

// call asks for an operation of EC2 or ECS, signed as told, and returns the
// status and the error code.
func (b bubble) call(t *testing.T, api string, s signed) (status int, code string) {
	t.Helper()
	body, target := "Action=DescribeTags&Version=2016-11-15", ""
	if api == "ecs" {
		body, target = `{"cluster":"web"}`, "AmazonEC2ContainerServiceV20141113.ListContainerInstances"
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+api+".eu-west-1.amazonaws.com/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if target != "" {
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", target)
	}
	if !s.unsigned {
		b.sign(t, r, body, api, s)
	}
	if s.tamper != nil {
		s.tamper(r)
	}
	resp, err := b.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, errorCode(api, string(answer))
}

func (b bubble) sign(t *testing.T, r *http.Request, body, api string, s signed) {
	t.Helper()
	credentials := b.roleCredentials(t)
	if s.change != nil {
		s.change(&credentials)
	}
	if s.service == "" {
		s.service = api
	}
	if s.region == "" {
		s.region = "eu-west-1"
	}
	sum := sha256.Sum256([]byte(body))
	err := v4.NewSigner().SignHTTP(context.Background(), credentials, r, hex.EncodeToString(sum[:]), s.service, s.region, time.Now().Add(s.skew))
	if err != nil {
		t.Fatal(err)
	}
}

func errorCode(api, body string) string {
	if api == "ecs" {
		var e struct {
			Type string `json:"__type"`
		}
		_ = json.Unmarshal([]byte(body), &e)
		return e.Type
	}
	_, rest, _ := strings.Cut(body, "<Code>")
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

func TestSignatures(t *testing.T) {
	for _, tc := range []struct {
		name      string
		signed    signed
		ec2       string // code, "" for an answer
		ec2Status int
		ecs       string
		ecsStatus int
	}{
		{"right", signed{}, "", 200, "", 200},
		{"four minutes off", signed{skew: -4 * time.Minute}, "", 200, "", 200},
		{"none", signed{unsigned: true}, "MissingAuthenticationToken", 403, "MissingAuthenticationTokenException", 400},
		{"six minutes old", signed{skew: -6 * time.Minute}, "AuthFailure", 401, "InvalidSignatureException", 400},
		{"six minutes ahead", signed{skew: 6 * time.Minute}, "AuthFailure", 401, "InvalidSignatureException", 400},
		{"another secret", signed{change: func(c *aws.Credentials) { c.SecretAccessKey = "guess" }}, "AuthFailure", 401, "InvalidSignatureException", 400},
		{"an unknown key", signed{change: func(c *aws.Credentials) { c.AccessKeyID = "ASIAGUESS" }}, "AuthFailure", 401, "UnrecognizedClientException", 400},
		{"another session token", signed{change: func(c *aws.Credentials) { c.SessionToken = "guess" }}, "AuthFailure", 401, "UnrecognizedClientException", 400},
		{"without session token", signed{change: func(c *aws.Credentials) { c.SessionToken = "" }}, "AuthFailure", 401, "UnrecognizedClientException", 400},
		{"for another service", signed{service: "sts"}, "AuthFailure", 401, "InvalidSignatureException", 400},
		{"for another region", signed{region: "eu-west-2"}, "AuthFailure", 401, "InvalidSignatureException", 400},
		{"body changed since", signed{tamper: changeBody}, "AuthFailure", 401, "InvalidSignatureException", 400},
		{
			"header changed since",
			signed{tamper: func(r *http.Request) { r.Header.Set("Content-Type", r.Header.Get("Content-Type")+"; charset=utf-8") }},
			"AuthFailure", 401, "InvalidSignatureException", 400,
		},
		{"no date", signed{tamper: func(r *http.Request) { r.Header.Del("X-Amz-Date") }}, "IncompleteSignature", 400, "IncompleteSignatureException", 400},
		{
			"another scheme",
			signed{tamper: func(r *http.Request) { r.Header.Set("Authorization", "Basic eDp5") }},
			"IncompleteSignature", 400, "IncompleteSignatureException", 400,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				b.AddCluster("web")
				if status, code := b.call(t, "ec2", tc.signed); status != tc.ec2Status || code != tc.ec2 {
					t.Errorf("EC2: %d %s, want %d %s", status, code, tc.ec2Status, tc.ec2)
				}
				if status, code := b.call(t, "ecs", tc.signed); status != tc.ecsStatus || code != tc.ecs {
					t.Errorf("ECS: %d %s, want %d %s", status, code, tc.ecsStatus, tc.ecs)
				}
			})
		})
	}
}

// changeBody puts a body of the same length in the place of the signed one.
func changeBody(r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	changed := strings.NewReplacer("2016-11-15", "2016-11-16", "web", "wev").Replace(string(body))
	r.Body = io.NopCloser(strings.NewReader(changed))
	r.GetBody = nil
}

func TestCredentialsExpire(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.AddCluster("web")
		old := b.roleCredentials(t)
		use := func(c *aws.Credentials) { *c = old }
		time.Sleep(5*time.Hour + 50*time.Minute)
		if fresh := b.roleCredentials(t); fresh.AccessKeyID == old.AccessKeyID {
			t.Error("no new credentials ten minutes before the end of the old")
		}
		if status, code := b.call(t, "ec2", signed{change: use}); status != 200 {
			t.Errorf("old credentials before their end: %d %s", status, code)
		}
		time.Sleep(10 * time.Minute)
		if status, code := b.call(t, "ec2", signed{change: use}); status != 400 || code != "RequestExpired" {
			t.Errorf("EC2 with expired credentials: %d %s", status, code)
		}
		if status, code := b.call(t, "ecs", signed{change: use}); status != 400 || code != "ExpiredTokenException" {
			t.Errorf("ECS with expired credentials: %d %s", status, code)
		}
	})
}
