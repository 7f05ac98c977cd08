package sim

import (
	"maps"
	"sync"
	"time"
)

// Rate is a token bucket: how many requests it holds and how fast it refills.
type Rate struct {
	Burst     float64 `yaml:"burst" json:"burst"`
	PerSecond float64 `yaml:"per_second" json:"per_second"`
}

// The buckets of AWS's published request rates, per account and Region.
const (
	// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
	BucketEC2NonMutating = "ec2/non-mutating"
	BucketEC2Unfiltered  = "ec2/unfiltered-unpaginated"
	// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
	BucketECSResourceModify = "ecs/cluster-resource-modify"
	BucketECSResourceRead   = "ecs/cluster-resource-read"
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html,
	// there for each prefix in a bucket
	BucketS3Read  = "s3/read"
	BucketS3Write = "s3/write"
	// https://docs.aws.amazon.com/general/latest/gr/ssm.html: the default throughput,
	// which GetParameter, GetParameters and GetParametersByPath share
	BucketSSMParameters = "ssm/parameter-store"
	// https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
	BucketSecretsManagerRead = "secretsmanager/read"
)

// PublishedRates are AWS's default rates by bucket.
func PublishedRates() map[string]Rate {
	return map[string]Rate{
		BucketEC2NonMutating:    {Burst: 100, PerSecond: 20},
		BucketEC2Unfiltered:     {Burst: 50, PerSecond: 10},
		BucketECSResourceModify: {Burst: 100, PerSecond: 40},
		BucketECSResourceRead:   {Burst: 100, PerSecond: 20},
		BucketS3Read:            {Burst: 5500, PerSecond: 5500},
		BucketS3Write:           {Burst: 3500, PerSecond: 3500},

		BucketSSMParameters:      {Burst: 40, PerSecond: 40},
		BucketSecretsManagerRead: {Burst: 10_000, PerSecond: 10_000},
	}
}

// throttle holds the buckets. All nodes of a world share them.
type throttle struct {
	mu      sync.Mutex
	enabled bool
	rates   map[string]Rate
	levels  map[string]level // a bucket without one is full
}

type level struct {
	tokens float64
	at     time.Time
}

func newThrottle(enabled bool) *throttle {
	return &throttle{enabled: enabled, rates: PublishedRates(), levels: map[string]level{}}
}

// SetRate gives a bucket another rate, full from now on. A bucket that no
// operation draws from has no effect.
func (w *World) SetRate(bucket string, r Rate) {
	t := w.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rates[bucket] = r
	delete(t.levels, bucket)
}

// Rates are the rates in force by bucket.
func (w *World) Rates() map[string]Rate {
	w.throttle.mu.Lock()
	defer w.throttle.mu.Unlock()
	return maps.Clone(w.throttle.rates)
}

// EnableThrottle turns request rates on or off; on is how a world starts
// unless Options say otherwise.
func (w *World) EnableThrottle(enabled bool) {
	w.throttle.mu.Lock()
	defer w.throttle.mu.Unlock()
	w.throttle.enabled = enabled
}

func (t *throttle) isEnabled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.enabled
}

// take takes one request out of a bucket and says whether there was one.
func (t *throttle) take(bucket string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	rate, limited := t.rates[bucket]
	if !t.enabled || !limited {
		return true
	}
	now := time.Now()
	l, known := t.levels[bucket]
	if !known {
		l = level{tokens: rate.Burst, at: now}
	}
	l.tokens = min(rate.Burst, l.tokens+rate.PerSecond*now.Sub(l.at).Seconds())
	l.at = now
	allowed := l.tokens >= 1
	if allowed {
		l.tokens--
	}
	t.levels[bucket] = l
	return allowed
}
