package sim

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pageRequest is the paging part of a list call's input.
type pageRequest struct {
	MaxResults *int   `json:"maxResults"`
	NextToken  string `json:"nextToken"`
}

// maxPage is the largest page of ECS's list calls, and what they use without
// maxResults (API_ListContainerInstances, API_ListAttributes).
const maxPage = 100

// paginate cuts the page asked for out of all; the token is the position.
func paginate[T any](all []T, p pageRequest) (page []T, next string, err error) {
	size, start := maxPage, 0
	if p.MaxResults != nil {
		size = *p.MaxResults
	}
	if size < 1 || size > maxPage {
		return nil, "", invalidParameter("maxResults %d is not between 1 and %d.", size, maxPage)
	}
	if p.NextToken != "" {
		if start, err = strconv.Atoi(p.NextToken); err != nil || start < 0 {
			return nil, "", invalidParameter("Invalid token %q.", p.NextToken)
		}
	}
	start = min(start, len(all))
	end := min(start+size, len(all))
	if end < len(all) {
		next = strconv.Itoa(end)
	}
	return all[start:end], next, nil
}

// clusterQuery is one comparison of the cluster query language.
var clusterQuery = regexp.MustCompile(`^\s*(\S+)\s+(==|equals|!=|not_equals|in)\s+(.+?)\s*$`)

// parseClusterQuery understands single comparisons (==, equals, !=, not_equals,
// in [a, b]) of ec2InstanceId, agentConnected and attribute:NAME; the language
// has more operators, joined with and, or and not, which are refused here.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html
func parseClusterQuery(filter string) (func(*containerInstance) bool, error) {
	if strings.TrimSpace(filter) == "" {
		return func(*containerInstance) bool { return true }, nil
	}
	parts := clusterQuery.FindStringSubmatch(filter)
	if parts == nil {
		return nil, invalidParameter("Invalid filter expression: %q (the simulator knows single comparisons only).", filter)
	}
	subject, operator, values := parts[1], parts[2], []string{parts[3]}
	if operator == "in" {
		values = strings.FieldsFunc(strings.Trim(parts[3], "[]"), func(r rune) bool { return r == ',' || r == ' ' })
	} else if strings.ContainsAny(parts[3], " \t") {
		return nil, invalidParameter("Invalid filter expression: %q (the simulator knows single comparisons only).", filter)
	}
	field, err := querySubject(subject)
	if err != nil {
		return nil, err
	}
	negated := operator == "!=" || operator == "not_equals"
	return func(c *containerInstance) bool {
		value, present := field(c)
		return present && slices.Contains(values, value) != negated
	}, nil
}

func querySubject(subject string) (func(*containerInstance) (value string, present bool), error) {
	name, isAttribute := strings.CutPrefix(subject, "attribute:")
	switch {
	case isAttribute:
		return func(c *containerInstance) (string, bool) {
			value, present := c.attributes[name]
			return value, present
		}, nil
	case subject == "ec2InstanceId":
		return func(c *containerInstance) (string, bool) { return c.node.instance.ID, true }, nil
	case subject == "agentConnected":
		return func(c *containerInstance) (string, bool) { return strconv.FormatBool(c.node.agent.running), true }, nil
	}
	return nil, invalidParameter("Invalid filter subject: %q.", subject)
}
