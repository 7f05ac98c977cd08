package bundle

import (
	"errors"
	"strings"
)

// ReportAttribute is the attribute of a container instance in which a node tells
// what it runs, for those who promote a canary.
const ReportAttribute = "ecsnode.bundle"

// State is how a bundle does on a node.
type State string

// The states.
const (
	Well   State = "well"   // it has run for as long as it is watched
	Trying State = "trying" // it is in effect and being watched
	Bad    State = "bad"    // the node went back from it
)

// Report is what a node tells in its attribute:
//
//	CHANNEL/DIGEST:STATE/DIGEST:bad
//
// where DIGEST is the first 12 digits, or none. An attribute of ECS has room for
// 128 characters, and those of this form are all allowed.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Attribute.html
type Report struct {
	Channel string
	// Running is what is in effect: 12 digits, or "" without a bundle.
	Running string
	State   State    // of what is running
	Bad     []string // 12 digits each; those that find room
}

// maxAttribute is how long the value of an attribute may be.
const maxAttribute = 128

const nothing = "none"

// String is the value of the attribute.
func (r Report) String() string {
	running := r.Running
	if running == "" {
		running = nothing
	}
	text := r.Channel + "/" + running + ":" + string(r.State)
	for _, bad := range r.Bad {
		if more := "/" + bad + ":" + string(Bad); len(text)+len(more) <= maxAttribute {
			text += more
		}
	}
	return text
}

var errReport = errors.New("it is no report about bundles")

// ParseReport reads the value of the attribute.
func ParseReport(text string) (Report, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(text) > maxAttribute || !ValidName(parts[0]) {
		return Report{}, errReport
	}
	r := Report{Channel: parts[0]}
	for i, part := range parts[1:] {
		digest, state, _ := strings.Cut(part, ":")
		if digest != nothing && len(digest) != shortDigest {
			return Report{}, errReport
		}
		switch {
		case i > 0 && state == string(Bad):
			r.Bad = append(r.Bad, digest)
		case i == 0 && (state == string(Well) || state == string(Trying) || state == string(Bad)):
			r.Running, r.State = strings.TrimPrefix(digest, nothing), State(state)
		default:
			return Report{}, errReport
		}
	}
	return r, nil
}
