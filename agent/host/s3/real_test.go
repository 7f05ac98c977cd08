package s3_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/s3/s3test"
)

// What a real server keeps in files cannot have every key that S3 can: no dots
// for a folder, and no folder without a name.
func TestKeysAtARealServer(t *testing.T) {
	w := real(t)
	for _, name := range []string{"web/bundle.tar", "a b+c&d=e%2F~(1)!*'@:$,;?#.tar", "Zürich/東京.tar"} {
		o := w.object
		o.Key = strings.TrimSuffix(o.Key, object.Key) + name
		etag, err := w.client.Put(t.Context(), o, []byte(name), facts.Condition{})
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := w.client.Get(t.Context(), o, limit)
		if err != nil || string(got.Body) != name || got.ETag != etag {
			t.Errorf("%+v, %v; written as %s", got, err, etag)
		}
		if keys, err := w.client.List(t.Context(), o); err != nil || !slices.Equal(keys, []string{o.Key}) {
			t.Errorf("listed as %q, %v", keys, err)
		}
	}
}

func TestALargeObjectAtARealServer(t *testing.T) {
	w := real(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), 2<<16)
	if _, err := w.client.Put(t.Context(), w.object, body, facts.Condition{}); err != nil {
		t.Fatal(err)
	}
	if got, err := w.client.Get(t.Context(), w.object, int64(len(body))); err != nil || !bytes.Equal(got.Body, body) {
		t.Errorf("%d bytes arrived, %v", len(got.Body), err)
	}
	_, err := w.client.Get(t.Context(), w.object, int64(len(body))-1)
	want(t, err, facts.ErrRefused, "cannot read "+w.object.String()+": refused: it is longer than 2047 KiB")
}

