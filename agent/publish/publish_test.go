package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/host/s3"
	"github.com/ecsnode/ecsnode/agent/host/s3/s3test"
	"github.com/ecsnode/ecsnode/agent/publish"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// world is a bucket, and somebody who publishes into it: a simulated one in
// virtual time, or one of a real server.
type world struct {
	*sim.World // nil: a real server
	t          *testing.T
	*publish.Publisher
	bucket *s3.Client
	source bundle.Source
}

var source = bundle.Source{Bucket: "acme", Prefix: "nodes/"}

// both runs f with a simulated bucket and with one of a real server.
func both(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	t.Run("simulator", func(t *testing.T) { bubble(t, f) })
	t.Run("real server", func(t *testing.T) {
		server := s3test.Get(t)
		config, err := awsapi.Config(awsapi.Options{Keys: &server.Keys})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, bucket: s3.New(config, server.Endpoint), source: bundle.Source{Bucket: s3test.Bucket, Prefix: server.Prefix}}
		w.Publisher = w.by(key(t))
		f(t, w)
	})
}

func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{World: sim.New(sim.Options{}), t: t, source: source}
		n := sim.NewNetwork()
		t.Cleanup(func() { _ = n.Close() })
		if err := w.Connect(n); err != nil {
			t.Fatal(err)
		}
		w.CreateBucket(source.Bucket, "")
		id, secret := w.AddUser("alice")
		config, err := awsapi.Config(awsapi.Options{
			Metadata: imds.New(imds.Options{Dial: n.DialContext}), Dial: n.DialContext,
			Keys: &awsapi.Keys{AccessKeyID: id, SecretAccessKey: secret},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.bucket = s3.New(config, "http://storage.internal")
		w.Publisher = w.by(key(t))
		f(t, w)
	})
}

