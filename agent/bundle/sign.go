package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"aead.dev/minisign"
)

// A channel is one object, so that nobody ever reads a document beside the
// signature of another: the four lines of a minisign signature, then the
// document. head -n 4 and tail -n +5 take them apart for minisign itself.
const signatureLines = 4

var (
	// ErrKey is a document signed by a key that is not trusted.
	ErrKey = errors.New("it is not signed by a trusted key")
	// ErrSignature is a document that its signature does not belong to.
	ErrSignature = errors.New("its signature is wrong")
)

// Key is a public key whose documents are trusted.
type Key struct{ key minisign.PublicKey }

// UnmarshalText implements encoding.TextUnmarshaler: the last line of a
// minisign.pub.
func (k *Key) UnmarshalText(text []byte) error {
	var key minisign.PublicKey
	if err := key.UnmarshalText(bytes.TrimSpace(text)); err != nil {
		return fmt.Errorf("%q is no public key of minisign", text)
	}
	k.key = key
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// String is the key on one line.
func (k Key) String() string { return k.key.String() }

// ID is the short name of the key that minisign shows.
func (k Key) ID() string { return keyID(k.key.ID()) }

// Equal reports whether both are the same key.
func (k Key) Equal(o Key) bool { return k.key.Equal(o.key) }

// Expected says what a setting takes.
func (Key) Expected() string { return `a public key of minisign such as "RWQ…"` }

// SchemaPattern is what a schema can check of it.
func (Key) SchemaPattern() string { return `^RW[A-Za-z0-9+/]{54}$` }

func keyID(id uint64) string { return fmt.Sprintf("%016X", id) }

// ParseKey reads a public key.
func ParseKey(text string) (Key, error) {
	var k Key
	err := k.UnmarshalText([]byte(text))
	return k, err
}

// SecretKey signs channels.
type SecretKey struct{ key minisign.PrivateKey }

// ErrPassword is a secret key that takes another password.
var ErrPassword = errors.New("the password is wrong, or the key is damaged")

// NewKey makes a key pair.
func NewKey() (SecretKey, error) {
	_, key, err := minisign.GenerateKey(nil)
	return SecretKey{key}, err
}

// Encrypted reports whether the content of a secret key's file takes a password.
func Encrypted(file []byte) bool { return minisign.IsEncrypted(bytes.TrimSpace(file)) }

// ParseSecretKey reads the content of a secret key's file. With a password that
// takes seconds and 1 GiB of memory, by design of minisign.
func ParseSecretKey(file []byte, password string) (SecretKey, error) {
	file = bytes.TrimSpace(file)
	if !Encrypted(file) {
		var key minisign.PrivateKey
		if err := key.UnmarshalText(file); err != nil {
			return SecretKey{}, errors.New("it is no secret key of minisign")
		}
		return SecretKey{key}, nil
	}
	key, err := minisign.DecryptKey(password, file)
	if err != nil {
		return SecretKey{}, ErrPassword
	}
	return SecretKey{key}, nil
}

// Marshal is the content of the key's file; without a password it is as good as
// the key for whoever reads it.
func (k SecretKey) Marshal(password string) ([]byte, error) {
	var text []byte
	var err error
	if password == "" {
		text, err = k.key.MarshalText()
	} else {
		text, err = minisign.EncryptKey(password, k.key)
	}
	return append(text, '\n'), err
}

// Public is the key by which others verify what this one signs.
func (k SecretKey) Public() Key {
	public, _ := k.key.Public().(minisign.PublicKey)
	return Key{public}
}

// comment is the trusted comment of a document: what it is, so that nothing else
// the key has signed can be taken for it.
func comment(c *Channel) string {
	return fmt.Sprintf("ecsnode channel %s serial %d", c.Name, c.Serial)
}

// Seal signs a channel and returns the object that nodes read.
func Seal(c *Channel, key SecretKey) ([]byte, error) {
	document, err := c.Marshal()
	if err != nil {
		return nil, fmt.Errorf("cannot sign the channel %s: %w", c.Name, err)
	}
	r := minisign.NewReader(bytes.NewReader(document))
	if _, err := new(bytes.Buffer).ReadFrom(r); err != nil {
		return nil, err
	}
	signature := r.SignWithComments(key.key, comment(c), "verify with "+key.Public().String())
	return append(signature, document...), nil
}

// Open reads what [Seal] has made, of the channel of this name, if one of the
// keys has signed it. Nothing of the document is looked at before.
func Open(sealed []byte, name string, keys []Key) (*Channel, error) {
	if len(sealed) > MaxChannel {
		return nil, fmt.Errorf("it is longer than %d KiB", MaxChannel>>10)
	}
	end := 0
	for range signatureLines {
		line := bytes.IndexByte(sealed[end:], '\n')
		if line < 0 {
			return nil, fmt.Errorf("%w: it does not begin with the lines of one", ErrSignature)
		}
		end += line + 1
	}
	return Verify(keys, name, sealed[end:], sealed[:end])
}

// Verify is Open for a document and a signature that come apart.
func Verify(keys []Key, name string, document, signature []byte) (*Channel, error) {
	said, err := verify(keys, document, signature)
	if err != nil {
		return nil, err
	}
	c, err := ParseChannel(document)
	switch {
	case err != nil:
		return nil, err
	case said != comment(c):
		return nil, fmt.Errorf("%w: it was signed as %q and not as %q", ErrSignature, said, comment(c))
	case c.Name != name:
		return nil, fmt.Errorf("%w: it is of the channel %s and not of %s", ErrSignature, c.Name, name)
	}
	return c, nil
}

// verify returns the trusted comment.
func verify(keys []Key, document, text []byte) (string, error) {
	var s minisign.Signature
	if err := s.UnmarshalText(text); err != nil || s.Algorithm != minisign.HashEdDSA {
		return "", fmt.Errorf("%w: it has none that is minisign's", ErrSignature)
	}
	var ids []string
	for _, k := range keys {
		if k.key.ID() != s.KeyID {
			ids = append(ids, k.ID())
			continue
		}
		if !minisign.Verify(k.key, document, text) {
			return "", fmt.Errorf("%w: it is not what key %s has signed", ErrSignature, k.ID())
		}
		return s.TrustedComment, nil
	}
	if len(ids) == 0 {
		return "", fmt.Errorf("%w: none is configured", ErrKey)
	}
	return "", fmt.Errorf("%w: it has key %s, trusted are %s", ErrKey, keyID(s.KeyID), strings.Join(ids, ", "))
}
