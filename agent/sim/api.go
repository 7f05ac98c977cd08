package sim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// newAPIs is the table of AWS APIs: an API joins with a line here.
func newAPIs() []*api {
	return []*api{ec2API(), ecsAPI(), autoscalingAPI(), s3API(), ssmAPI(), secretsManagerAPI()}
}

// api is one AWS API: operations behind one wire protocol.
type api struct {
	name       string // as in the scope of signatures and in IAM actions: "ec2"
	protocol   protocol
	operations map[string]operation
	// signing is how requests are signed; nil: for the API's name and the Region
	// of the caller.
	signing func(*http.Request) signing
}

// operation is one entry of an API's table.
type operation struct {
	// action is the IAM action, "" where it has the operation's name.
	action string
	// bucket names the request-rate bucket that the call draws from; nil for
	// an operation without.
	bucket func(*apiRequest) string
	// resource is the ARN that the action is on, which a refusal names; nil for
	// an action that knows none.
	resource func(*apiRequest) string
	// handle answers the call; its error is an *apiError. The world's lock is
	// held.
	handle func(*apiRequest) (any, error)
}

// apiRequest is a call whose caller is known.
type apiRequest struct {
	world     *World
	operation string
	id        string // request id
	caller    *credentials
	http      *http.Request // its body is read
	form      url.Values    // query protocol
	body      []byte
	needed    []Permission
}

// allows says whether the caller may do something, and notes that it was asked
// for; the world's lock is held.
func (r *apiRequest) allows(action, resource string) bool {
	p := Permission{Action: action, Resource: resource}
	if service, name, _ := strings.Cut(action, ":"); service == "ecs" && !slices.Contains(withoutCluster, name) {
		p.Cluster = clusterARN(r)
	}
	r.needed = append(r.needed, p)
	return !r.world.isDenied(action, resource)
}

// apiError is an error answer of an AWS API.
type apiError struct {
	Status        int
	Code, Message string
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

// protocol is how an AWS API speaks on the wire.
type protocol interface {
	// operation is the operation that r asks of this API, "" if r is not in
	// the protocol or not for the API.
	operation(r *http.Request, form url.Values) string
	writeAnswer(w http.ResponseWriter, operation, requestID string, answer any)
	writeError(w http.ResponseWriter, requestID string, e *apiError)
	// refusal is how the protocol says why it does not let a caller in.
	refusal(why authFailure) *apiError
	// denied is how it says that the caller lacks permission.
	denied(principal, action, resource string) *apiError
	// throttled is how it says that there were too many requests.
	throttled() *apiError
	// failure is how it puts an HTTP status that no operation gives.
	failure(status int) *apiError
}

// What is read of a request at most, in bytes.
const (
	maxRequestBody = 1 << 20
	maxS3Body      = 64 << 20
)

// AWS is all AWS APIs behind one endpoint, for AWS_ENDPOINT_URL. Which API a
// request is for is told by the signature's scope, and where that does not fit,
// by the operation it names.
func (w *World) AWS() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		limit := int64(maxRequestBody)
		if forS3(r) {
			limit = maxS3Body
		}
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, limit))
		if err != nil {
			w.serve(rw, r, notUnderstood("unknown", strings.TrimPrefix(r.URL.Path, "/"), http.StatusRequestEntityTooLarge, err.Error()))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(r.URL.RawQuery)
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			form, _ = url.ParseQuery(string(body))
		}
		a, operation := w.route(r, form)
		if a == nil {
			signature, _ := parseAuthorization(r.Header.Get("Authorization"))
			w.serve(rw, r, notUnderstood(cmp.Or(signature.service, "unknown"), strings.TrimPrefix(r.URL.Path, "/"), http.StatusNotImplemented, "the simulator has no such API"))
			return
		}
		w.mu.Lock()
		id := w.requestID()
		w.mu.Unlock()
		rw.Header().Set("X-Amzn-Requestid", id)
		call := &apiRequest{world: w, operation: operation, id: id, http: r, form: form, body: body}
		w.serve(rw, r, exchange{
			service: a.name, operation: operation, errors: protocolErrors{a.protocol, id},
			handle: func(rw http.ResponseWriter, r *http.Request) {
				call.http = r
				w.serveAPI(rw, r, a, call)
			},
			needed: func() []Permission { return call.needed },
		})
	})
}