func key(t *testing.T) bundle.SecretKey {
	t.Helper()
	k, err := bundle.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// by is a publisher with this key, who trusts it and others.
func (w *world) by(k bundle.SecretKey, others ...bundle.Key) *publish.Publisher {
	return &publish.Publisher{Bucket: w.bucket, Source: w.source, Region: "eu-west-1", Channel: "stable", Key: k, Trusted: append(others, k.Public())}
}

// archive is a bundle that differs by its text.
func archive(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	tree := fstest.MapFS{"ecsnode.yaml": {Data: []byte("# " + text + "\n")}}
	if _, err := bundle.Build(tree, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) push(text string, percent int) *bundle.Channel {
	w.t.Helper()
	c, err := w.Push(w.t.Context(), publish.Push{Archive: archive(w.t, text), Percent: percent, Force: true, Note: publish.Note{Reason: text}})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// told is a channel in short: serial, stable, canary.
func (w *world) told(c *bundle.Channel, err error) string {
	w.t.Helper()
	if err != nil {
		return err.Error()
	}
	names := map[bundle.Digest]string{}
	for _, text := range []string{"a", "b", "c"} {
		names[bundle.Sum(archive(w.t, text))] = text
	}
	one := func(s bundle.Slot) string { return names[s.Digest] + strings.Repeat("+", s.Attempt) }
	text := fmt.Sprintf("%d: %s", c.Serial, one(c.Stable))
	if c.Canary != nil {
		text += fmt.Sprintf(", %s for %d%%", one(c.Canary.Slot), c.Canary.Percent)
	}
	return text
}

func (w *world) expect(want string) {
	w.t.Helper()
	if got := w.told(w.Current(w.t.Context())); got != want {
		w.t.Errorf("the channel is %q, want %q", got, want)
	}
}

func digest(t *testing.T, text string) bundle.Digest { return bundle.Sum(archive(t, text)) }

func TestTheLifeOfAChannel(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		if _, err := w.Current(ctx); !errors.Is(err, facts.ErrAbsent) {
			t.Fatal(err)
		}
		if _, err := w.Push(ctx, publish.Push{Archive: archive(t, "a")}); !errors.Is(err, publish.ErrFirst) {
			t.Errorf("the first: %v", err)
		}
		w.push("a", 100)
		w.expect("1: a")
		c, err := w.Push(ctx, publish.Push{Archive: archive(t, "b")})
		if got := w.told(c, err); got != "2: a, b for 10%" {
			t.Error(got)
		}
		if _, err := w.Push(ctx, publish.Push{Archive: archive(t, "c"), Percent: 100}); !errors.Is(err, publish.ErrAll) {
			t.Errorf("all at once: %v", err)
		}
		if _, err := w.Push(ctx, publish.Push{Archive: archive(t, "a")}); err == nil || !strings.Contains(err.Error(), "is stable already") {
			t.Errorf("what is stable: %v", err)
		}
		for _, percent := range []int{0, 5, 10, 101} {
			if _, err := w.Promote(ctx, digest(t, "b"), percent, publish.Note{}); err == nil {
				t.Errorf("promoted to %d%%", percent)
			}
		}
		if _, err := w.Promote(ctx, digest(t, "c"), 50, publish.Note{}); !errors.Is(err, publish.ErrRace) {
			t.Errorf("another canary than was judged: %v", err)
		}
		if got := w.told(w.Promote(ctx, digest(t, "b"), 50, publish.Note{})); got != "3: a, b for 50%" {
			t.Error(got)
		}
		if got := w.told(w.Promote(ctx, digest(t, "b"), 100, publish.Note{})); got != "4: b" {
			t.Error(got)
		}
		w.push("c", 20)
		if got := w.told(w.Rollback(ctx, "", publish.Note{})); got != "6: b" {
			t.Errorf("a canary is taken back: %s", got)
		}
		if got := w.told(w.Rollback(ctx, "", publish.Note{Reason: "b is slow"})); got != "7: a" {
			t.Errorf("to what was stable before: %s", got)
		}
		if got := w.told(w.Rollback(ctx, string(digest(t, "c"))[:12], publish.Note{})); got != "8: c" {
			t.Errorf("to a named one: %s", got)
		}
		if _, err := w.Rollback(ctx, string(digest(t, "c")), publish.Note{}); err == nil {
			t.Error("to what is stable already")
		}
		if _, err := w.Rollback(ctx, "0000", publish.Note{}); err == nil {
			t.Error("to what never was")
		}
		if _, err := w.Retry(ctx, string(digest(t, "a")), publish.Note{}); err == nil || !strings.Contains(err.Error(), "neither stable nor canary") {
			t.Errorf("retry of what nobody runs: %v", err)
		}
		if got := w.told(w.Retry(ctx, string(digest(t, "c"))[:12], publish.Note{})); got != "9: c+" {
			t.Error(got)
		}
		w.push("b", 10)
		if got := w.told(w.Retry(ctx, string(digest(t, "b")), publish.Note{})); got != "10: c+, b for 10%" && got != "11: c+, b+ for 10%" {
			t.Error(got)
		}
		w.push("a", 10) // takes the place of b
		w.push("b", 10) // and back: nodes do not try b anew
		w.expect("13: c+, b+ for 10%")

		history, err := w.History(ctx, 100)
		if err != nil || len(history) != 13 {
			t.Fatalf("%d, %v", len(history), err)
		}
		for i, past := range history {
			if past.Err != nil || past.Serial != uint64(13-i) || past.Channel.Serial != past.Serial {
				t.Errorf("%+v", past)
			}
		}
		if history[6].Channel.Reason != "b is slow" {
			t.Errorf("%+v", history[6].Channel)
		}
		if history, err := w.History(ctx, 2); err != nil || len(history) != 3 {
			t.Errorf("%d, %v", len(history), err)
		}
	})
}

// TestTwoWhoPushAtOnce: one of them is told that the other came before; nothing is
// lost, and no serial is there twice.
func TestTwoWhoPushAtOnce(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.push("a", 100)
		rounds := 10
		if w.World == nil {
			rounds = 3
		}
		for round := range rounds {
			before, err := w.Current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var both sync.WaitGroup
			results := make([]error, 2)
			for i := range results {
				both.Go(func() {
					text := fmt.Sprintf("round %d by %d", round, i)
					_, results[i] = w.Push(t.Context(), publish.Push{Archive: archive(t, text), Note: publish.Note{Reason: text}})
				})
			}
			both.Wait()
			now, err := w.Current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			won := 0
			for i, err := range results {
				switch {
				case err == nil:
					won++
				case !errors.Is(err, publish.ErrRace):
					t.Errorf("round %d, %d: %v", round, i, err)
				}
			}
			if won == 0 || now.Serial != before.Serial+uint64(won) {
				t.Errorf("round %d: %d won, from serial %d to %d: %v", round, won, before.Serial, now.Serial, results)
			}
		}
		history, err := w.History(t.Context(), 100)
		if err != nil || uint64(len(history)) != history[0].Serial {
			t.Errorf("%d documents, %v", len(history), err)
		}
	})
}

