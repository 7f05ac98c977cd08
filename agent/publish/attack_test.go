package publish_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/publish"
)

// Who may write into the bucket and has no key gains nothing by what others sign
// afterwards.

func TestADocumentThatWasPlayedBackIsNotCarriedOn(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.push("a", 100)
		at := source.Prefix + bundle.ChannelKey("stable")
		old, _ := w.Object(source.Bucket, at)
		w.push("b", 100)
		last, _ := w.Object(source.Bucket, at)
		w.push("c", 100)
		w.PutObject(source.Bucket, at, old)
		if c, err := w.Push(t.Context(), publish.Push{Archive: archive(t, "d")}); !errors.Is(err, publish.ErrPlayedBack) {
			t.Errorf("a new canary beside a bundle of long ago: %s", w.told(c, err))
		}
		if c, err := w.Retry(t.Context(), string(digest(t, "a")), publish.Note{}); !errors.Is(err, publish.ErrPlayedBack) {
			t.Errorf("a retry of a bundle of long ago: %s", w.told(c, err))
		}
		w.expect("1: a")
		// What the error says to do.
		w.PutObject(source.Bucket, at, last)
		if got := w.told(w.Push(t.Context(), publish.Push{Archive: archive(t, "c")})); got != "3: b, c for 10%" {
			t.Error(got)
		}
	})
}

func TestAHistoryThatSomebodyMadeUpCountsForNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.push("a", 100)
		w.push("b", 100)
		for _, serial := range []uint64{77, 1<<64 - 1} {
			w.PutObject(source.Bucket, source.Prefix+bundle.HistoryKey("stable", serial), []byte("nothing"))
		}
		w.push("c", 100)
		w.expect("3: c")
		w.DeleteObject(source.Bucket, source.Prefix+bundle.ChannelKey("stable"))
		w.push("a", 100)
		w.expect("4: a")
	})
}

// TestARollbackPassesNoGap: with a part of the history gone, what was stable before
// is not what is found.
func TestARollbackPassesNoGap(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.push("a", 100)
		w.push("b", 100)
		w.push("c", 100)
		w.DeleteObject(source.Bucket, source.Prefix+bundle.HistoryKey("stable", 2))
		w.PutObject(source.Bucket, source.Prefix+bundle.HistoryKey("stable", 77), []byte("nothing"))
		if c, err := w.Rollback(t.Context(), "", publish.Note{}); err == nil || !strings.Contains(err.Error(), "serial 2") {
			t.Errorf("it went past what is missing: %s", w.told(c, err))
		}
		if got := w.told(w.Rollback(t.Context(), string(digest(t, "a")), publish.Note{})); got != "4: a" {
			t.Error(got)
		}
	})
}

// TestTheSameCanaryAgain takes it from no node that tries it, and gives it to none
// whose turn nobody has judged.
func TestTheSameCanaryAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.push("a", 100)
		w.push("b", 50)
		for _, percent := range []int{0, 10, 90} {
			if c, err := w.Push(t.Context(), publish.Push{Archive: archive(t, "b"), Percent: percent}); err == nil || !strings.Contains(err.Error(), "50% of the nodes try bundle") {
				t.Errorf("for %d%%: %s", percent, w.told(c, err))
			}
		}
		w.expect("2: a, b for 50%")
		if got := w.told(w.Push(t.Context(), publish.Push{Archive: archive(t, "b"), Percent: 50})); got != "3: a, b for 50%" {
			t.Error(got)
		}
		if got := w.told(w.Push(t.Context(), publish.Push{Archive: archive(t, "b"), Percent: 10, Force: true})); got != "4: a, b for 10%" {
			t.Error(got)
		}
	})
}

func TestADocumentThatHasExpiredIsNotRenewedUnasked(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		day := 24 * time.Hour
		if _, err := w.Push(t.Context(), publish.Push{Archive: archive(t, "a"), Percent: 100, Note: publish.Note{Expires: new(90 * day)}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(91 * day)
		if c, err := w.Push(t.Context(), publish.Push{Archive: archive(t, "b")}); !errors.Is(err, publish.ErrExpired) {
			t.Errorf("renewed: %s", w.told(c, err))
		}
		if got := w.told(w.Push(t.Context(), publish.Push{Archive: archive(t, "b"), Note: publish.Note{Expires: new(90 * day)}})); got != "2: a, b for 10%" {
			t.Error(got)
		}
	})
}
