package sim_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// s3 is the SDK's client with credentials from IMDS, at AWS's own endpoint.
func (b bubble) s3(options ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{
		Region: "eu-west-1", HTTPClient: b.http, Retryer: aws.NopRetryer{},
		Credentials: aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = b.imds() })),
	}, options...)
}

// shared is one endpoint for all APIs, as AWS_ENDPOINT_URL names it.
func shared(o *s3.Options) {
	o.BaseEndpoint, o.UsePathStyle = aws.String("http://127.0.0.1"), true
}

func putIn(bucket, key, body string) *s3.PutObjectInput {
	return &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)}
}

func getFrom(bucket, key string) *s3.GetObjectInput {
	return &s3.GetObjectInput{Bucket: &bucket, Key: &key}
}

func TestAnObjectByTheSDK(t *testing.T) {
	for name, option := range map[string]func(*s3.Options){
		"as it is":                   func(*s3.Options) {}, // with TLS a checksum follows the body
		"without TLS":                func(o *s3.Options) { o.BaseEndpoint = aws.String("http://s3.eu-west-1.amazonaws.com") },
		"at one endpoint for all":    shared,
		"with checksums where asked": func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				b.CreateBucket("acme", "")
				client := b.s3(option)
				body := strings.Repeat("some text ", 100_000)
				const key = "a b/Zürich+%2F.txt"
				put, err := client.PutObject(t.Context(), putIn("acme", key, body))
				if err != nil {
					t.Fatal(err)
				}
				if got, found := b.Object("acme", key); !found || string(got) != body {
					t.Errorf("%d bytes arrived of %d", len(got), len(body))
				}
				got, err := client.GetObject(t.Context(), getFrom("acme", key))
				if err != nil {
					t.Fatal(err)
				}
				defer got.Body.Close()
				content, err := io.ReadAll(got.Body)
				if err != nil || string(content) != body || *got.ETag != *put.ETag || *got.VersionId != *put.VersionId || !got.LastModified.Equal(time.Now()) {
					t.Errorf("%d bytes, ETag %s, version %s, %v, %v", len(content), *got.ETag, *got.VersionId, got.LastModified, err)
				}
				head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("acme"), Key: aws.String(key)})
				if err != nil || *head.ContentLength != int64(len(body)) || *head.ETag != *put.ETag {
					t.Errorf("%+v, %v", head, err)
				}
				for range 2 { // the second time there is none
					if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("acme"), Key: aws.String(key)}); err != nil {
						t.Error(err)
					}
				}
				if keys := b.Objects("acme"); len(keys) != 0 {
					t.Errorf("left: %q", keys)
				}
			})
		})
	}
}

func TestTheETagIsTheMD5OfTheContent(t *testing.T) {
	t.Parallel()
	w := sim.New(sim.Options{})
	if etag := w.PutObject("acme", "key", []byte("hello")); etag != `"5d41402abc4b2a76b9719d911017c592"` {
		t.Error(etag)
	}
}

