package bundle

import (
	"fmt"
	"path"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// Source is where channels and bundles are kept: a bucket, or a part of one.
type Source struct {
	Bucket string
	Prefix string // "" or with a slash at its end
}

var (
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
	bucketName = pattern.New(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	prefixForm = pattern.New(`^[A-Za-z0-9._/-]{0,256}$`)
)

// ParseSource reads s3://BUCKET or s3://BUCKET/PREFIX.
func ParseSource(text string) (Source, error) {
	rest, ok := strings.CutPrefix(text, "s3://")
	bucket, prefix, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	if !ok || !bucketName.MatchString(bucket) || !prefixForm.MatchString(prefix) || prefix != "" && path.Clean("/" + prefix)[1:] != prefix {
		return Source{}, fmt.Errorf("%q is no place for bundles: expected s3://BUCKET or s3://BUCKET/PREFIX", text)
	}
	if prefix != "" {
		prefix += "/"
	}
	return Source{bucket, prefix}, nil
}

// String is the source as ParseSource takes it.
func (s Source) String() string {
	return strings.TrimSuffix("s3://"+s.Bucket+"/"+s.Prefix, "/")
}

// Object is what has a key below the source.
func (s Source) Object(region, key string) facts.Object {
	return facts.Object{Region: region, Bucket: s.Bucket, Key: s.Prefix + key}
}
