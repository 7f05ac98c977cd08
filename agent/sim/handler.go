package sim

import (
	"net/http"
	"regexp"
	"strings"
)

// imdsPath is what of a shared endpoint belongs to IMDS.
var imdsPath = regexp.MustCompile(`^/(latest|1\.0|20[0-9]{2}-[0-9]{2}-[0-9]{2})(/|$)`)

// Handler is the whole world at one endpoint: IMDS under /latest and the dated
// versions, introspection under /v1, control under /_sim, and the AWS APIs at
// everything else. What is signed for S3 is S3's, whatever its path.
func (w *World) Handler() http.Handler {
	imds, introspection, control, aws := w.IMDS(), w.Introspection(), w.Control(), w.AWS()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case forS3(r):
			aws.ServeHTTP(rw, r)
		case imdsPath.MatchString(path):
			imds.ServeHTTP(rw, r)
		case strings.HasPrefix(path, "/v1/"):
			introspection.ServeHTTP(rw, r)
		case strings.HasPrefix(path, "/_sim/"):
			control.ServeHTTP(rw, r)
		default:
			aws.ServeHTTP(rw, r)
		}
	})
}
