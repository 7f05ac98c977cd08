package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	for name, key := range map[string]string{
		"a plain key":            "web/bundle.tar",
		"signs and spaces":       "a b+c&d=e%2F~(1)!*'@:$,;?#.tar",
		"another alphabet":       "Zürich/東京.tar",
		"dots and empty folders": "a/../b//./c/",
		"a slash first":          "/a",
	} {
		for at, endpoint := range map[string]string{"AWS": "", "an endpoint": endpoint} {
			t.Run(name+" at "+at, func(t *testing.T) {
				bubble(t, sim.Options{}, endpoint, func(t *testing.T, w *world) {
					o := object
					o.Key = key
					etag, err := w.client.Put(t.Context(), o, []byte("some text"), facts.Condition{})
					if err != nil {
						t.Fatal(err)
					}
					if keys := w.Objects(o.Bucket); !slices.Equal(keys, []string{key}) {
						t.Errorf("the bucket has %q", keys)
					}
					got, err := w.client.Get(t.Context(), o, limit)
					if err != nil || string(got.Body) != "some text" || got.ETag != etag || !strings.HasPrefix(etag, `"`) || got.VersionID == "" {
						t.Errorf("%+v, %v; written as %s", got, err, etag)
					}
				})
			})
		}
	}
}

func TestNothingIsContentToo(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		etag := w.put("")
		if got, err := w.client.Get(t.Context(), w.object, 0); err != nil || len(got.Body) != 0 || got.ETag != etag {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestTheBucketIsInTheHostNameWhereItCanBe(t *testing.T) {
	for name, tc := range map[string]struct{ endpoint, bucket, region, dials string }{
		"at AWS":                   {"", "acme", region, "acme.s3.eu-west-1.amazonaws.com:443"},
		"at AWS, in another place": {"", "acme", "ap-south-1", "acme.s3.ap-south-1.amazonaws.com:443"},
		"at AWS, in China":         {"", "acme", "cn-north-1", "acme.s3.cn-north-1.amazonaws.com.cn:443"},
		"with dots at AWS":         {"", "acme.example", region, "s3.eu-west-1.amazonaws.com:443"},
		"at an endpoint":           {endpoint, "acme", region, "storage.internal:80"},
		"with dots at an endpoint": {endpoint, "acme.example", "ap-south-1", "storage.internal:80"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{}, tc.endpoint, func(t *testing.T, w *world) {
				w.CreateBucket(tc.bucket, tc.region)
				w.PutObject(tc.bucket, "key", []byte("text"))
				o := facts.Object{Region: tc.region, Bucket: tc.bucket, Key: "key"}
				got, err := w.client.Get(t.Context(), o, limit)
				if err != nil || string(got.Body) != "text" {
					t.Errorf("%q, %v", got.Body, err)
				}
				if !slices.Contains(w.dials, tc.dials) {
					t.Errorf("dialled %q, want %s", w.dials, tc.dials)
				}
			})
		})
	}
}

func TestOneClientServesManyAtOnce(t *testing.T) {
	bubble(t, sim.Options{}, endpoint, func(t *testing.T, w *world) {
		w.put("x")
		w.CreateBucket("elsewhere", "us-east-1")
		w.PutObject("elsewhere", "key", []byte("y"))
		var calls sync.WaitGroup
		for range 20 {
			for o, body := range map[facts.Object]string{object: "x", {Region: "us-east-1", Bucket: "elsewhere", Key: "key"}: "y"} {
				calls.Go(func() {
					if got, err := w.client.Get(t.Context(), o, limit); err != nil || string(got.Body) != body {
						t.Errorf("%s: %q, %v", o, got.Body, err)
					}
				})
			}
		}
		calls.Wait()
	})
}

func TestContentIsOfUpToTheLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		size, limit int
		says        string // "": it is read
	}{
		"as long as may be":               {3 << 20, 3 << 20, ""},
		"32 MiB":                          {32 << 20, 32 << 20, ""},
		"one byte more":                   {3<<20 + 1, 3 << 20, "longer than 3072 KiB"},
		"less than any other answer":      {1 << 10, 1 << 10, ""},
		"one more than a very low limit":  {1<<10 + 1, 1 << 10, "longer than 1 KiB"},
		"more than the limit, and others": {5 << 20, 1 << 10, "longer than 1 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{}, endpoint, func(t *testing.T, w *world) {
				body := bytes.Repeat([]byte("x"), tc.size)
				w.PutObject(object.Bucket, object.Key, body)
				got, err := w.client.Get(t.Context(), object, int64(tc.limit))
				if tc.says != "" {
					want(t, err, facts.ErrRefused, "cannot read s3://acme-config/web/bundle.tar: refused: it is "+tc.says)
				} else if err != nil || !bytes.Equal(got.Body, body) {
					t.Errorf("%d bytes, %v", len(got.Body), err)
				}
			})
		})
	}
}

func TestTheLimitOfContentIsNotThatOfCredentials(t *testing.T) {
	bubble(t, sim.Options{}, endpoint, func(t *testing.T, w *world) {
		w.PutObject(object.Bucket, object.Key, []byte("x"))
		w.fault("imds/meta-data/iam", sim.Fault{Kind: sim.FaultHuge, Size: 2 << 20})
		_, err := w.client.Get(t.Context(), object, 32<<20)
		want(t, err, facts.ErrUnavailable, "cannot read s3://acme-config/web/bundle.tar: cannot get credentials of the instance role: "+
			"cannot read meta-data/iam/security-credentials/: unavailable: the answer is longer than 256 KiB")
	})
}

func TestALargeObjectIsWritten(t *testing.T) {
	for at, endpoint := range map[string]string{"AWS": "", "an endpoint": endpoint} {
		t.Run("at "+at, func(t *testing.T) {
			bubble(t, sim.Options{}, endpoint, func(t *testing.T, w *world) {
				body := bytes.Repeat([]byte("0123456789abcdef"), 8<<16)
				w.fault("s3/PutObject", sim.Fault{Kind: sim.FaultStatus, Status: 500, Count: 1}) // so that it is sent twice
				if _, err := w.client.Put(t.Context(), object, body, facts.Condition{}); err != nil {
					t.Fatal(err)
				}
				if got, _ := w.Object(object.Bucket, object.Key); !bytes.Equal(got, body) {
					t.Errorf("%d bytes arrived", len(got))
				}
			})
		})
	}
}

func TestOnlyWhatHasChangedIsRead(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		get := func(etag string) (facts.Content, bool) {
			t.Helper()
			got, changed, err := w.client.GetIfChanged(t.Context(), w.object, etag, limit)
			if err != nil {
				t.Fatal(err)
			}
			return got, changed
		}
		first := w.put("one")
		if got, changed := get(""); !changed || string(got.Body) != "one" || got.ETag != first {
			t.Errorf("at first: %+v, %t", got, changed)
		}
		if got, changed := get(first); changed || got.Body != nil || got.ETag != "" {
			t.Errorf("unchanged: %+v, %t", got, changed)
		}
		if status := w.answers.last(); status != 304 {
			t.Errorf("unchanged: status %d", status)
		}
		second := w.put("two")
		if got, changed := get(first); !changed || string(got.Body) != "two" || got.ETag != second {
			t.Errorf("changed: %+v, %t", got, changed)
		}
		w.remove(w.object)
		_, changed, err := w.client.GetIfChanged(t.Context(), w.object, second, limit)
		want(t, err, facts.ErrAbsent, "cannot read "+w.object.String()+": absent: there is no such object")
		if changed {
			t.Error("changed beside an error")
		}
	})
}

// cutting is a connection that breaks off after so many bytes of content.
type cutting struct {
	aws.HTTPClient
	after int64
	asked []string            // Range of each request
	then  func(*http.Request) // what happens before the next request
}