// interposer lets another publisher write at the worst instant.
type interposer struct {
	publish.Bucket
	before func(o facts.Object)
}

func (i *interposer) Put(ctx context.Context, o facts.Object, body []byte, only facts.Condition) (string, error) {
	if f := i.before; f != nil && strings.HasSuffix(o.Key, bundle.ChannelKey("stable")) {
		i.before = nil
		f(o)
	}
	return i.Bucket.Put(ctx, o, body, only)
}

func TestAPushThatComesBetweenIsNotOverwritten(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		slow := *w.Publisher
		slow.Bucket = &interposer{w.bucket, func(facts.Object) { w.push("a", 100) }}
		if _, err := slow.Push(t.Context(), publish.Push{Archive: archive(t, "b"), Percent: 100}); !errors.Is(err, publish.ErrRace) {
			t.Errorf("as the first: %v", err)
		}
		w.expect("1: a")
		slow.Bucket = &interposer{w.bucket, func(facts.Object) { w.push("b", 30) }}
		if _, err := slow.Push(t.Context(), publish.Push{Archive: archive(t, "c")}); !errors.Is(err, publish.ErrRace) {
			t.Errorf("later: %v", err)
		}
		w.expect("2: a, b for 30%")
	})
}

func TestAnAnswerThatGotLost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.push("a", 100)
		if err := w.SetFault("s3/PutObject", sim.Fault{Kind: sim.FaultReset, Processed: true}); err != nil {
			t.Fatal(err)
		}
		// Every write is done, and none answered: the first that needs an answer fails.
		if _, err := w.Push(t.Context(), publish.Push{Archive: archive(t, "b")}); err == nil {
			t.Error("no error")
		}
		w.ClearFaults()
		w.expect("1: a")
		if got := w.told(w.Push(t.Context(), publish.Push{Archive: archive(t, "b")})); got != "2: a, b for 10%" {
			t.Error(got)
		}
		// The document alone.
		lost := *w.Publisher
		lost.Bucket = &interposer{w.bucket, func(facts.Object) {
			if err := w.SetFault("s3/PutObject", sim.Fault{Kind: sim.FaultReset, Processed: true, Count: 1}); err != nil {
				t.Fatal(err)
			}
		}}
		if got := w.told(lost.Promote(t.Context(), digest(t, "b"), 100, publish.Note{})); got != "3: b" {
			t.Error(got)
		}
		w.expect("3: b")
	})
}

