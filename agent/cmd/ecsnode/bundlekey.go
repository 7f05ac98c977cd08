package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ecsnode/ecsnode/agent/bundle"
)

// passwordVariable has the password of a secret key where nobody types it.
const passwordVariable = "ECSNODE_BUNDLE_PASSWORD"

const passwordHelp = `The password is read from --password-file, from ` + passwordVariable + ` or from the terminal,
in this order. It is never shown.`

// password finds the password of a secret key; how says what to ask for.
func password(file string, ask func() (string, error)) (string, error) {
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("cannot read the password: %w", err)
		}
		line, _, _ := strings.Cut(string(data), "\n")
		return strings.TrimSuffix(line, "\r"), nil
	}
	if text := os.Getenv(passwordVariable); text != "" {
		return text, nil
	}
	return ask()
}

// askPassword reads a line from the terminal without showing it.
func (a *app) askPassword(prompt string) (string, error) {
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		return "", exit{code: 1, err: errors.New("cannot ask for the password: there is no terminal"), advice: "Set " + passwordVariable + " or --password-file."}
	}
	fmt.Fprint(a.err, prompt)
	text, err := term.ReadPassword(in)
	fmt.Fprintln(a.err)
	return string(text), err
}

func (a *app) bundleKeygenCommand() *cobra.Command {
	var file string
	var none bool
	cmd := &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a key pair that signs channels: FILE and FILE.pub",
		Long: `keygen makes a key pair in the form of minisign. FILE is secret: who has it and its
password is root on the nodes. What it prints goes into bundle.keys of the image.

To replace a key, bake images that trust both, sign with the new one (with --trust
OLD.pub the first time), and leave the old one out of later images.

` + passwordHelp + `
To try a password takes seconds and 1 GiB of memory, by design.`,
		Args: exactly("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, name := range []string{args[0], args[0] + ".pub"} {
				if _, err := os.Lstat(name); err == nil {
					return fmt.Errorf("cannot make a key: %s is there already", name)
				}
			}
			var secret string
			if !none {
				var err error
				if secret, err = password(file, a.newPassword); err != nil {
					return err
				}
				if secret == "" {
					return exit{code: 1, err: errors.New("cannot make a key with an empty password"), advice: "A key without a password takes --no-password."}
				}
			}
			key, err := bundle.NewKey()
			if err != nil {
				return err
			}
			text, err := key.Marshal(secret)
			if err != nil {
				return err
			}
			if err := create(args[0], text, 0o600); err != nil {
				return err
			}
			public := key.Public()
			line := "untrusted comment: minisign public key " + public.ID() + "\n" + public.String() + "\n"
			if err := create(args[0]+".pub", []byte(line), 0o644); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "bundle:\n  keys: [%s]\n", public)
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "password-file", "", "file whose first line is the password")
	cmd.Flags().BoolVar(&none, "no-password", false, "the file alone is the key")
	return cmd
}

func (a *app) newPassword() (string, error) {
	text, err := a.askPassword("New password: ")
	if err != nil {
		return "", err
	}
	again, err := a.askPassword("Once more: ")
	if err == nil && again != text {
		err = errors.New("the two passwords are different")
	}
	return text, err
}

// errNoKey is a command that signs, without what to sign by.
var errNoKey = exit{code: 2, err: errors.New("--key names the file with the secret key, and is not set"), advice: "Make one with \"ecsnode bundle keygen\"."}

// secretKey reads the file of a secret key.
func (a *app) secretKey(name, passwordFile string) (bundle.SecretKey, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return bundle.SecretKey{}, fmt.Errorf("cannot read the key: %w", err)
	}
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(a.err, "warning: %s can be read by others: chmod 600\n", name)
	}
	secret := ""
	if bundle.Encrypted(data) {
		if secret, err = password(passwordFile, func() (string, error) { return a.askPassword("Password of " + name + ": ") }); err != nil {
			return bundle.SecretKey{}, err
		}
	}
	key, err := bundle.ParseSecretKey(data, secret)
	if err != nil {
		return key, fmt.Errorf("cannot use the key %s: %w", name, err)
	}
	return key, nil
}

// publicKey reads a public key from a file, or is one.
func publicKey(text string) (bundle.Key, error) {
	key, err := bundle.ParseKey(text)
	if err == nil {
		return key, nil
	}
	data, readErr := os.ReadFile(text)
	if errors.Is(readErr, fs.ErrNotExist) {
		return key, fmt.Errorf("%w, and no file with one", err)
	}
	if readErr != nil {
		return key, readErr
	}
	if key, err = bundle.ParseKey(string(data)); err != nil {
		return key, fmt.Errorf("%s is no public key of minisign", text)
	}
	return key, nil
}

func (a *app) bundleSignCommand() *cobra.Command {
	var keyFile, passwordFile, to string
	cmd := &cobra.Command{
		Use:   "sign CHANNEL.json --key FILE",
		Short: "Sign a channel's document, where what signs has no network",
		Long: `sign checks a channel's document and writes it as nodes read it: four lines of a
minisign signature, then the document. Put it into the bucket as channels/NAME, and
its bundles as bundles/DIGEST.tar.zst before. push does all of it.

With "signed" left out it is now. ` + passwordHelp,
		Args: exactly("CHANNEL.json"),
		RunE: func(_ *cobra.Command, args []string) error {
			if keyFile == "" {
				return errNoKey
			}
			data, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("cannot read the document: %w", err)
			}
			c, err := bundle.DraftChannel(data)
			if err != nil {
				return fmt.Errorf("cannot sign %s: %w", args[0], err)
			}
			if c.Signed.IsZero() {
				c.Signed = time.Now()
			}
			c.Signed, c.Expires = plainTime(c.Signed), plainTime(c.Expires)
			key, err := a.secretKey(keyFile, passwordFile)
			if err != nil {
				return err
			}
			sealed, err := bundle.Seal(c, key)
			if err != nil {
				return err
			}
			if to == "" {
				_, err := bytes.NewReader(sealed).WriteTo(a.out)
				return err
			}
			return create(to, sealed, 0o644)
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "file with the secret key")
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "file whose first line is the key's password")
	cmd.Flags().StringVarP(&to, "output", "o", "", "file to write (default standard output)")
	return cmd
}

// plainTime is a time as documents have it.
func plainTime(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Second)
}
