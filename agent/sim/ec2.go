package sim

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// ec2API is the part of EC2 that a node's agent uses.
func ec2API() *api {
	return &api{
		name:     "ec2",
		protocol: queryProtocol{namespace: "http://ec2.amazonaws.com/doc/2016-11-15/"},
		operations: map[string]operation{
			"DescribeTags": {bucket: describeBucket, handle: describeTags},
		},
	}
}

// describeBucket: describe calls with neither filter nor paging have a smaller
// bucket of their own.
// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
func describeBucket(r *apiRequest) string {
	if len(formList(r.form, "Filter", "Name")) == 0 && r.form.Get("MaxResults") == "" {
		return BucketEC2Unfiltered
	}
	return BucketEC2NonMutating
}

type tagDescription struct {
	ResourceID   string `xml:"resourceId"`
	ResourceType string `xml:"resourceType"`
	Key          string `xml:"key"`
	Value        string `xml:"value"`
}

type describeTagsAnswer struct {
	XMLName xml.Name         `xml:"tagSet"`
	Items   []tagDescription `xml:"item"`
}

// describeTags knows the tags of the world's instances. It answers everything
// in one page: MaxResults has no effect, as with AWS when there is a
// resource-id filter (cloud-custodian/cloud-custodian issue 11069).
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeTags.html
func describeTags(r *apiRequest) (any, error) {
	filters, err := tagFilters(r.form)
	if err != nil {
		return nil, err
	}
	answer := describeTagsAnswer{Items: []tagDescription{}}
	for _, n := range r.world.nodes {
		for key, value := range n.tags {
			tag := tagDescription{ResourceID: n.instance.ID, ResourceType: "instance", Key: key, Value: value}
			if matchesAll(filters, tag) {
				answer.Items = append(answer.Items, tag)
			}
		}
	}
	slices.SortFunc(answer.Items, func(a, b tagDescription) int {
		return cmp.Or(cmp.Compare(a.ResourceID, b.ResourceID), cmp.Compare(a.Key, b.Key))
	})
	return answer, nil
}

// tagFilter is one filter: the tag must match one of the values.
type tagFilter struct {
	name   string
	values []string
}

func tagFilters(form url.Values) ([]tagFilter, error) {
	var filters []tagFilter
	for i, name := range formList(form, "Filter", "Name") {
		switch {
		case slices.Contains([]string{"key", "resource-id", "resource-type", "value"}, name), strings.HasPrefix(name, "tag:"):
			filters = append(filters, tagFilter{name, formList(form, fmt.Sprintf("Filter.%d.Value", i+1), "")})
		default:
			return nil, &apiError{http.StatusBadRequest, "InvalidParameterValue", fmt.Sprintf("The filter '%s' is invalid", name)}
		}
	}
	return filters, nil
}

// formList reads prefix.1.suffix, prefix.2.suffix, … up to the first gap.
func formList(form url.Values, prefix, suffix string) []string {
	var list []string
	for i := 1; ; i++ {
		key := fmt.Sprintf("%s.%d", prefix, i)
		if suffix != "" {
			key += "." + suffix
		}
		if !form.Has(key) {
			return list
		}
		list = append(list, form.Get(key))
	}
}

func matchesAll(filters []tagFilter, tag tagDescription) bool {
	return !slices.ContainsFunc(filters, func(f tagFilter) bool { return !f.matches(tag) })
}

func (f tagFilter) matches(tag tagDescription) bool {
	field := map[string]string{
		"key": tag.Key, "resource-id": tag.ResourceID, "resource-type": tag.ResourceType, "value": tag.Value,
	}[f.name]
	if key, byTag := strings.CutPrefix(f.name, "tag:"); byTag {
		if key != tag.Key {
			return false
		}
		field = tag.Value
	}
	return slices.ContainsFunc(f.values, func(pattern string) bool { return matchesWildcard(pattern, field) })
}
