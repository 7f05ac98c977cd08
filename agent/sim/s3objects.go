package sim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// s3Call is a call about a bucket of the endpoint's Region.
type s3Call struct {
	*apiRequest
	s3Address
	in *bucket
}

// withBucket finds the bucket. One in another Region is answered with a redirect
// that no client of ours follows, but that says where it is.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/Redirects.html
func withBucket(handle func(*s3Call) (any, error)) func(*apiRequest) (any, error) {
	return func(r *apiRequest) (any, error) {
		call := &s3Call{apiRequest: r, s3Address: addressOf(r.http)}
		if err := call.unpack(); err != nil {
			return nil, err
		}
		if call.in = r.world.buckets[call.bucket]; call.in == nil {
			return nil, noSuchBucket
		}
		if at := s3Region(r.http); at != call.in.region {
			return &s3Answer{
				status: http.StatusMovedPermanently,
				header: map[string]string{"X-Amz-Bucket-Region": call.in.region},
				body: s3Error{
					Code:     "PermanentRedirect",
					Message:  "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
					Endpoint: call.bucket + ".s3." + call.in.region + ".amazonaws.com", Bucket: call.bucket, RequestID: r.id,
				},
			}, nil
		}
		return handle(call)
	}
}

// s3Region is the Region of the endpoint that r is sent to. One that serves all
// is of the Region that the request is signed for.
func s3Region(r *http.Request) string {
	if region := addressOf(r).region; region != "" {
		return region
	}
	signature, _ := parseAuthorization(r.Header.Get("Authorization"))
	return signature.region
}

// mayList says whether the caller may know which keys there are.
func (c *s3Call) mayList() bool { return c.allows("s3:ListBucket", "arn:aws:s3:::"+c.bucket) }

// missing is the answer for a key that is not there: "If you have the
// s3:ListBucket permission on the bucket, Amazon S3 returns an HTTP status code
// 404", else 403.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (c *s3Call) missing() error {
	if !c.mayList() {
		return s3Protocol{}.denied(c.caller.principal, "s3:ListBucket", "arn:aws:s3:::"+c.bucket)
	}
	return noSuchKey
}

// getObject answers GET and HEAD.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func getObject(c *s3Call) (any, error) {
	o := c.in.objects[c.key]
	// S3 itself reads what was written last; not all that speak as it does promise so.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
	if o != nil && c.http.Context().Value(staleKey{}) != nil {
		o = o.former
	}
	if o == nil {
		return nil, c.missing()
	}
	if want := c.http.Header.Get("If-Match"); want != "" && want != o.etag {
		return nil, preconditionFailed
	}
	if err := c.mayUseKey("kms:Decrypt"); err != nil {
		return nil, err
	}
	answer := o.answer(http.StatusOK)
	if c.http.Header.Get("If-None-Match") == o.etag {
		answer.status = http.StatusNotModified
		return answer, nil
	}
	answer.header["Accept-Ranges"] = "bytes"
	answer.header["Content-Type"] = "binary/octet-stream"
	answer.raw = o.body
	if first, asked := strings.CutPrefix(c.http.Header.Get("Range"), "bytes="); asked {
		if err := answer.cut(first); err != nil {
			return nil, err
		}
	}
	answer.header["Content-Length"] = strconv.Itoa(len(answer.raw))
	return answer, nil
}

// mayUseKey: what KMS answers is passed on, in the words of
// github.com/ministryofjustice/modernisation-platform pull 11726.
func (c *s3Call) mayUseKey(action string) error {
	if c.in.key == "" || c.allows(action, c.in.key) {
		return nil
	}
	denied := s3Protocol{}.denied(c.caller.principal, action, c.in.key)
	denied.Message = strings.ReplaceAll(denied.Message, `"`, "")
	return denied
}

// cut leaves the bytes from the first on: the one form of a range that a node
// asks for, by which it goes on with an answer that was cut short.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/range-get-olap.html
func (a *s3Answer) cut(asked string) error {
	first, err := strconv.Atoi(strings.TrimSuffix(asked, "-"))
	switch size := len(a.raw); {
	case err != nil || !strings.HasSuffix(asked, "-"):
		return notImplemented
	case first >= size:
		return &apiError{http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable"}
	default:
		a.status = http.StatusPartialContent
		a.header["Content-Range"] = fmt.Sprintf("bytes %d-%d/%d", first, size-1, size)
		a.raw = a.raw[first:]
	}
	return nil
}

func (o *object) answer(status int) *s3Answer {
	return &s3Answer{status: status, header: map[string]string{
		"ETag": o.etag, "X-Amz-Version-Id": o.version, "Last-Modified": o.modified.Format(http.TimeFormat),
	}}
}

// putObject: conditions as
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
// has them. A write that is in the way of another (409) can be had by a fault.
func putObject(c *s3Call) (any, error) {
	o := c.in.objects[c.key]
	if only := c.http.Header.Get("If-None-Match"); only != "" {
		if only != "*" {
			return nil, notImplemented
		}
		if o != nil {
			return nil, preconditionFailed
		}
	}
	if only := c.http.Header.Get("If-Match"); only != "" {
		switch {
		case !c.allows("s3:GetObject", s3Resource(c.apiRequest)):
			return nil, s3Protocol{}.denied(c.caller.principal, "s3:GetObject", s3Resource(c.apiRequest))
		case o == nil:
			return nil, noSuchKey
		case o.etag != only:
			return nil, preconditionFailed
		}
	}
	if err := c.checkSum(); err != nil {
		return nil, err
	}
	if err := c.mayUseKey("kms:GenerateDataKey"); err != nil {
		return nil, err
	}
	answer := c.world.put(c.in, c.key, c.body).answer(http.StatusOK)
	delete(answer.header, "Last-Modified")
	return answer, nil
}

// checkSum compares the body with the checksum that the SDKs can send.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
func (c *s3Call) checkSum() error {
	sum := sha256.Sum256(c.body)
	if want := c.http.Header.Get("X-Amz-Checksum-Sha256"); want != "" && want != base64.StdEncoding.EncodeToString(sum[:]) {
		return &apiError{http.StatusBadRequest, "BadDigest", "The SHA256 you specified did not match the calculated checksum."}
	}
	return nil
}

// deleteObject answers the same whether there was an object or not.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html
func deleteObject(c *s3Call) (any, error) {
	delete(c.in.objects, c.key)
	return &s3Answer{status: http.StatusNoContent}, nil
}

// unpack checks the body against what was signed of it, and takes it out of the
// pieces that an SDK sends it in when a checksum follows it.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
func (c *s3Call) unpack() error {
	sum := sha256.Sum256(c.body)
	switch signed := c.http.Header.Get("X-Amz-Content-Sha256"); signed {
	case "":
		return &apiError{http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"}
	case hex.EncodeToString(sum[:]), unsignedPayload:
		return nil
	case unsignedTrailer:
		body, whole := unchunk(c.body)
		if !whole || strconv.Itoa(len(body)) != c.http.Header.Get("X-Amz-Decoded-Content-Length") {
			return &apiError{http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header."}
		}
		c.body = body
		return nil
	case signedChunks, signedTrailer:
		return notImplemented
	}
	return &apiError{http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."}
}