// TestKeysAreRotated: the new key is trusted beside the old one first.
func TestKeysAreRotated(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		first, second := key(t), key(t)
		w.Publisher = w.by(first)
		w.push("a", 100)
		w.Publisher = w.by(second)
		if _, err := w.Push(t.Context(), publish.Push{Archive: archive(t, "b")}); !errors.Is(err, bundle.ErrKey) {
			t.Errorf("a key that does not know the other: %v", err)
		}
		w.Publisher = w.by(second, first.Public())
		w.push("b", 10)
		w.expect("2: a, b for 10%")
		// Who trusts the new key alone sees what the old one has signed, and does
		// not believe it.
		history, err := w.by(second).History(t.Context(), 10)
		if err != nil || len(history) != 2 || !errors.Is(history[1].Err, bundle.ErrKey) || history[0].Err != nil {
			t.Errorf("%+v, %v", history, err)
		}
		if _, err := w.by(first).Current(t.Context()); !errors.Is(err, bundle.ErrKey) {
			t.Errorf("the old key alone: %v", err)
		}
	})
}

func TestWhatOthersPutThereIsNotCarriedOn(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.push("a", 100)
		at := source.Prefix + bundle.ChannelKey("stable")
		first, _ := w.Object(source.Bucket, at)
		w.push("b", 100)
		second, _ := w.Object(source.Bucket, at)

		// A bundle that was swapped.
		b := digest(t, "b")
		w.PutObject(source.Bucket, source.Prefix+bundle.ObjectKey(b), archive(t, "evil"))
		if _, err := w.Push(t.Context(), publish.Push{Archive: archive(t, "b"), Percent: 10}); err == nil {
			t.Error("pushed again while it is stable")
		}
		w.push("a", 10)
		if _, err := w.Rollback(t.Context(), string(b), publish.Note{}); !errors.Is(err, bundle.ErrDigest) {
			t.Errorf("rolled back to what was swapped: %v", err)
		}
		w.push("c", 100)
		if _, err := w.Push(t.Context(), publish.Push{Archive: archive(t, "b")}); !errors.Is(err, bundle.ErrDigest) {
			t.Errorf("pushed what was swapped: %v", err)
		}

		// A document of another channel, and a changed one.
		beta := *w.Publisher
		beta.Channel = "beta"
		w.PutObject(source.Bucket, source.Prefix+bundle.ChannelKey("beta"), second)
		if _, err := beta.Current(t.Context()); !errors.Is(err, bundle.ErrSignature) {
			t.Errorf("another channel's: %v", err)
		}
		w.PutObject(source.Bucket, at, append(bytes.Clone(second), ' '))
		if _, err := w.Rollback(t.Context(), "", publish.Note{}); !errors.Is(err, bundle.ErrSignature) {
			t.Errorf("changed: %v", err)
		}

		// The past under another serial.
		w.PutObject(source.Bucket, at, second)
		w.PutObject(source.Bucket, source.Prefix+bundle.HistoryKey("stable", 77), first)
		history, err := w.History(t.Context(), 10)
		if err != nil || history[1].Serial != 77 || history[1].Err == nil {
			t.Errorf("%+v, %v", history, err)
		}
	})
}

func TestAChannelThatWasRemovedGoesOnWhereItWas(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.push("a", 100)
		w.push("b", 100)
		w.push("c", 100)
		w.DeleteObject(source.Bucket, source.Prefix+bundle.ChannelKey("stable"))
		w.push("a", 100)
		w.expect("4: a")
	})
}

func TestHowLongADocumentCounts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		day := 24 * time.Hour
		for _, tc := range []struct {
			expires *time.Duration
			want    time.Duration
		}{{nil, 0}, {new(90 * day), 90 * day}, {nil, 90 * day}, {new(time.Duration(0)), 0}, {nil, 0}} {
			time.Sleep(7 * day)
			c, err := w.Push(t.Context(), publish.Push{Archive: archive(t, time.Now().String()), Percent: 100, Force: true, Note: publish.Note{Expires: tc.expires}})
			if err != nil {
				t.Fatal(err)
			}
			var got time.Duration
			if !c.Expires.IsZero() {
				got = time.Until(c.Expires)
			}
			if diff := got - tc.want; diff.Abs() > time.Minute {
				t.Errorf("it counts for %v, want %v", got, tc.want)
			}
		}
	})
}

