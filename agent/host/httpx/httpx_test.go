package httpx_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

func TestAnswersAreWholeOrAnError(t *testing.T) {
	t.Parallel()
	const limit = 1 << 10
	for name, tc := range map[string]struct {
		serve  func(w http.ResponseWriter)
		length int
		cause  string
	}{
		"as long as may be": {
			serve:  func(w http.ResponseWriter) { fmt.Fprint(w, strings.Repeat("x", limit)) },
			length: limit,
		},
		"one byte more, announced": {
			serve: func(w http.ResponseWriter) {
				w.Header().Set("Content-Length", "1025")
				fmt.Fprint(w, strings.Repeat("x", limit+1))
			},
			cause: "the answer is longer than 1 KiB",
		},
		"one byte more, in pieces": {
			serve: func(w http.ResponseWriter) {
				for range limit + 1 {
					fmt.Fprint(w, "x")
					_ = http.NewResponseController(w).Flush()
				}
			},
			cause: "the answer is longer than 1 KiB",
		},
		"less than announced": {
			serve: func(w http.ResponseWriter) {
				w.Header().Set("Content-Length", "20")
				fmt.Fprint(w, "half of it")
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			},
			cause: "the answer was cut short",
		},
		"nothing": {
			serve: func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
			cause: "the connection was closed without an answer",
		},
		"headers without end": {
			serve: func(w http.ResponseWriter) { w.Header().Set("X-Long", strings.Repeat("x", 1<<20)) },
			cause: "net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded 65536 bytes; aborted",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { tc.serve(w) }))
			defer server.Close()
			client := httpx.NewClient(httpx.Options{MaxAnswer: limit})
			defer client.CloseIdleConnections()
			resp, err := client.Get(server.URL)
			if tc.cause != "" {
				if err == nil || httpx.Cause(t.Context(), err) != tc.cause {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || len(body) != tc.length {
				t.Errorf("%d bytes, %v", len(body), err)
			}
		})
	}
}

func TestWhatCameOfAnAnswerThatWasCutShortCanBeKept(t *testing.T) {
	t.Parallel()
	for status, kept := range map[int]bool{http.StatusOK: true, http.StatusPartialContent: true, http.StatusNotFound: false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "20")
			w.WriteHeader(status)
			fmt.Fprint(w, "half of it")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}))
		defer server.Close()
		client := httpx.NewClient(httpx.Options{})
		defer client.CloseIdleConnections()
		r, err := http.NewRequestWithContext(httpx.KeepPart(t.Context()), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		var body []byte
		resp, err := client.Do(r)
		if err == nil {
			body, err = io.ReadAll(resp.Body)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) || kept && string(body) != "half of it" || !kept && resp != nil {
			t.Errorf("%d: %q, %v", status, body, err)
		}
	}
}

func TestARequestMayHaveALimitOfItsOwn(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat("x", 2<<10))
	}))
	defer server.Close()
	client := httpx.NewClient(httpx.Options{MaxAnswer: 1 << 10})
	defer client.CloseIdleConnections()
	for limit, cause := range map[int64]string{2 << 10: "", 2<<10 - 1: "the answer is longer than 1 KiB", 0: "the answer is longer than 0 KiB"} {
		ctx := httpx.WithMaxAnswer(t.Context(), limit)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		switch {
		case err == nil:
			resp.Body.Close()
			if cause != "" {
				t.Errorf("%d: no error", limit)
			}
		case cause == "" || httpx.Cause(ctx, err) != cause:
			t.Errorf("%d: %v", limit, err)
		}
	}
}

func TestCauseSaysTheSameOfTheSame(t *testing.T) {
	t.Parallel()
	ours, cancel := httpx.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ours.Done()
	dial := func(err error) error {
		return &url.Error{Op: "Get", URL: "http://h/", Err: &net.OpError{Op: "dial", Addr: &net.TCPAddr{Port: 40123}, Err: err}}
	}
	for name, tc := range map[string]struct {
		ctx  context.Context
		err  error
		want string
	}{
		"refused":            {t.Context(), dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "connection refused"},
		"refused by a proxy": {t.Context(), &net.OpError{Op: "proxyconnect", Err: dial(syscall.ECONNREFUSED)}, "proxy: connection refused"},
		"time-out of ours":   {ours, dial(ours.Err()), "no answer within 1ns"},
		"time-out elsewhere": {t.Context(), dial(os.ErrDeadlineExceeded), "no answer in time"},
		"no such host":       {t.Context(), dial(&net.DNSError{Name: "h", IsNotFound: true}), "no such host: h"},
		"no name server":     {t.Context(), dial(&net.DNSError{Name: "h", Server: "10.0.0.2:53"}), "cannot look up h"},
		"closed":             {t.Context(), &url.Error{Err: io.EOF}, "the connection was closed without an answer"},
		"certificate":        {t.Context(), &url.Error{Err: x509.UnknownAuthorityError{}}, "x509: certificate signed by unknown authority"},
		"anything else":      {t.Context(), &url.Error{Op: "Get", URL: "http://h/", Err: errors.New("an  odd\nthing")}, "an odd thing"},
	} {
		if got := httpx.Cause(tc.ctx, tc.err); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestExcerptIsShortAndPrintable(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"as it is":       {`{"a": "Zürich"}`, `{"a": "Zürich"}`},
		"several lines":  {"one\r\n  two\tthree\n", "one two three"},
		"escapes":        {"\x1b[31mred\x00\xff", `\x1b[31mred\x00\xff`},
		"a long text":    {strings.Repeat("x", 500), strings.Repeat("x", 160) + "…"},
		"a long strange": {strings.Repeat("東", 500), strings.Repeat("東", 53) + "…"},
	} {
		got := httpx.Excerpt(tc.text)
		if got != tc.want || !utf8.ValidString(got) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}