func TestAListOfARealServer(t *testing.T) {
	w := real(t)
	o := w.object
	o.Key = strings.TrimSuffix(o.Key, object.Key) + "history/a b+c/"
	var keys []string
	for i := range 12 {
		one := o
		one.Key += fmt.Sprintf("%06d", i)
		keys = append(keys, one.Key)
		if _, err := w.client.Put(t.Context(), one, nil, facts.Condition{Absent: true}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := w.client.List(t.Context(), o); err != nil || !slices.Equal(got, keys) {
		t.Errorf("%q, %v", got, err)
	}
	o.Key += "nothing/"
	if got, err := w.client.List(t.Context(), o); err != nil || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestEveryWriteIsAVersion(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		if w.World == nil { // the simulator's buckets give versions ids as they are
			w.object.Bucket = "versions-" + strings.ToLower(rand.Text())
			if _, err := w.sdk.CreateBucket(t.Context(), &sdk.CreateBucketInput{Bucket: &w.object.Bucket}); err != nil {
				t.Fatal(err)
			}
			_, err := w.sdk.PutBucketVersioning(t.Context(), &sdk.PutBucketVersioningInput{
				Bucket: &w.object.Bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		var ids []string
		for _, body := range []string{"one", "two"} {
			w.put(body)
			got, err := w.client.Get(t.Context(), w.object, limit)
			if err != nil || string(got.Body) != body || got.VersionID == "" || slices.Contains(ids, got.VersionID) {
				t.Fatalf("%+v after %q, %v", got, ids, err)
			}
			ids = append(ids, got.VersionID)
		}
		if w.World != nil {
			return // it keeps the latest only
		}
		out, err := w.sdk.ListObjectVersions(t.Context(), &sdk.ListObjectVersionsInput{Bucket: &w.object.Bucket, Prefix: &w.object.Key})
		if err != nil {
			t.Fatal(err)
		}
		var listed []string
		for _, v := range out.Versions {
			listed = append([]string{*v.VersionId}, listed...) // latest first
		}
		if !slices.Equal(listed, ids) {
			t.Errorf("versions %q, read as %q", listed, ids)
		}
	})
}

// TestTheSimulatorAnswersAsARealServerDoes compares status, code, message and the
// headers that a client of ours reads.
func TestTheSimulatorAnswersAsARealServerDoes(t *testing.T) {
	key := func(w *world, name string) *string {
		return aws.String(strings.TrimSuffix(w.object.Key, object.Key) + name)
	}
	get := func(w *world, name string, change func(*sdk.GetObjectInput)) string {
		in := &sdk.GetObjectInput{Bucket: &w.object.Bucket, Key: key(w, name)}
		change(in)
		out, err := w.sdk.GetObject(w.t.Context(), in)
		if err != nil {
			return w.answered(err)
		}
		body, err := io.ReadAll(out.Body)
		return w.answered(err, out.ETag, out.ContentRange, out.AcceptRanges, out.ContentLength, string(body))
	}
	put := func(w *world, name string, change func(*sdk.PutObjectInput)) string {
		in := &sdk.PutObjectInput{Bucket: &w.object.Bucket, Key: key(w, name), Body: strings.NewReader("some other text")}
		change(in)
		out, err := w.sdk.PutObject(w.t.Context(), in)
		if err != nil {
			return w.answered(err)
		}
		return w.answered(nil, out.ETag)
	}
	list := func(w *world, change func(*sdk.ListObjectsV2Input)) string {
		in := &sdk.ListObjectsV2Input{Bucket: &w.object.Bucket, Prefix: key(w, "many/")}
		change(in)
		out, err := w.sdk.ListObjectsV2(w.t.Context(), in)
		if err != nil {
			return w.answered(err)
		}
		var keys []any
		for _, o := range out.Contents {
			keys = append(keys, strings.TrimPrefix(*o.Key, *key(w, "")), o.Size, o.ETag)
		}
		return w.answered(nil, append(keys, out.KeyCount, out.IsTruncated, out.NextContinuationToken != nil)...)
	}
	const etag, other = `"552e21cd4cd9918678e3c1a0df491bc3"`, `"00000000000000000000000000000000"` // of "some text"
	cases := []struct {
		name string
		call func(w *world) string
	}{
		{"an object", func(w *world) string { return get(w, "there", func(*sdk.GetObjectInput) {}) }},
		{"of no content", func(w *world) string { return get(w, "empty", func(*sdk.GetObjectInput) {}) }},
		{"not there", func(w *world) string { return get(w, "missing", func(*sdk.GetObjectInput) {}) }},
		{"no bucket", func(w *world) string {
			return get(w, "there", func(in *sdk.GetObjectInput) { in.Bucket = aws.String("nobodys") })
		}},
		{"unchanged", func(w *world) string {
			return get(w, "there", func(in *sdk.GetObjectInput) { in.IfNoneMatch = aws.String(etag) })
		}},
		{"changed", func(w *world) string {
			return get(w, "there", func(in *sdk.GetObjectInput) { in.IfNoneMatch = aws.String(other) })
		}},
		{"if it is that one", func(w *world) string {
			return get(w, "there", func(in *sdk.GetObjectInput) { in.IfMatch = aws.String(etag) })
		}},
		{"if it is another", func(w *world) string {
			return get(w, "there", func(in *sdk.GetObjectInput) { in.IfMatch = aws.String(other) })
		}},
		{"the rest", func(w *world) string {
			return get(w, "there", func(in *sdk.GetObjectInput) { in.Range, in.IfMatch = aws.String("bytes=5-"), aws.String(etag) })
		}},
		{"the rest of another", func(w *world) string {
			return get(w, "there", func(in *sdk.GetObjectInput) { in.Range, in.IfMatch = aws.String("bytes=5-"), aws.String(other) })
		}},
		{"behind its end", func(w *world) string {
			return get(w, "there", func(in *sdk.GetObjectInput) { in.Range = aws.String("bytes=9-") })
		}},
		{"of an object, that it is there", func(w *world) string {
			out, err := w.sdk.HeadObject(w.t.Context(), &sdk.HeadObjectInput{Bucket: &w.object.Bucket, Key: key(w, "there")})
			if err != nil {
				return w.answered(err)
			}
			return w.answered(nil, out.ETag, out.ContentLength)
		}},
		{"of one that is not", func(w *world) string {
			_, err := w.sdk.HeadObject(w.t.Context(), &sdk.HeadObjectInput{Bucket: &w.object.Bucket, Key: key(w, "missing")})
			return w.answered(err)
		}},
		{"written", func(w *world) string { return put(w, "new", func(*sdk.PutObjectInput) {}) }},
		{"written where nothing is", func(w *world) string {
			return put(w, "new2", func(in *sdk.PutObjectInput) { in.IfNoneMatch = aws.String("*") })
		}},
		{"written where something is", func(w *world) string {
			return put(w, "there", func(in *sdk.PutObjectInput) { in.IfNoneMatch = aws.String("*") })
		}},
		{"written if it is another", func(w *world) string {
			return put(w, "there", func(in *sdk.PutObjectInput) { in.IfMatch = aws.String(other) })
		}},
		{"written if it is that one, and is none", func(w *world) string {
			return put(w, "missing", func(in *sdk.PutObjectInput) { in.IfMatch = aws.String(etag) })
		}},
		{"written if it is not that one", func(w *world) string {
			return put(w, "there", func(in *sdk.PutObjectInput) { in.IfNoneMatch = aws.String(etag) })
		}},
		{"written with another's checksum", func(w *world) string {
			return put(w, "new3", func(in *sdk.PutObjectInput) {
				in.ChecksumSHA256 = aws.String("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
			})
		}},
		{"removed, and was not there", func(w *world) string {
			_, err := w.sdk.DeleteObject(w.t.Context(), &sdk.DeleteObjectInput{Bucket: &w.object.Bucket, Key: key(w, "missing")})
			return w.answered(err)
		}},
		{"a list", func(w *world) string { return list(w, func(*sdk.ListObjectsV2Input) {}) }},
		{"a page", func(w *world) string { return list(w, func(in *sdk.ListObjectsV2Input) { in.MaxKeys = aws.Int32(2) }) }},
		{"the page after it", func(w *world) string {
			in := &sdk.ListObjectsV2Input{Bucket: &w.object.Bucket, Prefix: key(w, "many/"), MaxKeys: aws.Int32(2)}
			first, err := w.sdk.ListObjectsV2(w.t.Context(), in)
			if err != nil {
				return w.answered(err)
			}
			return list(w, func(in *sdk.ListObjectsV2Input) { in.ContinuationToken = first.NextContinuationToken })
		}},
		{"a list of nothing", func(w *world) string {
			return list(w, func(in *sdk.ListObjectsV2Input) { in.Prefix = key(w, "nothing/") })
		}},
		{"a list of no bucket", func(w *world) string {
			return list(w, func(in *sdk.ListObjectsV2Input) { in.Bucket = aws.String("nobodys") })
		}},
	}
	said := map[string]map[string]string{}
	at := "simulator"
	both(t, func(t *testing.T, w *world) {
		for _, o := range []struct{ name, body string }{{"there", "some text"}, {"empty", ""}, {"many/1", "a"}, {"many/2", "b"}, {"many/3", "c"}} {
			one := w.object
			one.Key = *key(w, o.name)
			if _, err := w.client.Put(t.Context(), one, []byte(o.body), facts.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, tc := range cases {
			if said[tc.name] == nil {
				said[tc.name] = map[string]string{}
			}
			said[tc.name][at] = tc.call(w)
		}
		at = "real server"
	})
	for _, tc := range cases {
		if s := said[tc.name]; s["real server"] != "" && s["simulator"] != s["real server"] {
			t.Errorf("%s:\nsimulator   %s\nreal server %s", tc.name, s["simulator"], s["real server"])
		}
	}
}

// answered is an answer in one line.
func (w *world) answered(err error, what ...any) string {
	line := strconv.Itoa(w.answers.last())
	var api smithy.APIError
	if errors.As(err, &api) {
		return line + " " + api.ErrorCode() + ": " + strings.TrimSuffix(api.ErrorMessage(), ".")
	}
	if err != nil {
		return line + " " + err.Error()
	}
	for _, v := range what {
		if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && !p.IsNil() {
			v = p.Elem().Interface()
		}
		line += fmt.Sprintf(" %v", v)
	}
	return line
}

// TestFailuresAtARealServerAreToldApart: in the words that the simulator's answers
// come to, see TestFailuresToReadAreToldApart.
func TestFailuresAtARealServerAreToldApart(t *testing.T) {
	guess := func(k awsapi.Keys) awsapi.Keys { k.SecretAccessKey = "guess"; return k }
	for name, tc := range map[string]struct {
		keys   func(s s3test.Server) awsapi.Keys
		late   time.Duration
		object func(o *facts.Object)
		is     error
		says   string // after "cannot read s3://…: "
	}{
		"no such key": {
			is: facts.ErrAbsent, says: "absent: there is no such object",
		},
		"no such bucket": {
			object: func(o *facts.Object) { o.Bucket = "nobodys" },
			is:     facts.ErrAbsent, says: "absent: there is no such bucket",
		},
		"no permission": {
			keys: func(s s3test.Server) awsapi.Keys { return s.Stranger },
			is:   facts.ErrRefused, says: "refused: the instance role must allow s3:GetObject (AccessDenied), or it is not there: without s3:ListBucket S3 does not tell",
		},
		"a wrong secret": {
			keys: func(s s3test.Server) awsapi.Keys { return guess(s.Keys) },
			is:   facts.ErrRefused, says: "refused: SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided. Check your key and signing method.",
		},
		"an unknown key": {
			keys: func(s3test.Server) awsapi.Keys { return awsapi.Keys{AccessKeyID: "nobody", SecretAccessKey: "x"} },
			is:   facts.ErrRefused, says: "refused: InvalidAccessKeyId: The AWS Access Key Id you provided does not exist in our records.",
		},
		"another region": {
			object: func(o *facts.Object) { o.Region = "us-east-1" },
			is:     facts.ErrRefused, says: "refused: the bucket is in eu-west-1, not in us-east-1 (AuthorizationHeaderMalformed)",
		},
		"a clock that is slow": {
			late: -20 * time.Minute,
			is:   facts.ErrUnavailable, says: "unavailable: the clock of the node is off by more than 15 minutes (RequestTimeTooSkewed): see chronyc tracking",
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := s3test.Get(t)
			if tc.keys != nil {
				server.Keys = tc.keys(server)
			}
			w := &world{t: t}
			w.reach(awsapi.Options{Keys: &server.Keys}, server.Endpoint)
			if tc.late != 0 {
				w.signAt(tc.late)
			}
			o := facts.Object{Region: region, Bucket: object.Bucket, Key: server.Prefix + "key"}
			if tc.object != nil {
				tc.object(&o)
			}
			_, err := w.client.Get(t.Context(), o, limit)
			want(t, err, tc.is, "cannot read "+o.String()+": "+tc.says)
		})
	}
}