func (c *cutting) Do(r *http.Request) (*http.Response, error) {
	if len(c.asked) > 0 && c.then != nil {
		c.then(r)
	}
	c.asked = append(c.asked, r.Header.Get("Range"))
	resp, err := c.HTTPClient.Do(r)
	if err == nil && resp.ContentLength > c.after {
		resp.Body = io.NopCloser(io.MultiReader(io.LimitReader(resp.Body, c.after), iotest.ErrReader(io.ErrUnexpectedEOF)))
	}
	return resp, err
}

func TestAnAnswerThatIsCutShortIsGoneOnWith(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		body := strings.Repeat("0123456789", 100)
		w.put(body)
		c := &cutting{HTTPClient: w.answers.HTTPClient, after: 300}
		w.answers.HTTPClient = c
		got, err := w.client.Get(t.Context(), w.object, 1000)
		if want := []string{"", "bytes=300-", "bytes=600-", "bytes=900-"}; err != nil || string(got.Body) != body || !slices.Equal(c.asked, want) {
			t.Errorf("%d bytes by %q, %v", len(got.Body), c.asked, err)
		}
		// It is the same object throughout, or none.
		c.asked = nil
		c.then = func(*http.Request) {
			c.then = nil
			w.answers.HTTPClient = c.HTTPClient
			w.put(strings.ToUpper(body) + "!")
		}
		_, err = w.client.Get(t.Context(), w.object, 1000)
		want(t, err, facts.ErrUnavailable, "cannot read "+w.object.String()+": unavailable: it changed while it was read")
		// A connection that brings nothing more is not tried for ever.
		w.answers.HTTPClient = c
		c.asked, c.after = nil, 0
		_, err = w.client.Get(t.Context(), w.object, 2000)
		want(t, err, facts.ErrUnavailable, "cannot read "+w.object.String()+": unavailable: the answer was cut short")
		if len(c.asked) != 2 {
			t.Errorf("asked %q", c.asked)
		}
	})
}

// TestAServerThatDoesNotHeedRangeBeginsAnew: it answers with the whole.
func TestAServerThatDoesNotHeedRangeBeginsAnew(t *testing.T) {
	bubble(t, sim.Options{}, endpoint, func(t *testing.T, w *world) {
		const body = "some text"
		answers := 0
		w.answers.HTTPClient = do(func(*http.Request) (*http.Response, error) {
			answers++
			var content io.Reader = strings.NewReader(body)
			if answers < 3 {
				content = io.MultiReader(io.LimitReader(content, 6), iotest.ErrReader(io.ErrUnexpectedEOF))
			}
			return &http.Response{StatusCode: 200, ContentLength: int64(len(body)), Header: http.Header{"Etag": {`"1"`}}, Body: io.NopCloser(content)}, nil
		})
		if got, err := w.client.Get(t.Context(), object, limit); err != nil || string(got.Body) != body || answers != 3 {
			t.Errorf("%q after %d answers, %v", got.Body, answers, err)
		}
	})
}

func TestOneOfManyWritesTheFirst(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		won := 0
		var writers sync.WaitGroup
		for range 10 {
			writers.Go(func() {
				_, err := w.client.Put(t.Context(), w.object, []byte("mine"), facts.Condition{Absent: true})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else {
					want(t, err, facts.ErrExists, "cannot write "+w.object.String()+": exists already")
				}
			})
		}
		writers.Wait()
		if won != 1 {
			t.Errorf("%d of them", won)
		}
	})
}

func TestAnObjectIsReplacedWhileItIsTheOneThatWasRead(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		cannot := "cannot write " + w.object.String() + ": "
		replace := func(etag, body string) (string, error) {
			return w.client.Put(t.Context(), w.object, []byte(body), facts.Condition{ETag: etag})
		}
		first := w.put("one")
		second, err := replace(first, "two")
		if err != nil || second == first {
			t.Fatalf("%s, %v", second, err)
		}
		_, err = replace(first, "three")
		want(t, err, facts.ErrChanged, cannot+"has changed")
		if got, err := w.client.Get(t.Context(), w.object, limit); err != nil || string(got.Body) != "two" {
			t.Errorf("it is %q (%v)", got.Body, err)
		}
		w.remove(w.object)
		_, err = replace(second, "three")
		want(t, err, facts.ErrAbsent, cannot+"absent: there is no such object")
	})
}

