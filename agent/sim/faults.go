package sim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// FaultKind is what goes wrong with a call.
type FaultKind string

// The kinds of fault. The empty kind is latency only: the right answer, late.
const (
	FaultHang     FaultKind = "hang"     // no answer until the client goes away
	FaultStatus   FaultKind = "status"   // Fault.Status with the service's own error body
	FaultThrottle FaultKind = "throttle" // the service's own throttling error
	FaultGarbage  FaultKind = "garbage"  // 200 with random bytes
	FaultEmpty    FaultKind = "empty"    // 200 without a body
	FaultTruncate FaultKind = "truncate" // half of the right answer, or Fault.Size bytes of it, then the connection is closed
	FaultHuge     FaultKind = "huge"     // 200 with Fault.Size bytes, never sent as one piece
	FaultReset    FaultKind = "reset"    // the connection is reset without an answer
	FaultSlow     FaultKind = "slow"     // the right answer, Fault.Size bytes of it a second
	FaultStale    FaultKind = "stale"    // of S3: the object as it was before it was last written
)

// Defaults of the sizes of wrong bodies, in bytes.
const (
	defaultHugeSize = 16 << 20
	defaultSlowRate = 1 << 10
	garbageSize     = 512
)

// Fault is one way for calls to fail. Zero values of the conditions mean every
// matching call until the fault is cleared.
type Fault struct {
	Kind    FaultKind     `yaml:"kind" json:"kind,omitempty"`
	Latency time.Duration `yaml:"latency" json:"latency,omitempty"` // before anything else; ends early if the client goes away
	Status  int           `yaml:"status" json:"status,omitempty"`   // of FaultStatus
	Size    int64         `yaml:"size" json:"size,omitempty"`       // of huge, truncate and slow, in bytes; 0 means 16 MiB, half of it, and 1 KiB
	// Processed carries the request out before its answer is replaced. With
	// FaultHang on imds/api/token it is a hop limit too low for the client:
	// the token is made and its answer never arrives.
	Processed bool `yaml:"processed" json:"processed,omitempty"`

	Count       int           `yaml:"count" json:"count,omitempty"`             // only the next Count calls
	Probability float64       `yaml:"probability" json:"probability,omitempty"` // of each call to be hit, 0 < p <= 1
	Every       int           `yaml:"every" json:"every,omitempty"`             // flapping: the first of each Every calls
	Period      time.Duration `yaml:"period" json:"period,omitempty"`           // flapping: Period with the fault, Period without
}

// String names the fault in the call log: "hang", "status 503", "latency 2s".
func (f Fault) String() string {
	switch f.Kind {
	case "":
		return "latency " + f.Latency.String()
	case FaultStatus:
		return fmt.Sprintf("status %d", f.Status)
	default:
		return string(f.Kind)
	}
}

// MarshalJSON writes durations as text, in the form they are read in.
func (f Fault) MarshalJSON() ([]byte, error) {
	type plain Fault
	text := struct {
		plain
		Latency string `json:"latency,omitempty"`
		Period  string `json:"period,omitempty"`
	}{plain: plain(f)}
	if f.Latency != 0 {
		text.Latency = f.Latency.String()
	}
	if f.Period != 0 {
		text.Period = f.Period.String()
	}
	return json.Marshal(text)
}

func (f Fault) validate() error {
	kinds := []FaultKind{"", FaultHang, FaultStatus, FaultThrottle, FaultGarbage, FaultEmpty, FaultTruncate, FaultHuge, FaultReset, FaultSlow, FaultStale}
	switch {
	case !slices.Contains(kinds, f.Kind):
		return fmt.Errorf("unknown kind %q, want one of hang, status, throttle, garbage, empty, truncate, huge, reset, slow, stale", f.Kind)
	case f.Kind == "" && f.Latency == 0:
		return fmt.Errorf("neither a kind nor a latency")
	case f.Kind == FaultStatus && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d is not between 200 and 599", f.Status)
	case f.Kind != FaultStatus && f.Status != 0:
		return fmt.Errorf("status goes with kind status only")
	case f.Size != 0 && !slices.Contains([]FaultKind{FaultHuge, FaultTruncate, FaultSlow}, f.Kind):
		return fmt.Errorf("size goes with the kinds huge, truncate and slow only")
	case f.Latency < 0 || f.Size < 0 || f.Count < 0 || f.Every < 0 || f.Period < 0:
		return fmt.Errorf("a negative number")
	case f.Probability < 0 || f.Probability > 1:
		return fmt.Errorf("probability %v is not between 0 and 1", f.Probability)
	}
	return nil
}

