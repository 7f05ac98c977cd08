package bundle

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// attributeValue is what ECS takes.
var attributeValue = regexp.MustCompile(`^[A-Za-z0-9_.@/\\: -]{1,128}$`)

func TestReportsAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("c", 64)
	for text, r := range map[string]Report{
		"stable/none:well":                             {Channel: "stable", State: Well},
		"stable/0123456789ab:trying":                   {Channel: "stable", Running: "0123456789ab", State: Trying},
		"beta/0123456789ab:well/ba9876543210:bad":      {Channel: "beta", Running: "0123456789ab", State: Well, Bad: []string{"ba9876543210"}},
		long + "/0123456789ab:trying/ba9876543210:bad": {Channel: long, Running: "0123456789ab", State: Trying, Bad: []string{"ba9876543210"}},
		"x/0123456789ab:bad/ba9876543210:bad/none:bad": {Channel: "x", Running: "0123456789ab", State: Bad, Bad: []string{"ba9876543210", "none"}},
	} {
		if got := r.String(); got != text || !attributeValue.MatchString(got) {
			t.Errorf("%+v is %s, want %s", r, got, text)
		}
		if got, err := ParseReport(text); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
	many := Report{Channel: long, Running: "0123456789ab", State: Trying, Bad: []string{"a00000000000", "b00000000000", "c00000000000"}}
	if got, err := ParseReport(many.String()); err != nil || len(got.Bad) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOtherAttributesAreNoReports(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "stable", "stable/", "stable/0123456789ab", "stable/0123456789ab:fine", "stable/0123:well", "/none:well", "Stable/none:well",
		"stable/none:well/0123456789ab:well", "stable/none:well/", strings.Repeat("stable/none:well", 9),
	} {
		if r, err := ParseReport(text); err == nil {
			t.Errorf("%q is taken for %+v", text, r)
		}
	}
}
