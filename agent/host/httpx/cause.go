package httpx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// WithTimeout is context.WithTimeout for a request: what Cause says of a request
// that it ends is "no answer within 2s".
func WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, timeout(d))
}

type timeout time.Duration

func (t timeout) Error() string      { return fmt.Sprintf("no answer within %v", time.Duration(t)) }
func (timeout) Timeout() bool        { return true }
func (timeout) Is(target error) bool { return target == context.DeadlineExceeded }

// Cause says in a few words why a request, made with ctx, got no answer. The
// same failure has the same words each time (no ports, no ids, no times), so
// that they can be part of what is published.
func Cause(ctx context.Context, err error) string {
	var op *net.OpError
	var ours timeout
	switch {
	case timedOut(err) && errors.As(context.Cause(ctx), &ours):
		return ours.Error()
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return "proxy: " + cause(op.Err)
	}
	return cause(err)
}

func cause(err error) string {
	var tooLong *AnswerTooLong
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var errno syscall.Errno
	switch {
	case errors.As(err, &tooLong):
		return tooLong.Error()
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host: " + dns.Name
	case errors.As(err, &dns):
		return "cannot look up " + dns.Name
	case errors.As(err, &cert):
		return "certificate not trusted: " + Excerpt(cert.Err.Error())
	case errors.As(err, &errno):
		return errno.Error()
	case timedOut(err):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the answer was cut short"
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return "the connection was closed without an answer"
	}
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	return Excerpt(err.Error())
}

func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// excerptLen bounds, in bytes, what a message quotes of a stranger's text.
const excerptLen = 160

// Excerpt is the beginning of somebody else's text, on one line and printable,
// to be quoted in a message.
func Excerpt(text string) string {
	cut := text
	if len(cut) > excerptLen {
		cut = cut[:excerptLen]
		for len(cut) > 0 && !utf8.RuneStart(text[len(cut)]) {
			cut = cut[:len(cut)-1]
		}
	}
	quoted := fmt.Sprintf("%q", strings.Join(strings.Fields(cut), " "))
	quoted = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	if len(cut) < len(text) {
		quoted += "…"
	}
	return quoted
}