func TestConditionsOnObjects(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		etag := b.PutObject("acme", "there", []byte("one"))
		client := b.s3()
		put := func(key string, change func(*s3.PutObjectInput)) error {
			in := putIn("acme", key, "two")
			change(in)
			_, err := client.PutObject(t.Context(), in)
			return err
		}
		absent := func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }
		matching := func(etag string) func(*s3.PutObjectInput) {
			return func(in *s3.PutObjectInput) { in.IfMatch = &etag }
		}
		wantCode(t, put("there", absent), "PreconditionFailed", 412)
		wantCode(t, put("there", matching(`"other"`)), "PreconditionFailed", 412)
		wantCode(t, put("missing", matching(etag)), "NoSuchKey", 404)
		wantCode(t, put("there", func(in *s3.PutObjectInput) { in.IfNoneMatch = &etag }), "NotImplemented", 501)
		b.Deny("s3:GetObject")
		wantCode(t, put("there", matching(etag)), "AccessDenied", 403)
		b.Allow("s3:GetObject")
		if body, _ := b.Object("acme", "there"); string(body) != "one" {
			t.Errorf("written: %q", body)
		}
		get := func(change func(*s3.GetObjectInput)) error {
			in := getFrom("acme", "there")
			change(in)
			_, err := client.GetObject(t.Context(), in)
			return err
		}
		wantCode(t, get(func(in *s3.GetObjectInput) { in.IfNoneMatch = &etag }), "NotModified", 304)
		wantCode(t, get(func(in *s3.GetObjectInput) { in.IfMatch = aws.String(`"other"`) }), "PreconditionFailed", 412)
		rest, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("acme"), Key: aws.String("there"), Range: aws.String("bytes=1-"), IfMatch: &etag})
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(rest.Body); err != nil || string(body) != "ne" || *rest.ContentRange != "bytes 1-2/3" || *rest.ContentLength != 2 {
			t.Errorf("the rest is %q, %s, %v", body, *rest.ContentRange, err)
		}
		wantCode(t, get(func(in *s3.GetObjectInput) { in.Range = aws.String("bytes=3-") }), "InvalidRange", 416)
		wantCode(t, get(func(in *s3.GetObjectInput) { in.Range, in.IfMatch = aws.String("bytes=1-"), aws.String(`"other"`) }), "PreconditionFailed", 412)
		for what, err := range map[string]error{
			"read, another":  get(func(in *s3.GetObjectInput) { in.IfNoneMatch = aws.String(`"other"`) }),
			"read, the same": get(func(in *s3.GetObjectInput) { in.IfMatch = &etag }),
			"replaced":       put("there", matching(etag)),
			"new":            put("new", absent),
		} {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := b.SetFault("s3/PutObject", sim.Fault{Kind: sim.FaultStatus, Status: 409}); err != nil {
			t.Fatal(err)
		}
		wantCode(t, put("other", absent), "ConditionalRequestConflict", 409)
	})
}

func TestAReadThatIsOutOfDate(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		read := func(key string) string {
			t.Helper()
			got, err := b.s3().GetObject(t.Context(), getFrom("acme", key))
			if err != nil {
				return err.Error()
			}
			body, _ := io.ReadAll(got.Body)
			return string(body)
		}
		for _, body := range []string{"one", "two", "three"} {
			b.PutObject("acme", "key", []byte(body))
		}
		b.PutObject("acme", "new", []byte("new"))
		if err := b.SetFault("s3/GetObject", sim.Fault{Kind: sim.FaultStale}); err != nil {
			t.Fatal(err)
		}
		if got := read("key"); got != "two" {
			t.Errorf("read %q", got)
		}
		if got := read("new"); !strings.Contains(got, "NoSuchKey") {
			t.Errorf("read %q", got)
		}
		b.ClearFaults()
		if got := read("key"); got != "three" {
			t.Errorf("read %q", got)
		}
	})
}

func TestWhatS3Refuses(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.PutObject("acme", "there", []byte("one"))
		b.CreateBucket("far", "us-east-1")
		client := b.s3()
		get := func(bucket, key string) error {
			_, err := client.GetObject(t.Context(), getFrom(bucket, key))
			return err
		}
		wantCode(t, get("acme", "missing"), "NoSuchKey", 404)
		wantCode(t, get("nobodys", "there"), "NoSuchBucket", 404)
		wantCode(t, get("far", "there"), "PermanentRedirect", 301)
		b.Deny("s3:ListBucket")
		wantCode(t, get("acme", "missing"), "AccessDenied", 403)
		if err := get("acme", "there"); err != nil {
			t.Errorf("what is there: %v", err)
		}
		b.Deny("s3:GetObject", "s3:DeleteObject")
		wantCode(t, get("acme", "there"), "AccessDenied", 403)
		_, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("acme"), Key: aws.String("there")})
		wantCode(t, err, "Forbidden", 403) // an answer to HEAD has no body
		_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("acme"), Key: aws.String("there")})
		wantCode(t, err, "AccessDenied", 403)
		_, err = client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("acme")})
		wantCode(t, err, "AccessDenied", 403)
		b.Allow("s3:GetObject")
		b.SetRate(sim.BucketS3Read, sim.Rate{})
		wantCode(t, get("acme", "there"), "SlowDown", 503)
		_, err = client.ListBuckets(t.Context(), nil)
		wantCode(t, err, "InvalidRequest", 400)
	})
}

