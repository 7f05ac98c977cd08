package s3_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// failure is what comes of a call in a world with something wrong.
type failure struct {
	options sim.Options
	at      string // endpoint; "": one without TLS
	arrange func(w *world)
	object  func(o *facts.Object)
	is      error
	says    string // after "cannot read s3://acme-config/web/bundle.tar: "
	longest time.Duration
	calls   int
}

func (f failure) check(t *testing.T, operation string, call func(w *world, o facts.Object) error) {
	bubble(t, f.options, f.at, func(t *testing.T, w *world) {
		if f.arrange != nil {
			f.arrange(w)
		}
		o := object
		if f.object != nil {
			f.object(&o)
		}
		start := time.Now()
		err := call(w, o)
		if took := time.Since(start); took > f.longest {
			t.Errorf("took %v", took)
		}
		want(t, err, f.is, f.says)
		if n := w.Count(operation); n != f.calls {
			t.Errorf("%d calls, want %d", n, f.calls)
		}
	})
}

func TestFailuresToReadAreToldApart(t *testing.T) {
	const cannot = "cannot read s3://acme-config/web/bundle.tar: "
	const get = "s3/GetObject"
	there := func(w *world) { w.PutObject(object.Bucket, object.Key, []byte(strings.Repeat("x", 1000))) }
	faulty := func(f sim.Fault) func(w *world) {
		return func(w *world) { there(w); w.fault(get, f) }
	}
	for name, tc := range map[string]failure{
		"no such key": {
			is: facts.ErrAbsent, calls: 1,
			says: cannot + "absent: there is no such object",
		},
		"no such key, and no permission to know": {
			arrange: func(w *world) { w.Deny("s3:ListBucket") },
			is:      facts.ErrRefused, calls: 1,
			says: cannot + "refused: the instance role must allow s3:GetObject (AccessDenied), or it is not there: without s3:ListBucket S3 does not tell",
		},
		"no such bucket": {
			object: func(o *facts.Object) { o.Bucket = "nobodys" },
			is:     facts.ErrAbsent, calls: 1,
			says: "cannot read s3://nobodys/web/bundle.tar: absent: there is no such bucket",
		},
		"no permission": {
			arrange: func(w *world) { there(w); w.Deny("s3:GetObject") },
			is:      facts.ErrRefused, calls: 1,
			says: cannot + "refused: the instance role must allow s3:GetObject (AccessDenied), or it is not there: without s3:ListBucket S3 does not tell",
		},
		"no permission for the key that encrypts it": {
			arrange: func(w *world) { w.EncryptBucket(object.Bucket, "k1"); there(w); w.Deny("kms:Decrypt") },
			is:      facts.ErrRefused, calls: 1,
			says: cannot + "refused: the instance role must allow kms:Decrypt on arn:aws:kms:eu-west-1:123456789012:key/k1 (AccessDenied)",
		},
		"a clock that is slow": {
			arrange: func(w *world) { there(w); w.signAt(-20 * time.Minute) },
			is:      facts.ErrUnavailable, calls: 1,
			says: cannot + "unavailable: the clock of the node is off by more than 15 minutes (RequestTimeTooSkewed): see chronyc tracking",
		},
		"a clock that is fast": {
			arrange: func(w *world) { there(w); w.signAt(20 * time.Minute) },
			is:      facts.ErrUnavailable, calls: 1,
			says: cannot + "unavailable: the clock of the node is off by more than 15 minutes (RequestTimeTooSkewed): see chronyc tracking",
		},
		"a bucket in another region": {
			object: func(o *facts.Object) { o.Region = "us-east-1" },
			is:     facts.ErrRefused, calls: 1,
			says: cannot + "refused: the bucket is in eu-west-1, not in us-east-1 (PermanentRedirect)",
		},
		"a bucket in another region, named in the host": {
			at: "AWS", object: func(o *facts.Object) { o.Region = "us-east-1" },
			is: facts.ErrRefused, calls: 1,
			says: cannot + "refused: the bucket is in eu-west-1, not in us-east-1 (PermanentRedirect)",
		},
		"an instance without a role": {
			options: sim.Options{Instance: sim.Instance{Role: sim.NoRole}},
			is:      facts.ErrRefused,
			says:    cannot + "refused: the instance has no IAM role",
		},
		"throttling": {
			arrange: func(w *world) { there(w); w.SetRate(sim.BucketS3Read, sim.Rate{}) },
			is:      facts.ErrUnavailable, calls: 2, longest: 3 * time.Second,
			says: cannot + "unavailable: throttled (SlowDown)",
		},
		"500": {
			arrange: faulty(sim.Fault{Kind: sim.FaultStatus, Status: 500}),
			is:      facts.ErrUnavailable, calls: 2, longest: 3 * time.Second,
			says: cannot + "unavailable: InternalError (HTTP status 500)",
		},
		"a hang": {
			arrange: faulty(sim.Fault{Kind: sim.FaultHang}),
			is:      facts.ErrUnavailable, calls: 1, longest: 11 * time.Second,
			says: cannot + "unavailable: no answer within 11s",
		},
		"a trickle": {
			arrange: faulty(sim.Fault{Kind: sim.FaultSlow, Size: 10}),
			is:      facts.ErrUnavailable, calls: 1, longest: 11 * time.Second,
			says: cannot + "unavailable: no answer within 11s",
		},
		"garbage": {
			arrange: faulty(sim.Fault{Kind: sim.FaultGarbage}),
			is:      facts.ErrUnavailable, calls: 1,
			says: cannot + "unavailable: the answer has no ETag",
		},
		"an empty answer": {
			arrange: faulty(sim.Fault{Kind: sim.FaultEmpty}),
			is:      facts.ErrUnavailable, calls: 1,
			says: cannot + "unavailable: the answer has no ETag",
		},
		"half of it": {
			arrange: faulty(sim.Fault{Kind: sim.FaultTruncate}), // and then half of the rest, and so on
			is:      facts.ErrUnavailable, calls: 8, longest: 3 * time.Second,
			says: cannot + "unavailable: the answer was cut short",
		},
		"10 MB": {
			arrange: faulty(sim.Fault{Kind: sim.FaultHuge, Size: 10 << 20}),
			is:      facts.ErrRefused, calls: 2, longest: 3 * time.Second,
			says: cannot + "refused: it is longer than 1024 KiB",
		},
		"a reset connection": {
			arrange: faulty(sim.Fault{Kind: sim.FaultReset}),
			is:      facts.ErrUnavailable, calls: 2, longest: 3 * time.Second,
			says: cannot + "unavailable: connection reset by peer",
		},
		"no metadata for credentials": {
			arrange: func(w *world) { w.fault("imds", sim.Fault{Kind: sim.FaultHang}) },
			is:      facts.ErrUnavailable, longest: 3 * time.Second,
			says: cannot + "cannot get credentials of the instance role: cannot read meta-data/iam/security-credentials/: unavailable: no answer within 2s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			switch tc.at {
			case "":
				tc.at = endpoint
			case "AWS":
				tc.at = ""
			}
			tc.check(t, get, func(w *world, o facts.Object) error {
				got, err := w.client.Get(w.t.Context(), o, limit)
				if got.Body != nil || got.ETag != "" {
					w.t.Errorf("content beside an error: %+v", got)
				}
				return err
			})
		})
	}
}

