package child_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/host/child"
)

func tail(t *testing.T) (*child.Tail, func() string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "log")
	out, err := child.OpenTail(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	return out, func() string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
}

// Of whatever is written, in whatever pieces, the end is there, and the file is small.
func TestATailKeepsTheEnd(t *testing.T) {
	for _, piece := range []int{1, 7, 1000, 32 << 10, 64 << 10, 200_000} {
		t.Run(fmt.Sprint(piece), func(t *testing.T) {
			out, read := tail(t)
			var all bytes.Buffer
			for i := 0; all.Len() < 300_000; i++ {
				fmt.Fprintf(&all, "line %d\n", i)
			}
			whole := all.String()
			for rest := []byte(whole); len(rest) > 0; {
				n := min(piece, len(rest))
				if wrote, err := out.Write(rest[:n]); wrote != n || err != nil {
					t.Fatal(wrote, err)
				}
				rest = rest[n:]
			}
			out.Note("the %s", "end")
			got := read()
			if !strings.HasSuffix(whole+"the end\n", got) || len(got) < 30<<10 || len(got) > 64<<10 {
				t.Errorf("%d bytes, ending in %q", len(got), got[max(0, len(got)-40):])
			}
		})
	}
}

func TestHowACommandEnds(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		status int
		says   string
	}{
		"well":                            {"echo yes", 0, "yes\n"},
		"with a status":                   {"echo no >&2; exit 3", 3, "no\n"},
		"by a signal":                     {"kill -9 $$", 137, ""},
		"leaving one that has its output": {"echo begun; sleep 60 & exit 4", 4, "begun\n"},
		"well, leaving one":               {"sleep 60 & echo begun", 0, "begun\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out, read := tail(t)
			began := time.Now()
			status, err := child.Run(t.Context(), []string{"/bin/sh", "-c", c.script}, out, time.Second)
			if status != c.status || err != nil || read() != c.says {
				t.Errorf("status %d, %v, %q", status, err, read())
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestACommandThatIsNotThere(t *testing.T) {
	out, _ := tail(t)
	if status, err := child.Run(t.Context(), []string{"/does/not/exist"}, out, time.Second); status == 0 || err == nil {
		t.Errorf("status %d, %v", status, err)
	}
}

// One that was told to end and does not is killed after its grace.
func TestACommandThatDoesNotHeedItsEnd(t *testing.T) {
	out, _ := tail(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if status, err := child.Run(ctx, []string{"/bin/sleep", "60"}, out, 50*time.Millisecond); status != 137 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
}

// Outside of a job's unit nothing is ended: a test is not one.
func TestOnlyTheProcessesOfAJobAreEnded(t *testing.T) {
	if n, err := child.EndOthers(0, false); n != 0 || err == nil {
		t.Errorf("%d ended, %v", n, err)
	}
}
