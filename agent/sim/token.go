package sim

import (
	"net/http"
	"strconv"
	"time"
)

const (
	tokenTTLHeader = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	tokenHeader    = "X-Aws-Ec2-Metadata-Token"
	maxTokenTTL    = 21600
)

// serveToken answers api/token. Sources: see IMDS; another method than PUT is
// 405 with an Allow header in the capture in jtblin/aws-mock-metadata:server.go.
func (n *Node) serveToken(w http.ResponseWriter, r *http.Request, version string) {
	if r.Method != http.MethodPut {
		w.Header().Set("Allow", "OPTIONS, PUT")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	_, forwarded := r.Header["X-Forwarded-For"]
	if version != "latest" || forwarded {
		imdsErrors{}.writeStatus(w, http.StatusForbidden)
		return
	}
	ttl, err := strconv.Atoi(r.Header.Get(tokenTTLHeader))
	if err != nil || ttl < 1 || ttl > maxTokenTTL {
		imdsErrors{}.writeStatus(w, http.StatusBadRequest)
		return
	}
	token := n.newToken(time.Duration(ttl) * time.Second)
	h := w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("Content-Length", strconv.Itoa(len(token)))
	h.Set(tokenTTLHeader, strconv.Itoa(ttl))
	_, _ = w.Write([]byte(token))
}

// newToken makes a session token in the form real ones have: 56 characters of
// URL-safe base64.
func (n *Node) newToken(ttl time.Duration) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	now := time.Now()
	for token, expires := range n.tokens {
		if !now.Before(expires) {
			delete(n.tokens, token)
		}
	}
	token := "AQAEA" + n.world.randomText(49, alphabet) + "=="
	n.tokens[token] = now.Add(ttl)
	return token
}

// checkToken says whether token is good, and for how long. It is in its last
// instant too: virtual time makes clients meet it exactly, and the SDK's client
// counts it in.
func (n *Node) checkToken(token string) (remaining time.Duration, valid bool) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	remaining = time.Until(n.tokens[token])
	return remaining, remaining >= 0
}