func TestABucketInAnotherRegion(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.CreateBucket("far", "us-east-1")
		b.PutObject("far", "key", []byte("text"))
		for name, option := range map[string]func(*s3.Options){"AWS": func(*s3.Options) {}, "one endpoint for all": shared} {
			there := b.s3(option, func(o *s3.Options) { o.Region = "us-east-1" })
			if _, err := there.GetObject(t.Context(), getFrom("far", "key")); err != nil {
				t.Errorf("at %s: %v", name, err)
			}
			_, err := b.s3(option).GetObject(t.Context(), getFrom("far", "key"))
			wantCode(t, err, "PermanentRedirect", 301)
		}
		r, err := http.NewRequest(http.MethodGet, "https://far.s3.eu-west-1.amazonaws.com/key", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp := b.sendToS3(t, r, hashOf(""), signed{})
		if resp.Header.Get("X-Amz-Bucket-Region") != "us-east-1" || resp.Header.Get("Location") != "" {
			t.Errorf("%+v", resp.Header)
		}
	})
}

func TestKeysAreListed(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.CreateBucket("acme", "")
		for i := range 1003 {
			b.PutObject("acme", fmt.Sprintf("many/%04d", i), nil)
		}
		for _, key := range []string{"a", "b/1", "b/2", "b/c/3", "d", "z/<&>"} {
			b.PutObject("acme", key, []byte(key))
		}
		client := b.s3()
		list := func(change func(*s3.ListObjectsV2Input)) (pages [][]string) {
			t.Helper()
			in := &s3.ListObjectsV2Input{Bucket: aws.String("acme")}
			change(in)
			for {
				out, err := client.ListObjectsV2(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				var page []string
				for _, o := range out.Contents {
					page = append(page, *o.Key)
				}
				for _, p := range out.CommonPrefixes {
					page = append(page, *p.Prefix)
				}
				slices.Sort(page)
				if int(*out.KeyCount) != len(page) {
					t.Errorf("%d of %q", *out.KeyCount, page)
				}
				pages = append(pages, page)
				if !*out.IsTruncated {
					return pages
				}
				in.ContinuationToken = out.NextContinuationToken
			}
		}
		for name, tc := range map[string]struct {
			change func(*s3.ListObjectsV2Input)
			want   [][]string
		}{
			"by prefix": {
				func(in *s3.ListObjectsV2Input) { in.Prefix = aws.String("b/") },
				[][]string{{"b/1", "b/2", "b/c/3"}},
			},
			"of no such prefix": {
				func(in *s3.ListObjectsV2Input) { in.Prefix = aws.String("none") },
				[][]string{nil},
			},
			"by delimiter": {
				func(in *s3.ListObjectsV2Input) { in.Delimiter = aws.String("/") },
				[][]string{{"a", "b/", "d", "many/", "z/"}},
			},
			"by delimiter, page by page": {
				func(in *s3.ListObjectsV2Input) { in.Delimiter, in.MaxKeys = aws.String("/"), aws.Int32(2) },
				[][]string{{"a", "b/"}, {"d", "many/"}, {"z/"}},
			},
			"below a prefix": {
				func(in *s3.ListObjectsV2Input) { in.Prefix, in.Delimiter = aws.String("b/"), aws.String("/") },
				[][]string{{"b/1", "b/2", "b/c/"}},
			},
			"after a key": {
				func(in *s3.ListObjectsV2Input) { in.StartAfter = aws.String("many/1002") },
				[][]string{{"z/<&>"}},
			},
		} {
			if diff := cmp.Diff(tc.want, list(tc.change)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		if pages := list(func(*s3.ListObjectsV2Input) {}); len(pages) != 2 || len(pages[0]) != 1000 || len(pages[1]) != 9 {
			t.Errorf("all: pages of %d and more", len(pages[0]))
		}
	})
}

// sendToS3 signs a request as S3 has it, but as told otherwise, and sends it.
func (b bubble) sendToS3(t *testing.T, r *http.Request, payload string, s signed) *http.Response {
	t.Helper()
	if payload != "" {
		r.Header.Set("X-Amz-Content-Sha256", payload)
	}
	if !s.unsigned {
		b.signS3(t, r, payload, s)
	}
	if s.tamper != nil {
		s.tamper(r)
	}
	client := *b.http
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}
