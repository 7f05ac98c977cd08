package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Starts counts on disk how often ecsnode was started under a bundle that is
// being watched and has not ended in order: a bundle that keeps ecsnode from
// running cannot be judged by it.
const Starts = "/var/lib/ecsnode/bundle-starts.json"

// maxStarts are those that may end badly under one bundle.
const maxStarts = 3

type starts struct {
	Of    string         `json:"of"`    // the watch
	Count map[string]int `json:"count"` // by command: a power cut ends more than one
}

func (w *watch) key() string { return string(w.Digest) + " " + w.Since.UTC().Format(time.RFC3339Nano) }

// Start counts a start as one of the commands that make passes, before anything is
// read that the bundle has set. After too many it goes back to the last good bundle first, and says so; unless others
// make passes meanwhile, whose matter that is. Only one process at a time may be
// in Start or its end.
//
// What it returns takes the count back, for an end in order.
func Start(files fsx.FS, as string, alone bool) (wentBack string, end func() error, err error) {
	end = func() error { return nil }
	l, err := load(files)
	if err != nil {
		return "", end, err
	}
	linked, err := active(files)
	if err != nil || l.Watch == nil || l.Watch.Digest != linked {
		return "", end, err
	}
	s, err := readStarts(files)
	if err != nil || s.Of != l.Watch.key() || s.Count == nil {
		s = starts{l.Watch.key(), map[string]int{}}
	}
	if s.Count[as] < maxStarts || !alone {
		s.Count[as]++
		return "", func() error { return ended(files, s.Of, as) }, s.write(files)
	}
	why := fmt.Sprintf("ecsnode was started %d times under it and did not run", s.Count[as])
	l.condemn(linked, why, time.Now())
	err = l.save(files)
	wentBack = fmt.Sprintf("went back from bundle %s to %s: %s", name(linked), name(l.Good), why)
	return wentBack, end, errors.Join(err, turn(files, l.Good))
}

func ended(files fsx.FS, of, as string) error {
	s, err := readStarts(files)
	if err != nil || s.Of != of || s.Count[as] == 0 {
		return err
	}
	s.Count[as]--
	return s.write(files)
}

func readStarts(files fsx.FS) (s starts, err error) {
	data, err := files.ReadFile(Starts)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err
}

func (s starts) write(files fsx.FS) error {
	data, err := json.Marshal(s)
	if err == nil {
		_, err = files.WriteFile(Starts, append(data, '\n'), fsx.How{Mode: 0o600})
	}
	if err != nil {
		return fmt.Errorf("cannot count a start: %w", err)
	}
	return nil
}
