package sim

import (
	"crypto/md5"
	"encoding/hex"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// s3API is the part of Amazon S3 that a node's agent uses, and what one looks
// into a bucket with. It is not checked who owns a bucket: all are the account's.
func s3API() *api {
	read, write := drawsFrom(BucketS3Read), drawsFrom(BucketS3Write)
	return &api{
		name: "s3", protocol: s3Protocol{}, signing: signS3,
		operations: map[string]operation{
			"GetObject":     {bucket: read, resource: s3Resource, handle: withBucket(getObject)},
			"HeadObject":    {action: "GetObject", bucket: read, resource: s3Resource, handle: withBucket(getObject)},
			"PutObject":     {bucket: write, resource: s3Resource, handle: withBucket(putObject)},
			"DeleteObject":  {bucket: write, resource: s3Resource, handle: withBucket(deleteObject)},
			"ListObjectsV2": {action: "ListBucket", bucket: read, resource: s3Resource, handle: withBucket(listObjectsV2)},
		},
	}
}

// bucket is a bucket. It gives versions ids, and keeps the last of each object and
// the one before.
type bucket struct {
	name, region string
	objects      map[string]*object // by key
	key          string             // of KMS, which encrypts it; "": none that takes a permission
}

type object struct {
	body          []byte
	etag, version string
	modified      time.Time
	former        *object // what was written before, for FaultStale
}

// CreateBucket makes an empty bucket, if there is none of that name; without a
// region it is in the world's.
func (w *World) CreateBucket(name, region string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bucket(name, region)
}

// EncryptBucket has what is in a bucket encrypted with a customer's key of KMS, so
// that to read takes kms:Decrypt and to write kms:GenerateDataKey.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
func (w *World) EncryptBucket(name, key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bucket(name, "").key = w.keyARN(key)
}

// bucket finds or makes a bucket; the caller holds the lock.
func (w *World) bucket(name, region string) *bucket {
	if w.buckets[name] == nil {
		if region == "" {
			region = w.instance.Region
		}
		w.buckets[name] = &bucket{name: name, region: region, objects: map[string]*object{}}
	}
	return w.buckets[name]
}

// PutObject puts an object into a bucket, which is made if there is none, and
// returns the object's ETag.
func (w *World) PutObject(bucket, key string, body []byte) (etag string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.put(w.bucket(bucket, ""), key, body).etag
}

// put: the ETag is the MD5 of a body that was sent in one part.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
func (w *World) put(b *bucket, key string, body []byte) *object {
	sum := md5.Sum(body)
	const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	o := &object{
		body: slices.Clone(body), etag: `"` + hex.EncodeToString(sum[:]) + `"`,
		version: w.randomText(32, alphanumeric), modified: time.Now().UTC().Truncate(time.Second),
	}
	if o.former = b.objects[key]; o.former != nil {
		o.former.former = nil
	}
	b.objects[key] = o
	return o
}

// DeleteObject takes an object out of its bucket, if it is there.
func (w *World) DeleteObject(bucket, key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.buckets[bucket]; b != nil {
		delete(b.objects, key)
	}
}

// Object is the content of an object, and whether there is one.
func (w *World) Object(bucket, key string) ([]byte, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.buckets[bucket]; b != nil && b.objects[key] != nil {
		return slices.Clone(b.objects[key].body), true
	}
	return nil, false
}

// Objects are the keys in a bucket, in order.
func (w *World) Objects(bucket string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.buckets[bucket]; b != nil {
		return slices.Sorted(maps.Keys(b.objects))
	}
	return nil
}

// s3Host is an endpoint of a Region, with or without a bucket before it.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
var s3Host = regexp.MustCompile(`^(?:(.+)\.)?s3\.(?:dualstack\.)?([a-z]{2,}-[a-z-]+-[0-9]+)\.amazonaws\.com(?:\.cn)?$`)

// s3Address is what a request to S3 is about.
type s3Address struct {
	region      string // of the endpoint; "" at one that serves all
	bucket, key string
}

func addressOf(r *http.Request) s3Address {
	host, path := r.Host, strings.TrimPrefix(r.URL.Path, "/")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	var a s3Address
	if m := s3Host.FindStringSubmatch(host); m != nil {
		a.bucket, a.region = m[1], m[2]
	}
	a.key = path
	if a.bucket == "" {
		a.bucket, a.key, _ = strings.Cut(path, "/")
	}
	return a
}

// forS3 says whether a request is for S3. At an endpoint that all APIs share, a
// request that is not signed is not.
func forS3(r *http.Request) bool {
	signature, _ := parseAuthorization(r.Header.Get("Authorization"))
	return signature.service == "s3" || addressOf(r).region != ""
}

// operation: a query parameter names what of a bucket or an object is meant.
func (s3Protocol) operation(r *http.Request, _ url.Values) string {
	if !forS3(r) {
		return ""
	}
	a, query := addressOf(r), r.URL.Query()
	query.Del("x-id") // in which SDKs repeat the operation's name
	what := "service"
	switch {
	case a.key != "":
		what = "object"
	case a.bucket != "":
		what = "bucket"
		if r.Method == http.MethodGet && query.Get("list-type") == "2" {
			return "ListObjectsV2"
		}
	}
	asked := strings.Join(append([]string{r.Method, what}, slices.Sorted(maps.Keys(query))...), " ")
	switch asked {
	case "GET object":
		return "GetObject"
	case "HEAD object":
		return "HeadObject"
	case "PUT object":
		return "PutObject"
	case "DELETE object":
		return "DeleteObject"
	}
	return asked
}

// s3Resource: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
func s3Resource(r *apiRequest) string {
	a := addressOf(r.http)
	if a.key == "" {
		return "arn:aws:s3:::" + a.bucket
	}
	return "arn:aws:s3:::" + a.bucket + "/" + a.key
}
