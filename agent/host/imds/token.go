package imds

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// tokenGate lets readings through one at a time while there is no good session
// token, so that one of them gets it for all. The SDK would see to that too, but
// with a lock: the others could not give up when their time is over.
type tokenGate struct {
	turn chan struct{} // holds a value while one is inside

	mu    sync.Mutex
	until time.Time // when the token expires
}

func newTokenGate() *tokenGate { return &tokenGate{turn: make(chan struct{}, 1)} }

// enter returns when it is the caller's turn, or at once while there is a good
// token; leave may be called more than once.
func (g *tokenGate) enter(ctx context.Context) (leave func(), err error) {
	if g.open() {
		return func() {}, nil
	}
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave = sync.OnceFunc(func() { <-g.turn })
	if g.open() {
		leave() // another has got the token meanwhile
	}
	return leave, nil
}

func (g *tokenGate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Before(g.until)
}

func (g *tokenGate) openFor(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = time.Now().Round(0).Add(d) // by the wall clock, as the SDK has it
}

var errToken = errors.New("the session token makes no sense")

// Here and beside it lengths are checked apart from patterns: a counted
// repetition of hundreds costs more to compile than a pass to make.
var (
	tokenForm = pattern.New(`^[!-~]+$`)
	tokenTTL  = pattern.New(`^[1-9][0-9]{0,5}$`)
)

const maxToken = 1024 // real ones have 56 characters

// checkToken returns how long a token just received is good. It refuses what
// cannot be sent in a header: the SDK would keep it until it expires, and no
// request would leave the machine meanwhile.
func checkToken(resp *http.Response) (time.Duration, error) {
	token, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(token))
	ttl := resp.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds")
	if len(token) > maxToken || !tokenForm.Match(token) || !tokenTTL.MatchString(ttl) {
		return 0, errToken
	}
	seconds, err := strconv.Atoi(ttl)
	return time.Duration(seconds) * time.Second, err
}
