package sim

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// Bucket is a bucket of S3 as scenarios write it: it is made if there is none,
// and the objects are put into it.
type Bucket struct {
	Name    string            `yaml:"name"`
	Region  string            `yaml:"region"`  // "": the world's
	Objects map[string]string `yaml:"objects"` // text by key
}

// bucketName: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (b Bucket) validate() error {
	if !bucketName.MatchString(b.Name) {
		return fmt.Errorf("name: %q is not the name of a bucket", b.Name)
	}
	return nil
}

func (w *World) applyBucket(b Bucket) {
	w.CreateBucket(b.Name, b.Region)
	for _, key := range slices.Sorted(maps.Keys(b.Objects)) {
		w.PutObject(b.Name, key, []byte(b.Objects[key]))
	}
}

// BucketState is a bucket without the content of its objects.
type BucketState struct {
	Name    string         `json:"name"`
	Region  string         `json:"region"`
	Objects map[string]int `json:"objects"` // size in bytes by key
}

// bucketStates are all buckets; the caller holds the lock.
func (w *World) bucketStates() []BucketState {
	states := []BucketState{}
	for _, name := range slices.Sorted(maps.Keys(w.buckets)) {
		b := w.buckets[name]
		sizes := map[string]int{}
		for key, o := range b.objects {
			sizes[key] = len(o.body)
		}
		states = append(states, BucketState{name, b.region, sizes})
	}
	return states
}
