package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// listed is a line of a list of commands in a help text.
var listed = regexp.MustCompile(`^  ([a-z][a-z-]*) +\S`)

// subcommands returns the commands that a help text lists: in the paragraphs
// that are no usage, no flags and no prose.
func subcommands(help string) []string {
	var names []string
	inList := false
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, "\n")
		switch m := listed.FindStringSubmatch(line); {
		case strings.HasSuffix(line, ":") && !strings.HasPrefix(line, " "):
			inList = line != "Usage:" && !strings.HasSuffix(line, "Flags:")
		case line == "":
			inList = false
		case inList && m != nil && m[1] != "help" && m[1] != "ecsnode": // a line of an example begins with the program
			names = append(names, m[1])
		}
	}
	return names
}

// commandsPage returns ecsnode(8). help returns what a command says of itself.
func commandsPage(help func(command []string) ([]byte, error)) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(".TH ECSNODE 8\n.SH NAME\necsnode \\- the agent of an Amazon ECS container instance\n" +
		".SH SYNOPSIS\n.B ecsnode\nCOMMAND [ARGUMENT...]\n")
	var walk func(command []string) error
	walk = func(command []string) error {
		if len(command) > 3 {
			return fmt.Errorf("is that a command: %q?", command) // prose taken for a list would go round in circles
		}
		text, err := help(command)
		if err != nil {
			return err
		}
		b.WriteString(".SH " + strings.ToUpper(quote("ecsnode "+strings.Join(command, " "))) + "\n")
		if len(command) == 0 {
			b.Truncate(b.Len() - len(".SH ECSNODE \n"))
			b.WriteString(".SH DESCRIPTION\n")
		}
		b.WriteString(".nf\n" + quote(strings.TrimSpace(string(text))) + "\n.fi\n")
		for _, name := range subcommands(string(text)) {
			if len(command) == 0 && name == "completion" {
				continue // its help explains shells
			}
			if err := walk(append(slices.Clone(command), name)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(nil); err != nil {
		return nil, err
	}
	b.WriteString(".SH FILES\n/etc/ecsnode/ecsnode.yaml, /etc/ecsnode/conf.d, /var/lib/ecsnode, /run/ecsnode\n.SH SEE ALSO\n.BR ecsnode.yaml (5)\n")
	return b.Bytes(), nil
}

// schema is the part of a JSON Schema that is shown. Its properties keep their
// order.
type schema struct {
	Description string          `json:"description"`
	Default     json.RawMessage `json:"default"`
	Enum        []any           `json:"enum"`
	Properties  properties      `json:"properties"`
	Additional  json.RawMessage `json:"additionalProperties"`
	Items       *schema         `json:"items"`
}

type property struct {
	name string
	of   schema
}

type properties []property

// UnmarshalJSON implements json.Unmarshaler.
func (p *properties) UnmarshalJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var of schema
		if err := dec.Decode(&of); err != nil {
			return err
		}
		*p = append(*p, property{fmt.Sprint(name), of})
	}
	return nil
}

// settingsPage returns ecsnode.yaml(5).
func settingsPage(text []byte) ([]byte, error) {
	var root schema
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("cannot read the schema: %w", err)
	}
	if len(root.Properties) == 0 {
		return nil, errors.New("the schema has no settings")
	}
	var b bytes.Buffer
	b.WriteString(".TH ECSNODE.YAML 5\n.SH NAME\necsnode.yaml \\- the settings of ecsnode\n.SH DESCRIPTION\n" +
		"Read from /etc/ecsnode/ecsnode.yaml and then /etc/ecsnode/conf.d/*.yaml, each over the ones before.\n" +
		"NAME stands for a name of your own. A whole file is /usr/share/ecsnode/templates/ecsnode.yaml.\n.SH SETTINGS\n")
	root.show(&b, "")
	b.WriteString(".SH SEE ALSO\n.BR ecsnode (8)\n")
	return b.Bytes(), nil
}

func (s *schema) show(b *bytes.Buffer, path string) {
	if path != "" {
		b.WriteString(".TP\n\\fB" + quote(path) + "\\fR")
		if len(s.Default) > 0 && s.Default[0] != '{' {
			b.WriteString(" (default " + quote(string(s.Default)) + ")")
		}
		b.WriteString("\n" + quote(s.Description) + "\n")
		if one := choices(s.Enum); one != "" {
			b.WriteString("One of " + quote(one) + ".\n")
		}
		path += "."
	}
	for i := range s.Properties {
		s.Properties[i].of.show(b, path+s.Properties[i].name)
	}
	var named schema
	if json.Unmarshal(s.Additional, &named) == nil && (named.Description != "" || len(named.Properties) > 0) {
		named.show(b, path+"NAME")
	}
	if s.Items != nil && len(s.Items.Properties) > 0 {
		s.Items.show(b, strings.TrimSuffix(path, ".")+"[]")
	}
}

func choices(enum []any) string {
	var names []string
	for _, e := range enum {
		if e != nil && e != "" {
			names = append(names, fmt.Sprint(e))
		}
	}
	return strings.Join(names, ", ")
}

// quote makes text what troff shows as it is.
func quote(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(text)
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			b.WriteString(`\&`)
		}
		b.WriteString(line)
	}
	return b.String()
}
