package facts

import "errors"

// Object names an object in Amazon S3.
type Object struct {
	Region string // of the bucket, which need not be the node's
	Bucket string
	Key    string
}

// String is the object as s3://bucket/key.
func (o Object) String() string { return "s3://" + o.Bucket + "/" + o.Key }

// Content is what an object was when it was read.
type Content struct {
	Body []byte
	// ETag is in quotes, as S3 has it, and another whenever Body is.
	ETag string
	// VersionID is "" in a bucket that keeps no versions.
	VersionID string
}

// Condition is what must hold for an object to be written, at the instant in
// which it is. The zero value is no condition.
type Condition struct {
	Absent bool   // there is no such object
	ETag   string // if not "": the object that is there has it
}

// Why an object was not written: its Condition did not hold.
var (
	ErrExists  = errors.New("exists already")
	ErrChanged = errors.New("has changed")
)
