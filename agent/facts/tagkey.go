package facts

import "github.com/ecsnode/ecsnode/agent/pattern"

var tagKey = pattern.New(`^[A-Za-z0-9+\-=._,:@]{1,128}$`)

// TagKeyInMetadata reports whether EC2 allows a key in tags of an instance whose
// tags are in instance metadata. With any other its launch fails.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html
func TagKeyInMetadata(key string) bool {
	return tagKey.MatchString(key) && key != "." && key != ".." && key != "_index"
}
