package sim

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// IMDS is the node's instance metadata service with tokens required (IMDSv2
// only). What is imitated, with its sources in the EC2 User Guide
// (instancedata-data-retrieval, instance-metadata-v2-how-it-works,
// configuring-instance-metadata-options):
//   - a token is made by PUT /latest/api/token with a TTL of 1 to 21600 seconds,
//     400 without one; the versioned paths and X-Forwarded-For are 403;
//   - every other request needs a token of this instance, 401 otherwise;
//   - a path that has nothing to tell now is 404, an instance without
//     HttpEndpoint is 403 throughout;
//   - GET and HEAD are the methods of everything else;
//   - the headers Server, Connection, Accept-Ranges and the token's remaining
//     TTL are those of Netflix/titus-executor:metadataserver/authentication.go.
func (n *Node) IMDS() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version, path := splitIMDSPath(r.URL.Path)
		h := w.Header()
		h.Set("Server", "EC2ws")
		h.Set("Connection", "close")
		n.world.serve(w, r, exchange{
			service: "imds", operation: path, instance: n.Instance().ID, errors: imdsErrors{},
			handle: func(w http.ResponseWriter, r *http.Request) { n.serveIMDS(w, r, version, path) },
		})
	})
}

// splitIMDSPath splits "/latest/meta-data/mac" into "latest" and
// "meta-data/mac".
func splitIMDSPath(path string) (version, rest string) {
	version, rest, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return version, rest
}

func (n *Node) serveIMDS(w http.ResponseWriter, r *http.Request, version, path string) {
	if n.isIMDSDisabled() {
		imdsErrors{}.writeStatus(w, http.StatusForbidden)
		return
	}
	if path == "api/token" {
		n.serveToken(w, r, version)
		return
	}
	remaining, valid := n.checkToken(r.Header.Get(tokenHeader))
	if !valid {
		imdsErrors{}.writeStatus(w, http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, found := n.lookupIMDS(version, path)
	if !found {
		imdsErrors{}.writeStatus(w, http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain")
	if path == "user-data" {
		h.Set("Content-Type", "application/octet-stream")
	}
	h.Set("Accept-Ranges", "none")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set(tokenTTLHeader, strconv.Itoa(int(remaining/time.Second)))
	_, _ = w.Write([]byte(body))
}

func (n *Node) isIMDSDisabled() bool {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.imdsDisabled
}

// imdsErrors are IMDS's error pages.
// Body: aws/amazon-ec2-metadata-mock:pkg/server/httpserver.go (404) and
// purpleclay/imds-mock:pkg/imds/middleware/v2.go (401).
type imdsErrors struct{}

func (imdsErrors) writeStatus(w http.ResponseWriter, status int) {
	title := fmt.Sprintf("%d - %s", status, http.StatusText(status))
	body := `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>` + title + `</title>
 </head>
 <body>
  <h1>` + title + `</h1>
 </body>
</html>
`
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// writeThrottled: AWS documents that IMDS throttles, not how it says so; 429 is
// a guess. Above 1,024 packets a second packets are dropped
// (amazonlinux/amazon-ec2-net-utils issue 120), which is FaultHang.
func (e imdsErrors) writeThrottled(w http.ResponseWriter) {
	e.writeStatus(w, http.StatusTooManyRequests)
}
