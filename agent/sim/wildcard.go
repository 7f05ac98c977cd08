package sim

import (
	"regexp"
	"strings"
)

// matchesWildcard says whether text matches an EC2 filter value: * is any run
// of characters, ? any one, \ takes the next literally.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
func matchesWildcard(pattern, text string) bool {
	var expression strings.Builder
	literal := false
	for _, r := range pattern {
		switch {
		case literal:
			literal = false
			expression.WriteString(regexp.QuoteMeta(string(r)))
		case r == '\\':
			literal = true
		case r == '*':
			expression.WriteString(".*")
		case r == '?':
			expression.WriteString(".")
		default:
			expression.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	matches, err := regexp.MatchString(`(?s)\A`+expression.String()+`\z`, text)
	return err == nil && matches
}
