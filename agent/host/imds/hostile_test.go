package imds_test

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// script is a service that answers with fixed bodies by path, with good tokens.
type script struct {
	bodies map[string]string
	token  string
	ttl    string // "": 300
	mu     sync.Mutex
	asked  []string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.URL.Path)
	if r.Method == http.MethodPut {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", cmp.Or(s.ttl, "300"))
		fmt.Fprint(w, s.token)
		return
	}
	body, ok := s.bodies[r.URL.Path]
	switch {
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case strings.HasPrefix(body, "http:"):
		http.Redirect(w, r, body, http.StatusFound)
	default:
		fmt.Fprint(w, body)
	}
}

const tags = "/latest/meta-data/tags/instance"

func TestAListOfTagsCannotLeadElsewhere(t *testing.T) {
	for name, list := range map[string]string{
		"up and over":      "../../iam/security-credentials/role",
		"a directory":      "env/",
		"an index":         "_index",
		"a page":           "<html><body>It works</body></html>",
		"an empty line":    "env\n\ncluster",
		"more than may be": strings.Repeat("k\n", 300),
		"too long a key":   strings.Repeat("k", 129),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{token: "good", bodies: map[string]string{
					tags:          list,
					tags + "/env": "prod",
					"/latest/meta-data/iam/security-credentials/role": "secret",
				}}
				_, err := serve(t, s).Tags(t.Context())
				if !errors.Is(err, facts.ErrUnavailable) {
					t.Errorf("got %v", err)
				}
				if len(s.asked) != 2 {
					t.Errorf("asked %q", s.asked)
				}
			})
		})
	}
}

func TestATokenThatMakesNoSenseIsNotKept(t *testing.T) {
	for name, bad := range map[string]struct{ token, ttl string }{
		"that cannot be sent":       {token: "bad\r\ntoken"},
		"that is empty":             {token: ""},
		"that is a page":            {token: strings.Repeat("x", 1025)},
		"with a lifetime in words":  {token: "good", ttl: "a while"},
		"with a lifetime of 0":      {token: "good", ttl: "0"},
		"with a lifetime below 0":   {token: "good", ttl: "-300"},
		"with a lifetime of months": {token: "good", ttl: "9999999"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{token: bad.token, ttl: bad.ttl, bodies: map[string]string{"/latest/meta-data/ami-id": "ami-1"}}
				c := serve(t, s)
				_, err := c.Get(t.Context(), "ami-id")
				checkError(t, err, facts.ErrUnavailable, "cannot read meta-data/ami-id: unavailable: the session token makes no sense")
				s.mu.Lock()
				s.token, s.ttl = "good", ""
				s.mu.Unlock()
				if got, err := c.Get(t.Context(), "ami-id"); err != nil || string(got) != "ami-1" {
					t.Errorf("got %q, %v", got, err)
				}
			})
		})
	}
}

func TestATextThatIsNoneIsRefused(t *testing.T) {
	const document = `{"instanceId":"i-01234567","region":"eu-west-1","availabilityZone":"eu-west-1a","instanceType":"t3.nano",` +
		`"accountId":"123456789012","imageId":"ami-1","architecture":"arm64"}`
	for name, text := range map[string]string{
		"a page":           "<p>sign in</p>",
		"more than may be": strings.Repeat("x", 256),
		"bytes":            "spot\x00\xff",
		"nothing":          "",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{token: "good", bodies: map[string]string{
					"/latest/dynamic/instance-identity/document": document,
					"/latest/meta-data/instance-life-cycle":      text,
				}}
				got, err := serve(t, s).Instance(t.Context())
				if !errors.Is(err, facts.ErrUnavailable) || !strings.Contains(err.Error(), "cannot read meta-data/instance-life-cycle: ") {
					t.Errorf("got %+v, %v", got, err)
				}
			})
		})
	}
}

func TestAValueThatIsNoTagIsRefused(t *testing.T) {
	for name, value := range map[string]string{
		"bytes":    "\xff\xfe",
		"too long": strings.Repeat("ü", 257),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{token: "good", bodies: map[string]string{tags: "env", tags + "/env": value}}
				if got, err := serve(t, s).Tags(t.Context()); !errors.Is(err, facts.ErrUnavailable) {
					t.Errorf("got %q, %v", got, err)
				}
			})
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{token: "good", bodies: map[string]string{
			"/latest/meta-data/ami-id": "http://169.254.169.254/elsewhere", "/elsewhere": "x",
		}}
		_, err := serve(t, s).Get(t.Context(), "ami-id")
		checkError(t, err, facts.ErrUnavailable, "cannot read meta-data/ami-id: unavailable: HTTP status 302 for it")
	})
}

func TestMalformedDocumentsAreRefused(t *testing.T) {
	const good = `"instanceId":"i-0123456789abcdef0","region":"eu-west-1","availabilityZone":"eu-west-1a"`
	const whole = good + `,"instanceType":"t3.nano","accountId":"123456789012","imageId":"ami-1","architecture":"arm64"`
	for name, tc := range map[string]struct{ doc, says string }{
		"no object":               {`[]`, "not the JSON expected: []"},
		"nothing in it":           {`{}`, `its instanceId is malformed: ""`},
		"a path for an id":        {`{"instanceId":"../../etc"}`, `its instanceId is malformed: "../../etc"`},
		"no region":               {`{"instanceId":"i-0123456789abcdef0"}`, `its region is malformed: ""`},
		"a host for a region":     {`{"instanceId":"i-01234567","region":"evil.example/"}`, `its region is malformed: "evil.example/"`},
		"no zone":                 {`{"instanceId":"i-01234567","region":"eu-west-1"}`, `its availabilityZone is malformed: ""`},
		"a line break in a field": {`{` + good + `,"instanceType":"m6i.large\nX=1"}`, `its instanceType is malformed: "m6i.large X=1"`},
		"a zone elsewhere":        {`{` + strings.Replace(whole, "eu-west-1a", "eu-west-2a", 1) + `}`, "its availabilityZone eu-west-2a is not in its region eu-west-1"},
		"no type":                 {`{` + strings.Replace(whole, "t3.nano", "", 1) + `}`, `its instanceType is malformed: ""`},
		"no account":              {`{` + strings.Replace(whole, "123456789012", "", 1) + `}`, `its accountId is malformed: ""`},
		"a name for an account":   {`{` + strings.Replace(whole, "123456789012", "prod", 1) + `}`, `its accountId is malformed: "prod"`},
		"no image":                {`{` + strings.Replace(whole, "ami-1", "", 1) + `}`, `its imageId is malformed: ""`},
		"no architecture":         {`{` + strings.Replace(whole, "arm64", "", 1) + `}`, `its architecture is malformed: ""`},
		"too long a word":         {`{` + strings.Replace(whole, "arm64", strings.Repeat("a", 256), 1) + `}`, `its architecture is malformed: "` + strings.Repeat("a", 160) + `…"`},
		"a number for a text":     {`{` + good + `,"imageId":1}`, "not the JSON expected: …"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{token: "good", bodies: map[string]string{"/latest/dynamic/instance-identity/document": tc.doc}}
				_, err := serve(t, s).Instance(t.Context())
				checkError(t, err, facts.ErrUnavailable, "cannot read dynamic/instance-identity/document: unavailable: "+tc.says)
			})
		})
	}
}