// faultTable holds the faults that are set, by pattern.
type faultTable struct {
	mu     sync.Mutex
	random *rand.Rand
	set    []*setFault // longest pattern first
}

type setFault struct {
	pattern string
	fault   Fault
	since   time.Time
	seen    int // matching calls
	hits    int
}

func newFaultTable(seed uint64) *faultTable {
	return &faultTable{random: rand.New(rand.NewPCG(seed, 0xfa017))}
}

// SetFault makes the calls that match pattern fail, in place of any fault set
// for the same pattern. A pattern is a service ("imds", "ec2"), a service and
// an operation or path ("ec2/DescribeTags", "imds/meta-data/tags", which takes
// in all paths below it), either with a trailing * for any ending
// ("ecs/Describe*"), or "*" for everything. Where several match, the longest
// pattern whose conditions hold is the one applied.
func (w *World) SetFault(pattern string, f Fault) error {
	if err := f.validate(); err != nil {
		return fmt.Errorf("cannot set fault on %s: %w", pattern, err)
	}
	t := w.faults
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(pattern)
	t.set = append(t.set, &setFault{pattern: pattern, fault: f, since: time.Now()})
	slices.SortStableFunc(t.set, func(a, b *setFault) int { return cmp.Compare(len(b.pattern), len(a.pattern)) })
	return nil
}

// ClearFault removes the fault set for exactly this pattern, if there is one.
func (w *World) ClearFault(pattern string) {
	w.faults.mu.Lock()
	defer w.faults.mu.Unlock()
	w.faults.remove(pattern)
}

// ClearFaults removes all faults.
func (w *World) ClearFaults() {
	w.faults.mu.Lock()
	defer w.faults.mu.Unlock()
	w.faults.set = nil
}

// Faults is what is set, by pattern. A fault whose Count is used up is gone.
func (w *World) Faults() map[string]Fault {
	w.faults.mu.Lock()
	defer w.faults.mu.Unlock()
	faults := map[string]Fault{}
	for _, s := range w.faults.set {
		faults[s.pattern] = s.fault
	}
	return faults
}

func (t *faultTable) remove(pattern string) {
	t.set = slices.DeleteFunc(t.set, func(s *setFault) bool { return s.pattern == pattern })
}

// next decides which fault, if any, the next call gets.
func (t *faultTable) next(service, operation string) (Fault, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.set {
		if !matchesPattern(s.pattern, service+"/"+operation) || !t.hits(s) {
			continue
		}
		s.hits++
		if s.fault.Count > 0 && s.hits >= s.fault.Count {
			t.remove(s.pattern)
		}
		return s.fault, true
	}
	return Fault{}, false
}

// hits says whether a matching call meets the fault's conditions.
func (t *faultTable) hits(s *setFault) bool {
	f := s.fault
	s.seen++
	if f.Every > 0 && (s.seen-1)%f.Every != 0 {
		return false
	}
	if f.Period > 0 && (time.Since(s.since)/f.Period)%2 != 0 {
		return false
	}
	return f.Probability == 0 || t.random.Float64() < f.Probability
}

// garbage is n random bytes.
func (t *faultTable) garbage(n int) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(t.random.Uint32())
	}
	return b
}

// matchesPattern says whether a call, "service/operation", matches: see
// SetFault.
func matchesPattern(pattern, call string) bool {
	if prefix, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(call, prefix)
	}
	pattern = strings.TrimSuffix(pattern, "/")
	return call == pattern || strings.HasPrefix(call, pattern+"/")
}
