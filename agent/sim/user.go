package sim

import (
	"fmt"
	"time"
)

// AddUser makes a user of the account who may do what is not denied, and returns
// the access key.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html
func (w *World) AddUser(name string) (accessKeyID, secret string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	c := &credentials{
		accessKeyID: "AKIA" + w.randomText(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
		secret:      w.randomText(40, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"),
		issued:      now, expires: now.AddDate(100, 0, 0), // such a key does not expire
		principal: fmt.Sprintf("arn:aws:iam::%s:user/%s", w.instance.Account, name),
		region:    w.instance.Region,
	}
	w.credentials[c.accessKeyID] = c
	return c.accessKeyID, c.secret
}
