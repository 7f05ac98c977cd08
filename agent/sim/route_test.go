package sim

import (
	"net/http"
	"net/url"
	"testing"
)

// TestRoute: operations of one name in two APIs (EC2 and Auto Scaling both
// have DescribeTags) are told apart by the scope of the signature.
func TestRoute(t *testing.T) {
	t.Parallel()
	w := New(Options{})
	w.apis = []*api{
		{name: "first", protocol: queryProtocol{}, operations: map[string]operation{"DescribeTags": {}}},
		{name: "second", protocol: queryProtocol{}, operations: map[string]operation{"DescribeTags": {}, "Own": {}}},
		{name: "third", protocol: jsonProtocol{target: "Third"}, operations: map[string]operation{"List": {}}},
	}
	for _, tc := range []struct {
		name, scope, action, target string
		api, operation              string
	}{
		{"scope decides between two", "second", "DescribeTags", "", "second", "DescribeTags"},
		{"the first without a scope", "", "DescribeTags", "", "first", "DescribeTags"},
		{"operation against scope", "first", "Own", "", "second", "Own"},
		{"operation unknown to the scope", "first", "Nonsense", "", "first", "Nonsense"},
		{"by target", "", "", "Third.List", "third", "List"},
		{"neither", "fourth", "Nonsense", "", "", ""},
	} {
		r, err := http.NewRequest(http.MethodPost, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if tc.scope != "" {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=k/20260101/eu-west-1/"+tc.scope+"/aws4_request, SignedHeaders=host, Signature=0")
		}
		if tc.target != "" {
			r.Header.Set("X-Amz-Target", tc.target)
		}
		a, operation := w.route(r, url.Values{"Action": {tc.action}})
		got := ""
		if a != nil {
			got = a.name
		}
		if got != tc.api || operation != tc.operation {
			t.Errorf("%s: %s %s, want %s %s", tc.name, got, operation, tc.api, tc.operation)
		}
	}
}
