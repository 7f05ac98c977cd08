package bundle

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// line is the way to a bucket.
type line struct {
	bucket
	down  bool
	asked int
}

func (l *line) ask() error {
	l.asked++
	if l.down {
		return fmt.Errorf("%w: connection reset by peer", facts.ErrUnavailable)
	}
	return nil
}

func (l *line) Get(ctx context.Context, o facts.Object, limit int64) (facts.Content, error) {
	if err := l.ask(); err != nil {
		return facts.Content{}, err
	}
	return l.bucket.Get(ctx, o, limit)
}

func (l *line) GetIfChanged(ctx context.Context, o facts.Object, etag string, limit int64) (facts.Content, bool, error) {
	if err := l.ask(); err != nil {
		return facts.Content{}, false, err
	}
	return l.bucket.GetIfChanged(ctx, o, etag, limit)
}

func TestADayWithoutS3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		s3 := &line{bucket: b.s3}
		start := func() *Duty {
			d, _ := b.start(-1)
			d.Objects = s3
			return d
		}
		pass := func(d *Duty, minutes int) (err error) {
			for range minutes {
				time.Sleep(time.Minute)
				b.well()
				_, err = d.Reconcile(t.Context())
			}
			return err
		}
		good := b.publish(tree("good", 2))
		d := start()
		if err := pass(d, 60); err != nil || b.inEffect() != good {
			t.Fatalf("%s is in effect: %v", b.inEffect(), err)
		}
		s3.down, s3.asked = true, 0
		for hour := range 24 {
			if hour == 12 {
				d = start() // the agent is upgraded meanwhile
			}
			if err := pass(d, 60); !errors.Is(err, facts.ErrUnavailable) || b.inEffect() != good {
				t.Fatalf("after %d hours %s is in effect: %v", hour+1, b.inEffect(), err)
			}
		}
		if s3.asked < 24*4 || s3.asked > 24*60 {
			t.Errorf("S3 was asked %d times in a day", s3.asked)
		}
		next := b.publish(tree("next", 2))
		s3.down = false
		if err := pass(d, 20); err != nil || b.inEffect() != next {
			t.Errorf("when S3 is back %s is in effect: %v", b.inEffect(), err)
		}
	})
}
