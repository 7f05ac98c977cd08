package sim

import (
	"net/http"
	"time"
)

// exchange is one request to one service on its way through the shared layer.
type exchange struct {
	service   string // "imds", "ec2", ...: in the call log and in fault patterns
	operation string // "DescribeTags", "meta-data/instance-id"
	instance  string // whose IMDS or ECS agent was asked, "" for the AWS APIs
	errors    wireErrors
	handle    http.HandlerFunc    // answers the request
	needed    func() []Permission // what IAM looked for meanwhile; nil: it is not asked
}

// wireErrors writes, in one service's own form, the errors that are not an
// operation's own.
type wireErrors interface {
	// writeStatus answers with an HTTP status as the service would have it.
	writeStatus(w http.ResponseWriter, status int)
	// writeThrottled answers that there were too many requests.
	writeThrottled(w http.ResponseWriter)
}

// serve is the one layer in front of every service: it logs the call and lets
// a fault take the answer's place.
func (w *World) serve(rw http.ResponseWriter, r *http.Request, x exchange) {
	start := time.Now()
	done := w.calls.begin(Call{
		Time: start, Service: x.service, Operation: x.operation, Instance: x.instance,
		Method: r.Method, Path: r.URL.Path, Client: r.RemoteAddr,
	})
	answer := &countingWriter{ResponseWriter: rw}
	var fault string
	defer func() {
		var needed []Permission
		if x.needed != nil {
			needed = x.needed()
		}
		done(answer.status, answer.bytes, time.Since(start), fault, needed)
	}()

	f, found := w.faults.next(x.service, x.operation)
	if !found {
		x.handle(answer, r)
		return
	}
	fault = f.String()
	w.applyFault(f, answer, r, x)
}

// countingWriter notes the status and size of an answer.
type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (c *countingWriter) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (c *countingWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
