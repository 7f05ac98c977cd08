package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// Get reads an object of at most limit bytes. It takes up to 10 s, and 1 s for
// each MiB of limit; an answer that is cut short meanwhile is gone on with where
// it ended, if the object is still the same.
//
// The error is facts.ErrAbsent if there is no such bucket or key, facts.ErrRefused
// if the instance role does not allow s3:GetObject, the bucket is in another
// region or the object is longer, and facts.ErrUnavailable if no usable answer
// came. A role that does not allow s3:ListBucket is not told that a key is
// absent, so that it is facts.ErrRefused then.
func (c *Client) Get(ctx context.Context, o facts.Object, limit int64) (facts.Content, error) {
	content, _, err := c.GetIfChanged(ctx, o, "", limit)
	return content, err
}

// GetIfChanged is Get, but if the object's ETag is still etag: then it has not
// changed, and there is no content. "" is the ETag of no object.
func (c *Client) GetIfChanged(ctx context.Context, o facts.Object, etag string, limit int64) (_ facts.Content, changed bool, _ error) {
	ctx, cancel := withTimeout(ctx, limit)
	defer cancel()
	content, err := c.read(ctx, o, etag, limit)
	switch {
	case err != nil:
		return facts.Content{}, false, fmt.Errorf("cannot read %s: %w", o, err)
	case content == nil, content.ETag == etag: // a server may not heed If-None-Match
		return facts.Content{}, false, nil
	}
	return *content, true, nil
}

// maxPieces bounds the requests for one object that is cut short again and again.
const maxPieces = 8

// read returns nil for an object that still has the ETag. It goes on with an
// answer that was cut short where that ended, as long as something came of it.
func (c *Client) read(ctx context.Context, o facts.Object, etag string, limit int64) (*facts.Content, error) {
	in := &s3.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key}
	if etag != "" {
		in.IfNoneMatch = &etag
	}
	var body bytes.Buffer
	for pieces := 1; ; pieces++ {
		out, err := c.piece(ctx, in, o, limit, &body)
		if err == nil && out == nil {
			return nil, nil
		}
		if err == nil {
			return &facts.Content{Body: body.Bytes(), ETag: aws.ToString(out.ETag), VersionID: aws.ToString(out.VersionId)}, nil
		}
		var cut *cutShort
		if !errors.As(err, &cut) || ctx.Err() != nil || pieces == maxPieces || cut.brought == 0 && pieces > 1 {
			return nil, err
		}
		if in.IfNoneMatch = nil; body.Len() > 0 {
			in.Range, in.IfMatch = aws.String(fmt.Sprintf("bytes=%d-", body.Len())), out.ETag
		}
	}
}

// cutShort is an answer that broke off.
type cutShort struct {
	brought int64 // bytes
	error
}

func (e *cutShort) Unwrap() error { return e.error }

// piece appends to body what comes of the object, from where in has it; nothing
// and no answer if it has not changed. Beside a cutShort there is an answer too.
func (c *Client) piece(ctx context.Context, in *s3.GetObjectInput, o facts.Object, limit int64, body *bytes.Buffer) (*s3.GetObjectOutput, error) {
	of := c.of(o, limit)
	out, err := c.get(ctx, in, func(options *s3.Options) {
		of(options)
		options.HTTPClient = awsapi.KeepPart(options.HTTPClient)
	})
	if err != nil {
		if in.IfNoneMatch != nil && answerTo(err).status == http.StatusNotModified {
			return nil, nil
		}
		var long *httpx.AnswerTooLong
		if errors.As(err, &long) {
			return nil, tooLong(limit)
		}
		if in.IfMatch != nil && answerTo(err).status == http.StatusPreconditionFailed {
			return nil, fmt.Errorf("%w: it changed while it was read", facts.ErrUnavailable)
		}
		return nil, classify(ctx, err, o, facts.Condition{}, getObject)
	}
	defer out.Body.Close()
	if aws.ToString(out.ETag) == "" {
		return nil, errNoETag
	}
	if !strings.HasPrefix(aws.ToString(out.ContentRange), fmt.Sprintf("bytes %d-", body.Len())) {
		body.Reset() // a server may not heed Range: this is the whole
	}
	body.Grow(int(max(aws.ToInt64(out.ContentLength), 0)) + bytes.MinRead)
	n, err := body.ReadFrom(out.Body)
	switch {
	case int64(body.Len()) > limit:
		return nil, tooLong(limit)
	case err != nil:
		return out, &cutShort{n, fmt.Errorf("%w: %s", facts.ErrUnavailable, httpx.Cause(ctx, err))}
	}
	return out, nil
}

func tooLong(limit int64) error {
	return fmt.Errorf("%w: it is longer than %d KiB", facts.ErrRefused, limit>>10)
}

// errNoETag is the answer of something that is not S3: a proxy, a portal.
var errNoETag = fmt.Errorf("%w: the answer has no ETag", facts.ErrUnavailable)

// Put writes an object, if the condition holds when it is written, and returns
// its ETag. It takes up to 10 s, and 1 s for each MiB of body. Readers see the
// whole object or what was there before.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
//
// The error is facts.ErrExists or facts.ErrChanged if the condition does not
// hold. After an answer that got lost, the object that is there may be this one:
// a caller who minds compares. It is facts.ErrAbsent if there is no such bucket,
// or no object that could have the condition's ETag, facts.ErrRefused if the
// instance role does not allow s3:PutObject (for an ETag, s3:GetObject too) or
// the bucket is in another region, and facts.ErrUnavailable if no usable answer
// came or another write was under way.
func (c *Client) Put(ctx context.Context, o facts.Object, body []byte, only facts.Condition) (etag string, err error) {
	ctx, cancel := withTimeout(ctx, int64(len(body)))
	defer cancel()
	if etag, err = c.write(ctx, o, body, only); err != nil {
		return "", fmt.Errorf("cannot write %s: %w", o, err)
	}
	return etag, nil
}

// write sends a checksum by which S3 knows that it has the whole body, and
// without which a bucket with Object Lock takes nothing.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
func (c *Client) write(ctx context.Context, o facts.Object, body []byte, only facts.Condition) (string, error) {
	sum := sha256.Sum256(body)
	in := &s3.PutObjectInput{
		Bucket: &o.Bucket, Key: &o.Key, Body: bytes.NewReader(body),
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
	}
	permissions := "s3:PutObject"
	if only.Absent {
		in.IfNoneMatch = aws.String("*")
	}
	if only.ETag != "" {
		in.IfMatch = &only.ETag
		permissions = "s3:PutObject and s3:GetObject"
	}
	out, err := c.put(ctx, in, c.of(o, 0))
	switch {
	case err != nil:
		return "", classify(ctx, err, o, only, permissions)
	case aws.ToString(out.ETag) == "":
		return "", errNoETag
	}
	return *out.ETag, nil
}
