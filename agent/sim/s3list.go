package sim

import (
	"encoding/base64"
	"encoding/xml"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxKeys is how many keys S3 lists in one answer at most.
const maxKeys = 1000

type listedObject struct {
	Key          string
	LastModified string
	ETag         string
	Size         int
	StorageClass string
}

type listedPrefix struct{ Prefix string }

type objectList struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string
	Prefix                string
	Delimiter             string `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	MaxKeys               int
	KeyCount              int
	IsTruncated           bool
	Contents              []listedObject
	CommonPrefixes        []listedPrefix
}

// listObjectsV2 lists keys in order; those that go on after the delimiter are
// listed once by what they begin with. A token is the last of what was listed.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
func listObjectsV2(c *s3Call) (any, error) {
	query := c.http.URL.Query()
	list := objectList{
		Name: c.bucket, Prefix: query.Get("prefix"), Delimiter: query.Get("delimiter"), MaxKeys: maxKeys,
		StartAfter: query.Get("start-after"), ContinuationToken: query.Get("continuation-token"),
	}
	if text := query.Get("max-keys"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, &apiError{http.StatusBadRequest, "InvalidArgument", "Provided max-keys not an integer or within integer range"}
		}
		list.MaxKeys = min(n, maxKeys)
	}
	after := list.StartAfter
	if list.ContinuationToken != "" {
		last, err := base64.URLEncoding.DecodeString(list.ContinuationToken)
		if err != nil {
			return nil, &apiError{http.StatusBadRequest, "InvalidArgument", "The continuation token provided is incorrect"}
		}
		after = string(last)
	}
	c.in.list(&list, after)
	return list, nil
}

func (b *bucket) list(list *objectList, after string) {
	last := ""
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		rest, within := strings.CutPrefix(key, list.Prefix)
		if !within {
			continue
		}
		entry := key
		if before, _, found := strings.Cut(rest, list.Delimiter); found && list.Delimiter != "" {
			entry = list.Prefix + before + list.Delimiter
		}
		if key <= after || entry == after || entry == last {
			continue
		}
		if list.KeyCount == list.MaxKeys {
			if list.MaxKeys > 0 {
				list.IsTruncated = true
				list.NextContinuationToken = base64.URLEncoding.EncodeToString([]byte(last))
			}
			return
		}
		last = entry
		list.KeyCount++
		if entry != key {
			list.CommonPrefixes = append(list.CommonPrefixes, listedPrefix{entry})
			continue
		}
		o := b.objects[key]
		list.Contents = append(list.Contents, listedObject{
			Key: key, LastModified: o.modified.Format("2006-01-02T15:04:05.000Z"), ETag: o.etag,
			Size: len(o.body), StorageClass: "STANDARD",
		})
	}
}
