package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/config/strict"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/image"
	"github.com/ecsnode/ecsnode/templates"
)

// maxUserData is how much user data may be, before it is put into base64.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html
const maxUserData = 16 << 10

// userData is what user data is made of.
type userData struct {
	fleet            string
	cluster, channel string
	settings, image  string // files
	tags             []string
	encoded          bool
}

func (a *app) userDataCommand() *cobra.Command {
	var u userData
	cmd := &cobra.Command{
		Use:   "userdata auto-scaling|spot-fleet",
		Short: "Print the user data of the instances of a fleet",
		Long: `userdata prints a cloud-config for instances of an Auto Scaling group or of a Spot
Fleet, which writes settings below /etc/ecsnode/conf.d before ecsnode reads them.
Most of what differs between fleets is better said by tags and by a bundle.

It is checked: that ecsnode takes the settings, that they hold no secret, which
every process of the instance could read, that all of it has no more than 16 KiB,
and that instance metadata can have the tags named by --tag: with a key that it
cannot have, EC2 launches no instance.

Exit status: 0 it is well, 1 it is not, and nothing is printed.`,
		ValidArgs: []string{"auto-scaling", "spot-fleet"},
		Args:      exactly("auto-scaling or spot-fleet"),
		RunE: func(cmd *cobra.Command, args []string) error {
			u.fleet = args[0]
			text, err := u.make()
			if err != nil {
				return err
			}
			encoded := base64.StdEncoding.EncodeToString([]byte(text))
			fmt.Fprintf(a.err, "%d of %d bytes, %d in base64\n", len(text), maxUserData, len(encoded))
			if u.encoded {
				text = encoded + "\n"
			}
			_, err = fmt.Fprint(a.out, text)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&u.cluster, "cluster", "", "the cluster, where no tag says it")
	flags.StringVar(&u.channel, "channel", "", "the channel of bundles, where no tag says it")
	flags.StringVar(&u.settings, "settings", "", "file with further settings, which count over all others")
	flags.StringVar(&u.image, "image", "", "ecsnode.yaml of the image, over which the settings count")
	flags.StringSliceVar(&u.tags, "tag", nil, "key of a tag that the instances get")
	flags.BoolVar(&u.encoded, "base64", false, "print it as launch templates take it")
	return cmd
}

// make returns the user data, if nothing is wrong with it.
func (u userData) make() (string, error) {
	text, found := templates.UserData(u.fleet)
	if !found {
		return "", fmt.Errorf("%q is no kind of fleet: expected auto-scaling or spot-fleet", u.fleet)
	}
	for _, key := range u.tags {
		if !facts.TagKeyInMetadata(key) {
			return "", fmt.Errorf("no instance can be launched with the tag %q and its tags in instance metadata: a key has letters, digits and + - = . , _ : @", key)
		}
	}
	var more strings.Builder
	for _, setting := range [][2]string{{"cluster", u.cluster}, {"channel", u.channel}} {
		if setting[1] != "" {
			fmt.Fprintf(&more, "%s: %s\n", setting[0], strconv.Quote(setting[1]))
		}
	}
	text += indented(more.String())
	if u.settings != "" {
		data, err := os.ReadFile(u.settings)
		if err != nil {
			return "", err
		}
		text += "  - path: /etc/ecsnode/conf.d/60-user-data.yaml\n    content: |\n" + indented(strings.TrimRight(string(data), "\n")+"\n")
		return text, u.check(text, string(data))
	}
	return text, u.check(text, "")
}

// indented is text as it stands in a block of YAML.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" {
			b.WriteString("      ")
		}
		b.WriteString(line)
	}
	return b.String()
}

var errSecretUserData = errors.New("user data can be read by every process of the instance; nodes read secrets when they boot")

// check reads user data as cloud-init and ecsnode do. What was in the file of
// settings must come out of it.
func (u userData) check(text, settings string) error {
	var cloud struct {
		WriteFiles []struct{ Path, Content string } `yaml:"write_files"`
	}
	if err := yaml.Unmarshal([]byte(text), &cloud); err != nil {
		return fmt.Errorf("cannot write the settings into a cloud-config: %w", err)
	}
	var layers []strict.Layer
	if u.image != "" {
		data, err := os.ReadFile(u.image)
		if err != nil {
			return err
		}
		layers = append(layers, strict.Layer{Name: u.image, Data: data})
	}
	for _, f := range cloud.WriteFiles {
		name := path.Base(f.Path)
		if strings.HasPrefix(name, "60-") {
			name = u.settings
		}
		layers = append(layers, strict.Layer{Name: name, Data: []byte(f.Content)})
		for _, s := range image.Secrets([]byte(f.Content)) {
			return fmt.Errorf("%s:%d: %s: %w", name, s.Line, s.What, errSecretUserData)
		}
	}
	if got := layers[len(layers)-1].Data; u.settings != "" && strings.TrimRight(string(got), "\n") != strings.TrimRight(settings, "\n") {
		return fmt.Errorf("%s would come out of a cloud-config as something else: begin its first line without blanks, and end lines by a line feed", u.settings)
	}
	l := config.Merge(layers)
	if len(l.Problems) > 0 {
		return l.Problems
	}
	for _, s := range l.Settings() {
		if s.Origin != "default" && (image.Setting{Path: s.Path, Value: s.Value, Origin: s.Origin}).Secret() {
			return fmt.Errorf("%s: %s: %w", s.Origin, s.Path, errSecretUserData)
		}
	}
	if len(text) > maxUserData {
		return errors.New("the user data has " + strconv.Itoa(len(text)) + " bytes, and EC2 takes " + strconv.Itoa(maxUserData) + ": put settings into a bundle")
	}
	return nil
}
