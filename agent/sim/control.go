package sim

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

const controlHelp = `The simulator's control API. Bodies are YAML or JSON, answers JSON.

GET    /_sim/state             everything there is
POST   /_sim/apply             a change, as a step of a scenario without "at"
GET    /_sim/tags              the instance's tags
PUT    /_sim/tags/KEY          set a tag to the body
DELETE /_sim/tags/KEY          remove a tag
GET    /_sim/faults            the faults that are set
PUT    /_sim/faults/PATTERN    set a fault, as under "faults" of a scenario
DELETE /_sim/faults[/PATTERN]  clear all faults, or one
GET    /_sim/calls             the call log; ?match=PATTERN&last=N
DELETE /_sim/calls             empty the call log and its counters
GET    /_sim/counts            calls by service and operation; ?match=PATTERN

A PATTERN is a service (imds), a service and an operation or the start of a
path (ec2/DescribeTags, imds/meta-data/tags), any of them with a * at the end.
`

// Control is the API for people and scripts under /_sim/. Its own requests are
// not in the call log.
func (w *World) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sim/{$}", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, controlHelp) })
	mux.HandleFunc("GET /_sim/state", func(rw http.ResponseWriter, _ *http.Request) { writeJSON(rw, http.StatusOK, w.State()) })

	mux.HandleFunc("POST /_sim/apply", controlled(func(_ *http.Request, body []byte) error {
		var c Change
		if err := decodeStrict(body, &c); err != nil {
			return err
		}
		return w.Apply(c)
	}))
	w.controlTags(mux)
	w.controlFaults(mux)
	w.controlCalls(mux)
	return mux
}

func (w *World) controlTags(mux *http.ServeMux) {
	mux.HandleFunc("GET /_sim/tags", func(rw http.ResponseWriter, _ *http.Request) { writeJSON(rw, http.StatusOK, w.Tags()) })
	mux.HandleFunc("PUT /_sim/tags/{key...}", controlled(func(r *http.Request, body []byte) error {
		return w.SetTag(r.PathValue("key"), string(body))
	}))
	mux.HandleFunc("DELETE /_sim/tags/{key...}", controlled(func(r *http.Request, _ []byte) error {
		w.DeleteTag(r.PathValue("key"))
		return nil
	}))
}

func (w *World) controlFaults(mux *http.ServeMux) {
	mux.HandleFunc("GET /_sim/faults", func(rw http.ResponseWriter, _ *http.Request) { writeJSON(rw, http.StatusOK, w.Faults()) })
	mux.HandleFunc("PUT /_sim/faults/{pattern...}", controlled(func(r *http.Request, body []byte) error {
		var f Fault
		if err := decodeStrict(body, &f); err != nil {
			return err
		}
		return w.SetFault(r.PathValue("pattern"), f)
	}))
	mux.HandleFunc("DELETE /_sim/faults", controlled(func(*http.Request, []byte) error {
		w.ClearFaults()
		return nil
	}))
	mux.HandleFunc("DELETE /_sim/faults/{pattern...}", controlled(func(r *http.Request, _ []byte) error {
		w.ClearFault(r.PathValue("pattern"))
		return nil
	}))
}

func (w *World) controlCalls(mux *http.ServeMux) {
	mux.HandleFunc("GET /_sim/calls", func(rw http.ResponseWriter, r *http.Request) {
		pattern := matchAll(r)
		calls := slices.DeleteFunc(w.Calls(), func(c Call) bool { return !matchesPattern(pattern, c.Service+"/"+c.Operation) })
		if last := r.URL.Query().Get("last"); last != "" {
			n, err := strconv.Atoi(last)
			if err != nil || n < 0 {
				http.Error(rw, "last is not a number: "+last, http.StatusBadRequest)
				return
			}
			calls = calls[max(0, len(calls)-n):]
		}
		writeJSON(rw, http.StatusOK, calls)
	})
	mux.HandleFunc("DELETE /_sim/calls", controlled(func(*http.Request, []byte) error {
		w.ResetCalls()
		return nil
	}))
	mux.HandleFunc("GET /_sim/counts", func(rw http.ResponseWriter, r *http.Request) {
		pattern, counts := matchAll(r), w.Counts()
		maps.DeleteFunc(counts, func(key string, _ int) bool { return !matchesPattern(pattern, key) })
		writeJSON(rw, http.StatusOK, counts)
	})
}

// matchAll is the pattern a request asks for, everything if it does not say.
func matchAll(r *http.Request) string {
	if pattern := r.URL.Query().Get("match"); pattern != "" {
		return pattern
	}
	return "*"
}

// controlled answers 204, or 400 with what is wrong with the request.
func controlled(do func(r *http.Request, body []byte) error) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxRequestBody))
		if err == nil {
			err = do(r, body)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		rw.WriteHeader(http.StatusNoContent)
	}
}