func TestWithoutPermission(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.push("a", 100)
		w.Deny("s3:PutObject")
		if _, err := w.Push(t.Context(), publish.Push{Archive: archive(t, "b")}); !errors.Is(err, facts.ErrRefused) {
			t.Error(err)
		}
		w.expect("1: a")
	})
}

func TestJudging(t *testing.T) {
	t.Parallel()
	c := &bundle.Channel{Name: "stable", Canary: &bundle.Canary{Slot: bundle.Slot{Digest: bundle.Sum([]byte("canary"))}, Percent: 10}}
	canary := c.Canary.Digest.Short()
	fleet := func(n int, says func(i int, chosen bool) string) (all []facts.Member) {
		tried := 0
		for i := range n {
			id := fmt.Sprintf("i-%017x", i)
			chosen := bundle.InCanary(id, c.Canary.Digest, 10)
			m := facts.Member{InstanceID: id, Attribute: says(tried, chosen)}
			if chosen {
				tried++
			}
			all = append(all, m)
		}
		return all
	}
	const other = "stable/0123456789ab:well"
	when := func(chosen func(i int) string) func(int, bool) string {
		return func(i int, is bool) string {
			if is {
				return chosen(i)
			}
			return other
		}
	}
	for name, tc := range map[string]struct {
		members []facts.Member
		against []string
	}{
		"all are well": {fleet(1000, when(func(int) string { return "stable/" + canary + ":well" })), nil},
		"four of five are well": {fleet(1000, when(func(i int) string {
			return []string{"stable/" + canary + ":well", "stable/" + canary + ":trying"}[min(1, i%5/4)]
		})), nil},
		"half are well": {fleet(1000, when(func(i int) string { return []string{"stable/" + canary + ":well", "stable/" + canary + ":trying"}[i%2] })), []string{"and 80% should be"}},
		"one went back": {fleet(1000, when(func(i int) string {
			return []string{other + "/" + canary + ":bad", "stable/" + canary + ":well"}[min(i, 1)]
		})), []string{"1 of the nodes went back from it: i-"}},
		"all went back":                  {fleet(1000, when(func(int) string { return other + "/" + canary + ":bad" })), []string{"went back from it: i-", "0 of the"}},
		"nobody says anything":           {fleet(1000, func(int, bool) string { return "" }), []string{"say nothing of it"}},
		"all say something else":         {fleet(1000, func(int, bool) string { return "something" }), []string{"say nothing of it"}},
		"all run what is stable":         {fleet(1000, func(int, bool) string { return other }), []string{"say nothing of it"}},
		"all follow another channel":     {fleet(1000, func(int, bool) string { return "beta/" + canary + ":well" }), []string{"none of 0 nodes"}},
		"a cluster without nodes":        {nil, []string{"none of 0 nodes"}},
		"one not chosen that went back":  {append(fleet(1000, when(func(int) string { return "stable/" + canary + ":well" })), facts.Member{InstanceID: "i-late", Attribute: other + "/" + canary + ":bad"}), []string{"went back from it: i-late"}},
		"another channel's that is sick": {append(fleet(1000, when(func(int) string { return "stable/" + canary + ":well" })), facts.Member{InstanceID: "i-beta", Attribute: "beta/0123456789ab:well/" + canary + ":bad"}), nil},
	} {
		against := publish.Judge(c, tc.members).Against()
		if len(against) != len(tc.against) {
			t.Errorf("%s: %q", name, against)
			continue
		}
		for i, want := range tc.against {
			if !strings.Contains(against[i], want) {
				t.Errorf("%s: %q, want %s", name, against[i], want)
			}
		}
	}
}
