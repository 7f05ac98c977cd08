package sim

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// authFailure is why a request's signature is not accepted.
type authFailure int

const (
	authenticated     authFailure = iota
	unsigned                      // no Authorization header
	malformed                     // an Authorization header that is not SigV4
	wrongScope                    // signed for another service, region or day
	unknownKey                    // an access key or session token never handed out
	expiredToken                  // credentials past their end
	clockSkewed                   // signed too long ago, or in the future
	signatureMismatch             // signed with another secret, or changed since
)

// maxClockSkew is how far a signature's time may be off.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
// ("within 5 minutes of the time stamp in the request").
const maxClockSkew = 5 * time.Minute

// amzDate is the layout of X-Amz-Date.
const amzDate = "20060102T150405Z"

// authorization is a parsed Authorization header.
type authorization struct {
	accessKeyID, date, region, service string
	signedHeaders                      []string
	signature                          string
}

var errNotSigV4 = errors.New("not an AWS4-HMAC-SHA256 authorization")

// parseAuthorization parses "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…,
// Signature=…". Form:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func parseAuthorization(header string) (authorization, error) {
	rest, ok := strings.CutPrefix(header, "AWS4-HMAC-SHA256 ")
	if !ok {
		return authorization{}, errNotSigV4
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[key] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" || fields["SignedHeaders"] == "" || fields["Signature"] == "" {
		return authorization{}, errNotSigV4
	}
	return authorization{
		accessKeyID: scope[0], date: scope[1], region: scope[2], service: scope[3],
		signedHeaders: strings.Split(fields["SignedHeaders"], ";"), signature: fields["Signature"],
	}, nil
}

// signing is how an API's requests are signed. The zero value of a field but the
// first is what most APIs have.
type signing struct {
	service   string
	region    string        // "": the caller's
	maxSkew   time.Duration // 0: maxClockSkew
	payload   string        // what is signed in the body's place; "": its SHA-256
	plainPath bool          // the path is not escaped once more
}

// authenticate finds out who signed r as its API asks for.
func (w *World) authenticate(r *http.Request, body []byte, as signing) (*credentials, authFailure) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return nil, unsigned
	}
	claim, err := parseAuthorization(header)
	if err != nil || !slices.Contains(claim.signedHeaders, "host") {
		return nil, malformed
	}
	signedAt, err := time.Parse(amzDate, r.Header.Get("X-Amz-Date"))
	if err != nil {
		return nil, malformed
	}
	w.mu.Lock()
	known, ahead := w.credentials[claim.accessKeyID], w.ahead
	w.mu.Unlock()
	now := time.Now()
	switch {
	case known == nil, r.Header.Get("X-Amz-Security-Token") != known.token:
		return nil, unknownKey
	case !now.Before(known.expires):
		return nil, expiredToken
	case claim.service != as.service, claim.region != cmp.Or(as.region, known.region), claim.date != signedAt.Format("20060102"):
		return nil, wrongScope
	case now.Add(ahead).Sub(signedAt).Abs() > cmp.Or(as.maxSkew, maxClockSkew):
		return nil, clockSkewed
	case !claim.signedBy(known, r, body, signedAt, as):
		return nil, signatureMismatch
	}
	return known, authenticated
}

// signedBy signs the request again, as far as the claim says it was signed,
// and compares.
func (a authorization) signedBy(c *credentials, r *http.Request, body []byte, at time.Time, as signing) bool {
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "/", nil)
	if err != nil {
		return false
	}
	again.URL = new(*r.URL)
	again.Host = r.Host
	for _, name := range a.signedHeaders {
		switch {
		case name == "host":
		case name == "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	payload := as.payload
	if payload == "" {
		sum := sha256.Sum256(body)
		payload = hex.EncodeToString(sum[:])
	}
	secret := aws.Credentials{AccessKeyID: c.accessKeyID, SecretAccessKey: c.secret, SessionToken: c.token}
	err = v4.NewSigner().SignHTTP(r.Context(), secret, again, payload, a.service, a.region, at,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = as.plainPath })
	if err != nil {
		return false
	}
	expected, err := parseAuthorization(again.Header.Get("Authorization"))
	return err == nil && subtle.ConstantTimeCompare([]byte(expected.signature), []byte(a.signature)) == 1
}
