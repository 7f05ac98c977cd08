package sim

import (
	"fmt"
	"strings"
	"time"
)

// Role credentials last this long and are replaced this long before they end.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
// ("available at least five minutes before the expiration of the old ones").
const (
	credentialLifetime = 6 * time.Hour
	credentialOverlap  = 15 * time.Minute
)

// credentials are one set of temporary credentials of a node's role.
type credentials struct {
	accessKeyID, secret, token string
	issued, expires            time.Time
	principal                  string // ARN, as AWS's refusals name it
	region                     string
}

// currentCredentials are those IMDS hands out now. The caller holds the lock.
func (n *Node) currentCredentials() *credentials {
	now := time.Now()
	if n.issued != nil && now.Before(n.issued.expires.Add(-credentialOverlap)) {
		return n.issued
	}
	w := n.world
	for id, c := range w.credentials {
		// Kept for a while so that using them is told apart from inventing them.
		if now.After(c.expires.Add(credentialLifetime)) {
			delete(w.credentials, id)
		}
	}
	const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	issued := now.UTC().Truncate(time.Second)
	n.issued = &credentials{
		accessKeyID: "ASIA" + w.randomText(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
		secret:      w.randomText(40, alphanumeric),
		token:       "IQoJ" + w.randomText(352, alphanumeric),
		issued:      issued,
		expires:     issued.Add(credentialLifetime),
		principal:   fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", n.instance.Account, n.instance.Role, n.instance.ID),
		region:      n.instance.Region,
	}
	if n.tokenless {
		n.issued.accessKeyID, n.issued.token = strings.Replace(n.issued.accessKeyID, "ASIA", "AKIA", 1), ""
	}
	w.credentials[n.issued.accessKeyID] = n.issued
	return n.issued
}

// SetSessionTokens says whether the credentials of the role, which are others from
// now on, have a session token. AWS's have; without they are good for another S3
// server too, to which they are an ordinary user's.
func (n *Node) SetSessionTokens(on bool) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.issued, n.tokenless = nil, !on
}

// document is iam/security-credentials/<role>. Shape:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
func (c *credentials) document() string {
	return toJSON(struct {
		Code            string
		LastUpdated     string
		Type            string
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		Expiration      string
	}{
		Code: "Success", LastUpdated: c.issued.Format(time.RFC3339), Type: "AWS-HMAC", AccessKeyID: c.accessKeyID,
		SecretAccessKey: c.secret, Token: c.token, Expiration: c.expires.Format(time.RFC3339),
	})
}

// instanceProfile is iam/info. Shape:
// aws/amazon-ec2-metadata-mock:pkg/config/defaults/aemm-metadata-default-values.json.
// The caller holds the lock.
func (n *Node) instanceProfile() string {
	return toJSON(struct {
		Code               string
		LastUpdated        string
		InstanceProfileArn string
		InstanceProfileID  string `json:"InstanceProfileId"`
	}{
		Code: "Success", LastUpdated: n.currentCredentials().issued.Format(time.RFC3339),
		InstanceProfileArn: fmt.Sprintf("arn:aws:iam::%s:instance-profile/%s", n.instance.Account, n.instance.Role),
		InstanceProfileID:  "AIPA0123456789ABCDEFG",
	})
}
