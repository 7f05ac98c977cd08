package webhook_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/webhook"
)

func direct(*http.Request) (*url.URL, error) { return nil, nil }

func TestAMessageArrivesAsItIs(t *testing.T) {
	var got *http.Request
	var body []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer s.Close()
	m := facts.Message{URL: s.URL + "/hook", Headers: map[string]string{"Authorization": "Bearer x"}, Body: []byte(`{"a":1}`)}
	if err := webhook.New(webhook.Options{Proxy: direct}).Post(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got.Method != http.MethodPost || got.URL.Path != "/hook" || string(body) != `{"a":1}` ||
		got.Header.Get("Authorization") != "Bearer x" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s %v %s", got.Method, got.URL, got.Header, body)
	}
}

func TestWhatIsNotTakenIsToldWithoutTheSecretInTheURL(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		is     error
	}{
		"refused":     {http.StatusForbidden, facts.ErrRefused},
		"unavailable": {http.StatusBadGateway, facts.ErrUnavailable},
		"moved":       {http.StatusFound, facts.ErrUnavailable},
		"too many":    {http.StatusTooManyRequests, facts.ErrUnavailable},
		"no answer":   {0, facts.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.status == 0 {
					panic(http.ErrAbortHandler)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
			}))
			defer s.Close()
			err := webhook.New(webhook.Options{Proxy: direct}).Post(t.Context(), facts.Message{URL: s.URL + "/T0K3N"})
			if !errors.Is(err, c.is) || strings.Contains(err.Error(), "T0K3N") || !strings.Contains(err.Error(), strings.TrimPrefix(s.URL, "http://")) {
				t.Errorf("%v", err)
			}
		})
	}
	err := webhook.New(webhook.Options{Proxy: direct}).Post(t.Context(), facts.Message{URL: "http://%T0K3N"})
	if !errors.Is(err, facts.ErrRefused) || strings.Contains(err.Error(), "T0K3N") {
		t.Errorf("%v", err)
	}
}
