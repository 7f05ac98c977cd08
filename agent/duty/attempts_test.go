package duty_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
)

func TestWhatFailsForGoodIsTriedLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := duty.Attempts{Retry: duty.Retry{Min: 5 * time.Second, Max: 5 * time.Minute}}
		why := errors.New("it does not start")
		tries := 0
		for range 24 * 60 * 60 { // a pass each second, for a day
			if a.Early("a") == nil {
				tries++
				_ = a.Failed("a", why)
			}
			time.Sleep(time.Second)
		}
		if tries < 24*60/5 || tries > 24*60/5*3/2 {
			t.Errorf("%d tries in a day", tries)
		}
		if err := a.Failed("a", why); a.Early("a") != why || err != why {
			t.Error("it is not said why")
		}
		if a.Early("b") != nil {
			t.Error("another thing waits for it")
		}
		asked := cell.Comparable[string]()
		a.Asked = asked
		if a.Early("a") != why {
			t.Error("nobody has asked")
		}
		asked.Set("1")
		if a.Early("a") != nil {
			t.Error("it is too early for somebody who waits")
		}
		_ = a.Failed("a", why)
		if a.Early("a") != why {
			t.Error("who has asked once is not answered for ever")
		}
		a.Forget("a")
		if a.Early("a") != nil {
			t.Error("what is forgotten is still to come")
		}
	})
}