func TestFailuresToWriteAreToldApart(t *testing.T) {
	const cannot = "cannot write s3://acme-config/web/bundle.tar: "
	const put = "s3/PutObject"
	faulty := func(f sim.Fault) func(w *world) {
		return func(w *world) { w.fault(put, f) }
	}
	for name, tc := range map[string]failure{
		"no such bucket": {
			object: func(o *facts.Object) { o.Bucket = "nobodys" },
			is:     facts.ErrAbsent, calls: 1,
			says: "cannot write s3://nobodys/web/bundle.tar: absent: there is no such bucket",
		},
		"no permission": {
			arrange: func(w *world) { w.Deny("s3:PutObject") },
			is:      facts.ErrRefused, calls: 1,
			says: cannot + "refused: the instance role must allow s3:PutObject (AccessDenied)",
		},
		"no permission for the key that encrypts it": {
			arrange: func(w *world) { w.EncryptBucket(object.Bucket, "k1"); w.Deny("kms:GenerateDataKey") },
			is:      facts.ErrRefused, calls: 1,
			says: cannot + "refused: the instance role must allow kms:GenerateDataKey on arn:aws:kms:eu-west-1:123456789012:key/k1 (AccessDenied)",
		},
		"a clock that is slow": {
			arrange: func(w *world) { w.signAt(-20 * time.Minute) },
			is:      facts.ErrUnavailable, calls: 1,
			says: cannot + "unavailable: the clock of the node is off by more than 15 minutes (RequestTimeTooSkewed): see chronyc tracking",
		},
		"a bucket in another region": {
			object: func(o *facts.Object) { o.Region = "us-east-1" },
			is:     facts.ErrRefused, calls: 1,
			says: cannot + "refused: the bucket is in eu-west-1, not in us-east-1 (PermanentRedirect)",
		},
		"another write": {
			arrange: faulty(sim.Fault{Kind: sim.FaultStatus, Status: 409}),
			is:      facts.ErrUnavailable, calls: 1,
			says: cannot + "unavailable: another write was under way (ConditionalRequestConflict)",
		},
		"throttling": {
			arrange: faulty(sim.Fault{Kind: sim.FaultThrottle}),
			is:      facts.ErrUnavailable, calls: 2, longest: 3 * time.Second,
			says: cannot + "unavailable: throttled (SlowDown)",
		},
		"a hang": {
			arrange: faulty(sim.Fault{Kind: sim.FaultHang}),
			is:      facts.ErrUnavailable, calls: 1, longest: 10 * time.Second,
			says: cannot + "unavailable: no answer within 10s",
		},
		"garbage": {
			arrange: faulty(sim.Fault{Kind: sim.FaultGarbage}),
			is:      facts.ErrUnavailable, calls: 1,
			says: cannot + "unavailable: the answer makes no sense (HTTP status 200)",
		},
		"an empty answer": {
			arrange: faulty(sim.Fault{Kind: sim.FaultEmpty}),
			is:      facts.ErrUnavailable, calls: 1,
			says: cannot + "unavailable: the answer has no ETag",
		},
		"an answer that got lost, to a write that finds itself": {
			arrange: faulty(sim.Fault{Kind: sim.FaultReset, Processed: true, Count: 1}),
			is:      facts.ErrExists, calls: 2, longest: 3 * time.Second,
			says: cannot + "exists already",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.at = endpoint
			tc.check(t, put, func(w *world, o facts.Object) error {
				etag, err := w.client.Put(w.t.Context(), o, []byte("text"), facts.Condition{Absent: true})
				if etag != "" {
					w.t.Errorf("an ETag beside an error: %s", etag)
				}
				return err
			})
		})
	}
}