// route finds the API and the operation a request is for.
func (w *World) route(r *http.Request, form url.Values) (*api, string) {
	signature, _ := parseAuthorization(r.Header.Get("Authorization"))
	var scoped, naming *api
	for _, a := range w.apis {
		_, known := a.operations[a.protocol.operation(r, form)]
		if a.name == signature.service {
			scoped = a
		}
		if known && (naming == nil || scoped == a) {
			naming = a
		}
	}
	found := cmp.Or(naming, scoped)
	if found == nil {
		return nil, ""
	}
	return found, found.protocol.operation(r, form)
}

// serveAPI lets a request through signature, request rate, permission and
// operation, in this order.
func (w *World) serveAPI(rw http.ResponseWriter, r *http.Request, a *api, call *apiRequest) {
	answer, err := w.callAPI(r, a, call)
	if err == nil {
		a.protocol.writeAnswer(rw, call.operation, call.id, answer)
		return
	}
	var refused *apiError
	if !errors.As(err, &refused) {
		refused = a.protocol.failure(http.StatusInternalServerError)
		refused.Message = err.Error()
	}
	a.protocol.writeError(rw, call.id, refused)
}

func (w *World) callAPI(r *http.Request, a *api, call *apiRequest) (any, error) {
	as := signing{service: a.name}
	if a.signing != nil {
		as = a.signing(r)
	}
	caller, why := w.authenticate(r, call.body, as)
	if why != authenticated {
		return nil, a.protocol.refusal(why)
	}
	call.caller = caller
	op, known := a.operations[call.operation]
	if !known {
		unknown := a.protocol.failure(http.StatusBadRequest)
		unknown.Message = fmt.Sprintf("the simulator has no operation %q of %s", call.operation, a.name)
		return nil, unknown
	}
	if op.bucket != nil && !w.throttle.take(op.bucket(call)) {
		return nil, a.protocol.throttled()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	resource := anything(call)
	if op.resource != nil {
		resource = op.resource(call)
	}
	if action := a.name + ":" + cmp.Or(op.action, call.operation); !call.allows(action, resource) {
		return nil, a.protocol.denied(caller.principal, action, resource)
	}
	return op.handle(call)
}

// drawsFrom is the bucket function of an operation that always draws from one.
func drawsFrom(bucket string) func(*apiRequest) string {
	return func(*apiRequest) string { return bucket }
}

// Deny takes the permission for IAM actions ("ec2:DescribeTags") away from
// every role, or that for an action on some resources, in whose ARN * is any run
// of characters ("ssm:GetParameters on arn:aws:ssm:*:parameter/prod/*"); Allow
// gives it back. Everything is allowed at the start.
func (w *World) Deny(actions ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, action := range actions {
		w.denied[action] = true
	}
}

// Allow gives back what Deny took.
func (w *World) Allow(actions ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, action := range actions {
		delete(w.denied, action)
	}
}

// isDenied says whether an action on a resource is denied; the caller holds the
// lock.
func (w *World) isDenied(action, resource string) bool {
	if w.denied[action] {
		return true
	}
	for denied := range w.denied {
		if on, limited := strings.CutPrefix(denied, action+" on "); limited && matchesWildcard(on, resource) {
			return true
		}
	}
	return false
}

// requestID makes a request id; the caller holds the lock.
func (w *World) requestID() string {
	h := w.randomHex(32)
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// protocolErrors is wireErrors for one call of an AWS API.
type protocolErrors struct {
	protocol  protocol
	requestID string
}

func (p protocolErrors) writeStatus(w http.ResponseWriter, status int) {
	p.protocol.writeError(w, p.requestID, p.protocol.failure(status))
}

func (p protocolErrors) writeThrottled(w http.ResponseWriter) {
	p.protocol.writeError(w, p.requestID, p.protocol.throttled())
}

// notUnderstood answers what no API here understands, so that a missing one is
// found in the call log and not mistaken for an answer of AWS.
func notUnderstood(service, operation string, status int, message string) exchange {
	return exchange{
		service: service, operation: operation, errors: imdsErrors{},
		handle: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, message, status) },
	}
}
