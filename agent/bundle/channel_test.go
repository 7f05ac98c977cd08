package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
)

var (
	old, newer = Sum([]byte("old")), Sum([]byte("new"))
	now        = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func slot(d Digest) Slot { return Slot{Digest: d, Size: 1000, Key: ObjectKey(d)} }

func channel() Channel {
	return Channel{
		Version: 1, Name: "stable", Serial: 7, Signed: now, Reason: "more memory & <less> noise", Stable: slot(old),
		Canary: &Canary{slot(newer), 10}, Info: map[string]string{"by": "ci", "at": "build 7"},
	}
}

func key(t testing.TB) SecretKey {
	t.Helper()
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func seal(t testing.TB, c Channel, k SecretKey) []byte {
	t.Helper()
	sealed, err := Seal(&c, k)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestWhatIsSealedIsOpened(t *testing.T) {
	t.Parallel()
	k := key(t)
	c := channel()
	c.Expires = now.Add(time.Hour)
	got, err := Open(seal(t, c, k), "stable", []Key{key(t).Public(), k.Public()})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := c.Marshal()
	b, _ := got.Marshal()
	if !bytes.Equal(a, b) || !got.Expires.Equal(c.Expires) {
		t.Errorf("got %s", b)
	}
}

// TestKeysAreRotated: both keys are trusted for a time, and then the new one.
func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	first, second := key(t), key(t)
	byFirst, bySecond := seal(t, channel(), first), seal(t, channel(), second)
	for _, tc := range []struct {
		name          string
		trusted       []Key
		first, second error
	}{
		{"before", []Key{first.Public()}, nil, ErrKey},
		{"between", []Key{first.Public(), second.Public()}, nil, nil},
		{"after", []Key{second.Public()}, ErrKey, nil},
		{"without any", nil, ErrKey, ErrKey},
	} {
		if _, err := Open(byFirst, "stable", tc.trusted); !errors.Is(err, tc.first) {
			t.Errorf("%s: by the first: %v", tc.name, err)
		}
		if _, err := Open(bySecond, "stable", tc.trusted); !errors.Is(err, tc.second) {
			t.Errorf("%s: by the second: %v", tc.name, err)
		}
	}
}

func TestWhatIsNotSignedIsNotOpened(t *testing.T) {
	t.Parallel()
	k := key(t)
	keys := []Key{k.Public()}
	sealed := seal(t, channel(), k)
	other := channel()
	other.Name = "beta"
	for name, tc := range map[string]struct {
		sealed []byte
		is     error
	}{
		"another's signature":            {seal(t, channel(), key(t)), ErrKey},
		"a document that was changed":    {bytes.Replace(sealed, []byte(`"percent": 10`), []byte(`"percent": 99`), 1), ErrSignature},
		"the comment of another serial":  {bytes.Replace(sealed, []byte("serial 7"), []byte("serial 8"), 1), ErrSignature},
		"the document of another":        {seal(t, other, k), ErrSignature},
		"signed as something else":       {signedAs(t, k, channel(), "timestamp:1"), ErrSignature},
		"signed as another channel":      {signedAs(t, k, channel(), "ecsnode channel beta serial 7"), ErrSignature},
		"the old kind of signature":      {legacy(t, k, channel()), ErrSignature},
		"no signature":                   {[]byte("{}\n"), ErrSignature},
		"four lines of something":        {[]byte("a\nb\nc\nd\n{}\n"), ErrSignature},
		"a key of the same id":           {seal(t, channel(), sameID(t, k)), ErrSignature},
		"something behind the document":  {append(sealed[:len(sealed):len(sealed)], ' '), ErrSignature},
		"nothing":                        {nil, ErrSignature},
		"a document that is not on disk": {sealed[:len(sealed)-20], ErrSignature},
	} {
		if _, err := Open(tc.sealed, "stable", keys); !errors.Is(err, tc.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range sealed {
		changed := bytes.Clone(sealed)
		changed[n] ^= 1
		if n < bytes.IndexByte(sealed, '\n') {
			continue // the untrusted comment
		}
		if bytes.HasPrefix(sealed[n+1:], []byte("=")) {
			continue // the last sign before a padding has bits to spare
		}
		if _, err := Open(changed, "stable", keys); err == nil {
			t.Errorf("a bit changed at %d of %d is not noticed", n, len(sealed))
		}
	}
}

// signedAs signs a document with another trusted comment.
func signedAs(t *testing.T, k SecretKey, c Channel, comment string) []byte {
	document, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	r := minisign.NewReader(bytes.NewReader(document))
	if _, err := new(bytes.Buffer).ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return append(r.SignWithComments(k.key, comment, "x"), document...)
}

func legacy(t *testing.T, k SecretKey, c Channel) []byte {
	document, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append(minisign.SignWithComments(k.key, document, comment(&c), "x"), document...)
}

// sameID is another key that claims the id of k.
func sameID(t *testing.T, k SecretKey) SecretKey {
	text, _ := key(t).key.MarshalText()
	with, _ := k.key.MarshalText()
	// The id is the 8 bytes from 54 on, which base64 puts at 72 of the second line.
	line := bytes.IndexByte(text, '\n') + 1
	copy(text[line+72:line+83], with[line+72:line+83])
	made, err := ParseSecretKey(text, "")
	if err != nil || made.Public().ID() != k.Public().ID() {
		t.Skip("the key's form has changed")
	}
	return made
}

func TestDocumentsHaveOneReading(t *testing.T) {
	t.Parallel()
	c := channel()
	good, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	swap := func(from, to string) []byte {
		changed := bytes.Replace(good, []byte(from), []byte(to), 1)
		if bytes.Equal(changed, good) {
			t.Fatalf("%s is not in\n%s", from, good)
		}
		return changed
	}
	for name, tc := range map[string]struct {
		document []byte
		newer    bool
		says     string
	}{
		"a field of tomorrow":             {swap(`"serial": 7,`, `"serial": 7, "not_before": "2030-01-01T00:00:00Z",`), true, `field "not_before"`},
		"a field of a slot of tomorrow":   {swap(`"size": 1000,`, `"size": 1000, "arch": "arm64",`), true, `field "arch"`},
		"a version of tomorrow":           {swap(`"version": 1`, `"version": 2`), true, "version 2, and this one knows 1"},
		"a version of tomorrow and more":  {[]byte(`{"version": 2, "stable": ["another form"]}`), true, "version 2"},
		"a key twice":                     {swap(`"serial": 7,`, `"serial": 9, "serial": 7,`), false, "a key twice"},
		"a key in capitals":               {swap(`"serial"`, `"Serial"`), false, "a key twice"},
		"without blanks":                  {bytes.ReplaceAll(good, []byte(": "), []byte(":")), false, "in another form"},
		"something behind it":             {append(good[:len(good):len(good)], "{}\n"...), false, "invalid character '{' after"},
		"signs that are no UTF-8":         {swap("noise", "no\xffise"), false, "in another form"},
		"a serial of 0":                   {swap(`"serial": 7`, `"serial": 0`), false, "serial: expected"},
		"a serial below it":               {swap(`"serial": 7`, `"serial": -7`), false, "cannot unmarshal number -7"},
		"a channel that is a path":        {swap(`"stable",`, `"../x",`), false, "no name of a channel"},
		"a canary for nobody":             {swap(`"percent": 10`, `"percent": 0`), false, "expected 1 to 99"},
		"a canary for all":                {swap(`"percent": 10`, `"percent": 100`), false, "expected 1 to 99"},
		"a canary that is stable":         {bytes.ReplaceAll(good, []byte(newer), []byte(old)), false, "it is that of stable"},
		"no digest":                       {swap(string(old), "abc"), false, "is no digest"},
		"a key that climbs":               {swap("bundles/"+string(old), "bundles/../../x"), false, "no key below the source"},
		"a key that is absolute":          {swap("bundles/"+string(old), "/x"), false, "no key below the source"},
		"no size":                         {swap(`"size": 1000`, `"size": 0`), false, "size: expected"},
		"a size beyond the limit":         {swap(`"size": 1000`, `"size": 16777217`), false, "size: expected"},
		"a minimum that is no version":    {swap(`"size": 1000`, `"size": 1000, "minimum_agent": "new"`), false, "no version such as"},
		"no JSON":                         {[]byte("serial: 7\n"), false, "no channel's document"},
		"nothing":                         {nil, false, "no channel's document"},
		"a time in another zone":          {swap("12:00:00Z", "13:00:00+01:00"), false, ""},
		"a reason longer than one reads":  {swap("noise", strings.Repeat("n", 2000)), false, "reason: expected"},
		"longer than a document may be":   {swap("noise", strings.Repeat("n", MaxChannel)), false, "longer than"},
		"information longer than allowed": {swap("build 7", strings.Repeat("n", MaxChannel/2)), false, "longer than"},
	} {
		_, err := ParseChannel(tc.document)
		if tc.says == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tc.says) || errors.Is(err, ErrNewer) != tc.newer {
			t.Errorf("%s: got %v, want %s", name, err, tc.says)
		}
	}
}

func FuzzParseChannel(f *testing.F) {
	c := channel()
	document, err := c.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(document)
	f.Add([]byte(`{"version": 2}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		c, err := ParseChannel(document)
		if err != nil {
			return
		}
		again, err := c.Marshal()
		if err != nil || !bytes.Equal(again, document) {
			t.Errorf("%q is %q: %v", document, again, err)
		}
		c.Choose(Node{ID: "i-1"}, now)
	})
}

func FuzzOpen(f *testing.F) {
	k := key(f)
	f.Add(seal(f, channel(), k))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if c, err := Open(sealed, "stable", []Key{k.Public()}); err == nil && c.Serial != 7 {
			t.Errorf("%q is taken for signed", sealed)
		}
	})
}

// in is an instance that is, or is not, of those that try the canary.
func in(canary bool) string {
	for i := 0; ; i++ {
		if id := fmt.Sprintf("i-%017x", i); InCanary(id, newer, 10) == canary {
			return id
		}
	}
}

func TestChoosing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change  func(c *Channel, n *Node)
		canary  bool // the node is of those that try it
		want    Choice
		refused bool
		why     string
		warns   string
	}{
		"all others":                        {want: Stable, why: "it is stable"},
		"one that tries":                    {canary: true, want: Trial, why: "it is of the 10% that try it"},
		"without a canary":                  {canary: true, change: func(c *Channel, _ *Node) { c.Canary = nil }, want: Stable, why: "it is stable"},
		"bad for the node":                  {canary: true, change: func(_ *Channel, n *Node) { n.Bad = map[Digest]int{newer: 0} }, want: Stable, why: "it is stable", warns: "the canary " + newer.Short() + " was bad"},
		"bad, and tried again":              {canary: true, change: func(c *Channel, n *Node) { n.Bad = map[Digest]int{newer: 0}; c.Canary.Attempt = 1 }, want: Trial, why: "10%"},
		"bad again":                         {canary: true, change: func(c *Channel, n *Node) { n.Bad = map[Digest]int{newer: 1}; c.Canary.Attempt = 1 }, want: Stable, why: "it is stable", warns: "was bad"},
		"stable was bad":                    {change: func(_ *Channel, n *Node) { n.Bad = map[Digest]int{old: 0} }, want: Keep, why: "stable " + old.Short() + " was bad for this node: push another, or ecsnode bundle retry"},
		"both were bad":                     {canary: true, change: func(_ *Channel, n *Node) { n.Bad = map[Digest]int{old: 0, newer: 0} }, want: Keep, why: "was bad", warns: "was bad"},
		"an old agent, canary":              {canary: true, change: func(c *Channel, n *Node) { c.Canary.MinimumAgent, n.Agent = "v1.10.0", "v1.9.3" }, want: Stable, why: "it is stable", warns: "takes agent v1.10.0, and this is v1.9.3"},
		"an old agent":                      {change: func(c *Channel, n *Node) { c.Stable.MinimumAgent, n.Agent = "v1.10.0", "v1.9.3" }, want: Keep, why: "takes agent"},
		"a new agent":                       {change: func(c *Channel, n *Node) { c.Stable.MinimumAgent, n.Agent = "v1.9.0", "v1.10.3-dirty" }, want: Stable, why: "it is stable"},
		"an agent after the release":        {change: func(c *Channel, n *Node) { c.Stable.MinimumAgent, n.Agent = "v1.9.0", "v1.9.0-4-gabc123def" }, want: Stable, why: "it is stable"},
		"an agent before the release":       {change: func(c *Channel, n *Node) { c.Stable.MinimumAgent, n.Agent = "v1.9.0", "v1.9.0-rc1" }, want: Keep, why: "takes agent"},
		"an agent of no known version":      {change: func(c *Channel, n *Node) { c.Stable.MinimumAgent, n.Agent = "v1.9.0", "devel" }, want: Keep, why: "takes agent"},
		"an older document":                 {change: func(_ *Channel, n *Node) { n.Seen = 8 }, want: Keep, refused: true, why: "serial 7 is older than 8, which the node has seen"},
		"the same document":                 {change: func(_ *Channel, n *Node) { n.Seen = 7 }, want: Stable, why: "it is stable"},
		"expired just now":                  {change: func(c *Channel, _ *Node) { c.Expires = now }, want: Keep, refused: true, why: "it expired at 2026-03-01T12:00:00Z: push or sign it anew"},
		"expires in a week":                 {change: func(c *Channel, _ *Node) { c.Expires = now.Add(7 * 24 * time.Hour) }, want: Stable, why: "it is stable", warns: "expires at 2026-03-08"},
		"expires in more than a week":       {change: func(c *Channel, _ *Node) { c.Expires = now.Add(7*24*time.Hour + time.Second) }, want: Stable, why: "it is stable"},
		"older, and expired, and a new key": {change: func(c *Channel, n *Node) { n.Seen, c.Expires = math.MaxUint64, now.Add(-1) }, want: Keep, refused: true, why: "older"},
	} {
		c, n := channel(), Node{ID: in(tc.canary), Agent: "v1.0.0"}
		if tc.change != nil {
			tc.change(&c, &n)
		}
		d := c.Choose(n, now)
		want := map[Choice]Digest{Stable: old, Trial: newer}[tc.want]
		if d.Choice != tc.want || d.Slot.Digest != want || d.Refused != tc.refused || !strings.Contains(d.Why, tc.why) {
			t.Errorf("%s: %v %s refused %t: %s", name, d.Choice, d.Slot.Digest.Short(), d.Refused, d.Why)
		}
		if got := strings.Join(d.Warnings, "; "); tc.warns == "" && got != "" || !strings.Contains(got, tc.warns) {
			t.Errorf("%s: warns %q", name, got)
		}
	}
}

// TestACanaryOnlyGrows: over 1000 nodes, each percentage is about that many of
// them, and all those of the smaller ones.
func TestACanaryOnlyGrows(t *testing.T) {
	t.Parallel()
	tries := map[string]bool{}
	for percent := range 101 {
		n := 0
		for i := range 1000 {
			id := fmt.Sprintf("i-%017x", i*7919)
			is := InCanary(id, newer, percent)
			if is {
				n++
			}
			if tries[id] && !is {
				t.Fatalf("%s tries at less than %d%% and not at %d%%", id, percent, percent)
			}
			tries[id] = is
		}
		if diff := math.Abs(float64(n - 10*percent)); diff > 45 || percent%100 == 0 && diff > 0 {
			t.Errorf("%d%% are %d of 1000", percent, n)
		}
		if percent == 10 {
			t.Logf("10%% are %d of 1000", n)
		}
	}
}

func TestAnotherBundleIsTriedByOthers(t *testing.T) {
	t.Parallel()
	both := 0
	for i := range 1000 {
		id := fmt.Sprintf("i-%017x", i)
		if InCanary(id, old, 10) && InCanary(id, newer, 10) {
			both++
		}
	}
	if both > 30 {
		t.Errorf("%d of 1000 try both", both)
	}
}

func TestSecretKeys(t *testing.T) {
	t.Parallel()
	k := key(t)
	plain, err := k.Marshal("")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseSecretKey(plain, "ignored"); err != nil || !got.Public().Equal(k.Public()) || Encrypted(plain) {
		t.Errorf("without a password: %v", err)
	}
	for _, text := range []string{"", "untrusted comment: x\n", "RWQ", string(plain[:len(plain)-9])} {
		if _, err := ParseSecretKey([]byte(text), ""); err == nil {
			t.Errorf("%q is taken for a key", text)
		}
	}
	// One whose password costs little to try, "a password"; ours take 1 GiB.
	file, err := os.ReadFile("testdata/password.key")
	if err != nil || !Encrypted(file) {
		t.Fatal(err)
	}
	if got, err := ParseSecretKey(file, "a password"); err != nil || got.Public().ID() != "1122334455667788" {
		t.Error(err)
	}
	for _, password := range []string{"another", ""} {
		if _, err := ParseSecretKey(file, password); !errors.Is(err, ErrPassword) {
			t.Errorf("another password: %v", err)
		}
	}
}

func TestPublicKeys(t *testing.T) {
	t.Parallel()
	k := key(t).Public()
	if got, err := ParseKey("untrusted comment: mine\n" + k.String() + "\n"); err != nil || !got.Equal(k) {
		t.Error(err)
	}
	for _, text := range []string{"", "RWQ", k.String() + "x", k.String()[1:]} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("%q is taken for a key", text)
		}
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"s3://acme": "s3://acme/channels/x", "s3://acme/": "s3://acme/channels/x", "s3://acme/a/b/": "s3://acme/a/b/channels/x",
		"acme": "", "s3://": "", "s3:///x": "", "s3://Acme": "", "s3://acme//x": "", "s3://acme/../x": "", "s3://acme/a b": "", "https://acme": "",
	} {
		s, err := ParseSource(text)
		if got := s.Object("", ChannelKey("x")).String(); want == "" && err == nil || want != "" && (err != nil || got != want) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
		if again, err := ParseSource(s.String()); want != "" && (err != nil || again != s) {
			t.Errorf("%s: %s, %v", text, s, err)
		}
	}
}
