package imds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// Forwarded reports whether what the service answers lives long enough to be
// forwarded once, as it must be to reach a container on a bridge: whether the
// instance's HttpPutResponseHopLimit is 2 or more. The limit is the time to
// live of the packets of a token's answer and can be read nowhere on the
// instance; a socket that drops packets at their end (IP_MINTTL in ip(7)) sees
// what such a container sees.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html
//
// It makes two requests, three where the answer is no. Where the service does
// not answer at all the error is facts.ErrUnavailable.
func (c *Client) Forwarded(ctx context.Context) (bool, error) {
	far := c.token(ctx, &net.Dialer{Control: dropAtTheirEnd})
	if far == nil {
		return true, nil
	}
	near := c.token(ctx, &net.Dialer{})
	if near == nil { // the service answers: was it only slow before?
		if far = c.token(ctx, &net.Dialer{Control: dropAtTheirEnd}); far == nil {
			return true, nil
		}
		var gone net.Error
		if errors.As(far, &gone) && gone.Timeout() {
			return false, nil
		}
	}
	return false, fmt.Errorf("cannot tell the hop limit of instance metadata: %w: %s", facts.ErrUnavailable, httpx.Cause(ctx, far))
}

// hopTime is how long an answer is waited for that may never come.
const hopTime = time.Second

// token asks for a token on a connection of its own.
func (c *Client) token(ctx context.Context, dialer *net.Dialer) error {
	ctx, cancel := context.WithTimeout(ctx, hopTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, strings.TrimSuffix(c.endpoint, "/")+"/latest/api/token", nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "1")
	req.Close = true
	resp, err := httpx.NewClient(httpx.Options{Dial: dialer.DialContext}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	return nil
}

// ipv6MinHopCount is IPV6_MINHOPCOUNT of linux/in6.h, which package syscall lacks.
const ipv6MinHopCount = 73

func dropAtTheirEnd(network, _ string, conn syscall.RawConn) error {
	level, option := syscall.IPPROTO_IP, syscall.IP_MINTTL
	if strings.HasSuffix(network, "6") {
		level, option = syscall.IPPROTO_IPV6, ipv6MinHopCount
	}
	var err error
	if failed := conn.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), level, option, 2) }); failed != nil {
		return failed
	}
	return err
}