func TestToReplaceAnObjectIsToReadIt(t *testing.T) {
	bubble(t, sim.Options{}, endpoint, func(t *testing.T, w *world) {
		etag := w.put("one")
		w.Deny("s3:GetObject")
		_, err := w.client.Put(t.Context(), object, []byte("two"), facts.Condition{ETag: etag})
		want(t, err, facts.ErrRefused, "cannot write s3://acme-config/web/bundle.tar: refused: the instance role must allow s3:PutObject and s3:GetObject (AccessDenied)")
	})
}

func TestOneOfManyReplacesWhatAllHaveRead(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		etag := w.put("one")
		bodies := make([]string, 10)
		var writers sync.WaitGroup
		var won atomic.Int32
		for i := range bodies {
			bodies[i] = fmt.Sprint("of ", i)
			writers.Go(func() {
				_, err := w.client.Put(t.Context(), w.object, []byte(bodies[i]), facts.Condition{ETag: etag})
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, facts.ErrChanged):
					t.Error(err)
				}
			})
		}
		writers.Wait()
		if got, err := w.client.Get(t.Context(), w.object, limit); won.Load() != 1 || err != nil || !slices.Contains(bodies, string(got.Body)) {
			t.Errorf("%d of them, and it is %q (%v)", won.Load(), got.Body, err)
		}
	})
}

func TestListsAreReadToTheirEnd(t *testing.T) {
	for at, endpoint := range map[string]string{"AWS": "", "an endpoint": endpoint} {
		t.Run(at, func(t *testing.T) {
			bubble(t, sim.Options{Unthrottled: true}, endpoint, func(t *testing.T, w *world) {
				var want []string
				for i := range 2345 {
					key := fmt.Sprintf("history/a b+c/%06d", i)
					want = append(want, key)
					w.PutObject(object.Bucket, key, nil)
				}
				w.PutObject(object.Bucket, "history/a", nil)
				w.PutObject(object.Bucket, "other", nil)
				o := object
				o.Key = "history/a b+c/"
				if got, err := w.client.List(t.Context(), o); err != nil || !slices.Equal(got, want) {
					t.Errorf("%d keys, %v", len(got), err)
				}
				o.Key = "nothing/"
				if got, err := w.client.List(t.Context(), o); err != nil || len(got) > 0 {
					t.Errorf("%q, %v", got, err)
				}
			})
		})
	}
}

func TestFailuresToListAreToldApart(t *testing.T) {
	const cannot = "cannot list s3://acme-config/web/bundle.tar: "
	const list = "s3/ListObjectsV2"
	faulty := func(f sim.Fault) func(w *world) {
		return func(w *world) { w.fault(list, f) }
	}
	for name, tc := range map[string]failure{
		"no such bucket": {
			object: func(o *facts.Object) { o.Bucket = "nobodys" },
			is:     facts.ErrAbsent, calls: 1,
			says: "cannot list s3://nobodys/web/bundle.tar: absent: there is no such bucket",
		},
		"no permission": {
			arrange: func(w *world) { w.Deny("s3:ListBucket") },
			is:      facts.ErrRefused, calls: 1,
			says: cannot + "refused: the instance role must allow s3:ListBucket (AccessDenied)",
		},
		"an empty answer": {
			arrange: faulty(sim.Fault{Kind: sim.FaultEmpty}),
			is:      facts.ErrUnavailable, calls: 1,
			says: cannot + "unavailable: the answer is no list",
		},
		"a hang": {
			arrange: faulty(sim.Fault{Kind: sim.FaultHang}),
			is:      facts.ErrUnavailable, calls: 1, longest: 10 * time.Second,
			says: cannot + "unavailable: no answer within 10s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.at = endpoint
			tc.check(t, list, func(w *world, o facts.Object) error {
				_, err := w.client.List(w.t.Context(), o)
				return err
			})
		})
	}
}
