package sim

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// s3Protocol is REST: the operation is in method, host and path, and only
// errors and lists are XML.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
type s3Protocol struct{}

// s3Answer is an answer of S3: with XML, or with the bytes of an object.
type s3Answer struct {
	status int
	header map[string]string
	raw    []byte
	body   any
}

// s3Error is the body of an error.
type s3Error struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	Endpoint  string `xml:",omitempty"`
	Bucket    string `xml:",omitempty"`
	RequestID string `xml:"RequestId"`
	HostID    string `xml:"HostId"`
}

func (s3Protocol) writeAnswer(w http.ResponseWriter, _, requestID string, answer any) {
	a, ok := answer.(*s3Answer)
	if !ok {
		a = &s3Answer{status: http.StatusOK, body: answer}
	}
	h := w.Header()
	h.Set("X-Amz-Request-Id", requestID)
	h.Set("Server", "AmazonS3")
	for name, value := range a.header {
		h.Set(name, value)
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		_, _ = w.Write(a.raw) // nothing where there may be none: to HEAD, with 204 and 304
		return
	}
	var body bytes.Buffer
	body.WriteString(xml.Header)
	if err := xml.NewEncoder(&body).Encode(a.body); err != nil {
		http.Error(w, "cannot encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(a.status)
	_, _ = w.Write(body.Bytes())
}

func (p s3Protocol) writeError(w http.ResponseWriter, requestID string, e *apiError) {
	p.writeAnswer(w, "", requestID, &s3Answer{
		status: e.Status, body: s3Error{Code: e.Code, Message: e.Message, RequestID: requestID},
	})
}

var (
	noSuchBucket       = &apiError{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist"}
	noSuchKey          = &apiError{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	preconditionFailed = &apiError{http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"}
	notImplemented     = &apiError{http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented"}
)

// refusal: codes of
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
func (s3Protocol) refusal(why authFailure) *apiError {
	switch why {
	case unsigned:
		return &apiError{http.StatusForbidden, "AccessDenied", "Access Denied"}
	case malformed, wrongScope:
		return &apiError{http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header that you provided is not valid."}
	case unknownKey:
		return &apiError{http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."}
	case expiredToken:
		return &apiError{http.StatusBadRequest, "ExpiredToken", "The provided token has expired."}
	case clockSkewed:
		return &apiError{http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."}
	default:
		return &apiError{
			http.StatusForbidden, "SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided. Check your key and signing method.",
		}
	}
}

// denied: https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html
func (s3Protocol) denied(principal, action, resource string) *apiError {
	return &apiError{http.StatusForbidden, "AccessDenied", fmt.Sprintf(
		"User: %s is not authorized to perform: %s on resource: %q because no identity-based policy allows the %s action",
		principal, action, resource, action)}
}

// throttled: https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
func (s3Protocol) throttled() *apiError {
	return &apiError{http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate."}
}

func (s3Protocol) failure(status int) *apiError {
	code := map[int]string{
		http.StatusBadRequest:          "InvalidRequest",
		http.StatusForbidden:           "AccessDenied",
		http.StatusNotFound:            "NoSuchKey",
		http.StatusConflict:            "ConditionalRequestConflict",
		http.StatusPreconditionFailed:  "PreconditionFailed",
		http.StatusTooManyRequests:     "SlowDown",
		http.StatusInternalServerError: "InternalError",
		http.StatusServiceUnavailable:  "ServiceUnavailable",
	}[status]
	if code == "" {
		code = "InternalError"
	}
	return &apiError{status, code, "An error has occurred (" + http.StatusText(status) + ")"}
}

// What X-Amz-Content-Sha256 says where it is no hash.
const (
	unsignedPayload = "UNSIGNED-PAYLOAD"
	unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	signedChunks    = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	signedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
)

// signS3: S3 signs the path as it is sent, a header in the place of the body, and
// for the Region of the endpoint, whichever the caller is in; its clock may be
// 15 minutes off (RequestTimeTooSkewed).
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
func signS3(r *http.Request) signing {
	return signing{
		service: "s3", region: s3Region(r), maxSkew: 15 * time.Minute,
		payload: r.Header.Get("X-Amz-Content-Sha256"), plainPath: true,
	}
}

// unchunk takes a body out of pieces that each have their length in hexadecimal
// on a line of its own before them. The trailer behind the last is not looked at.
func unchunk(chunked []byte) (body []byte, whole bool) {
	for {
		line, rest, found := bytes.Cut(chunked, []byte("\r\n"))
		length, _, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseUint(length, 16, 32)
		switch {
		case !found || err != nil:
			return nil, false
		case n == 0:
			return body, true
		case uint64(len(rest)) < n+2 || !bytes.Equal(rest[n:n+2], []byte("\r\n")):
			return nil, false
		}
		body = append(body, rest[:n]...)
		chunked = rest[n+2:]
	}
}
