package facts

import "net/netip"

// IPVersion is 4 or 6.
type IPVersion int

// The versions.
const (
	IPv4 IPVersion = 4
	IPv6 IPVersion = 6
)

// MetadataRule lets packets of containers through to instance metadata, or
// refuses them.
type MetadataRule struct {
	From  netip.Addr // of the container; the zero value: any
	Allow bool
}
