package sim

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"
)

// Call is one request that reached the world.
type Call struct {
	Time      time.Time     `json:"time"`               // when it arrived
	Service   string        `json:"service"`            // imds, introspection, ec2, ecs ...
	Operation string        `json:"operation"`          // an API operation, or a path below the version for IMDS
	Instance  string        `json:"instance,omitempty"` // whose IMDS or ECS agent was asked, "" for the AWS APIs
	Method    string        `json:"method"`
	Path      string        `json:"path"`
	Status    int           `json:"status"`          // 0 while unanswered, and for ever if no answer was sent
	Bytes     int64         `json:"bytes"`           // of the body sent
	Duration  time.Duration `json:"-"`               // until the answer was written; "seconds" in JSON
	Client    string        `json:"client"`          // remote address
	Fault     string        `json:"fault,omitempty"` // the fault applied, "" for none

	// Permissions are those that IAM looked for, in order; none before the call
	// has ended, and none where it did not get as far as that.
	Permissions []Permission `json:"permissions,omitempty"`
}

// Permission is what a caller must be allowed to do.
type Permission struct {
	Action   string `json:"action"`            // "ecs:StopTask"
	Resource string `json:"resource"`          // an ARN, or *
	Cluster  string `json:"cluster,omitempty"` // the value of the condition key ecs:cluster
}

// MarshalJSON gives the duration in seconds.
func (c Call) MarshalJSON() ([]byte, error) {
	type plain Call
	return json.Marshal(struct {
		plain
		Seconds float64 `json:"seconds"`
	}{plain(c), c.Duration.Seconds()})
}

// maxCounters bounds the number of operations counted apart, against clients
// that ask for ever new paths.
const maxCounters = 10_000

// otherOperations counts what came after maxCounters.
const otherOperations = "(other)"

// callLog keeps the last calls and counts all of them. A call is in both from
// its arrival, so that a client that has its answer also finds its call.
type callLog struct {
	onCall func(Call)
	limit  int

	mu      sync.Mutex
	ring    []*Call // oldest at next once full
	next    int
	counts  map[string]int // "service/operation"
	arrived chan struct{}  // closed and replaced at every arrival
}

func newCallLog(limit int, onCall func(Call)) *callLog {
	return &callLog{onCall: onCall, limit: limit, counts: map[string]int{}, arrived: make(chan struct{})}
}

// begin logs c and returns the function that completes it.
func (l *callLog) begin(c Call) (done func(status int, bytes int64, took time.Duration, fault string, needed []Permission)) {
	entry := &c
	l.mu.Lock()
	if len(l.ring) < l.limit {
		l.ring = append(l.ring, entry)
	} else {
		l.ring[l.next] = entry
		l.next = (l.next + 1) % l.limit
	}
	key := c.Service + "/" + c.Operation
	if _, known := l.counts[key]; !known && len(l.counts) >= maxCounters {
		key = c.Service + "/" + otherOperations
	}
	l.counts[key]++
	close(l.arrived)
	l.arrived = make(chan struct{})
	l.mu.Unlock()

	return func(status int, bytes int64, took time.Duration, fault string, needed []Permission) {
		l.mu.Lock()
		entry.Status, entry.Bytes, entry.Duration, entry.Fault, entry.Permissions = status, bytes, took, fault, needed
		ended := *entry
		l.mu.Unlock()
		if l.onCall != nil {
			l.onCall(ended)
		}
	}
}

// Calls is a copy of the call log, oldest first. Calls still being served have
// no Status.
func (w *World) Calls() []Call {
	l := w.calls
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := make([]Call, 0, len(l.ring))
	for i := range l.ring {
		calls = append(calls, *l.ring[(l.next+i)%len(l.ring)])
	}
	return calls
}

// Count is how many calls matching pattern have arrived since the last
// ResetCalls. It is exact, whatever the log's limit. For patterns see SetFault.
func (w *World) Count(pattern string) int {
	total := 0
	for key, n := range w.Counts() {
		if matchesPattern(pattern, key) {
			total += n
		}
	}
	return total
}

// Counts is the number of arrived calls by "service/operation".
func (w *World) Counts() map[string]int {
	w.calls.mu.Lock()
	defer w.calls.mu.Unlock()
	return maps.Clone(w.calls.counts)
}

// AwaitCalls returns once at least n calls matching pattern have arrived, or
// with ctx's error.
func (w *World) AwaitCalls(ctx context.Context, pattern string, n int) error {
	for {
		w.calls.mu.Lock()
		arrived := w.calls.arrived
		w.calls.mu.Unlock()
		if w.Count(pattern) >= n {
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ResetCalls empties the call log and its counters.
func (w *World) ResetCalls() {
	w.calls.mu.Lock()
	defer w.calls.mu.Unlock()
	w.calls.ring, w.calls.next = nil, 0
	clear(w.calls.counts)
}
