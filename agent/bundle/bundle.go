// Package bundle is the format of configuration bundles: how one is packed,
// named by its digest, chosen by a channel, signed, verified and unpacked.
//
// A bundle is ecsnode.yaml with templates, files and hooks beside it, packed
// into a tar.zst that is the same bytes wherever it is built. Its name is the
// SHA-256 of those bytes. A channel is a small signed document that says which
// bundle the nodes that follow it run: stable, and while it is tried canary on
// some of them.
//
// The package decides and reads; of the outside it touches only the directory
// that a [Store] is given.
package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// What a bundle consists of. Nothing else may stand at its top.
const (
	ConfigFile  = "ecsnode.yaml"
	TemplateDir = "templates"
	FileDir     = "files"
	HookDir     = "hooks"
)

// Where a node keeps what it has unpacked, each in a directory that has its
// digest for a name, and which of them is in effect: a symbolic link, or nothing
// if the baked configuration stands alone.
const (
	Dir    = "/var/lib/ecsnode/bundles"
	Active = Dir + "/active"
)

// Path is where a bundle is unpacked on a node.
func (d Digest) Path() string { return Dir + "/" + string(d) }

// Digest is the SHA-256 of a packed bundle, as 64 hexadecimal digits.
type Digest string

var digestPattern = pattern.New(`^[0-9a-f]{64}$`)

// Sum is the digest of an archive.
func Sum(archive []byte) Digest {
	sum := sha256.Sum256(archive)
	return Digest(hex.EncodeToString(sum[:]))
}

// ParseDigest takes a digest in full.
func ParseDigest(text string) (Digest, error) {
	if !digestPattern.MatchString(text) {
		return "", fmt.Errorf("%q is no digest: expected 64 hexadecimal digits", text)
	}
	return Digest(text), nil
}

// shortDigest is how much of a digest people and ECS attributes are shown.
const shortDigest = 12

// Short is the beginning of the digest, which tells bundles of a fleet apart.
func (d Digest) Short() string { return string(d[:min(len(d), shortDigest)]) }

// Where things are below a channel source, which is a bucket and a prefix.

// Suffix is what the names of bundles end in.
const Suffix = ".tar.zst"

// ObjectKey is where a bundle is kept.
func ObjectKey(d Digest) string { return "bundles/" + string(d) + Suffix }

// ChannelKey is where the current document of a channel is kept.
func ChannelKey(name string) string { return "channels/" + name }

// HistoryKey is where a document is kept that was current once. Keys sort as
// their serials do.
func HistoryKey(name string, serial uint64) string {
	return fmt.Sprintf("%s%020d", HistoryPrefix(name), serial)
}

// HistoryPrefix is what the keys of a channel's history begin with.
func HistoryPrefix(name string) string { return "history/" + name + "/" }
