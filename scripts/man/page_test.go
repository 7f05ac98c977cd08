package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const help = `ecsnode tells containers what node they run on.

On a node systemd runs it:
  nothing of this is a command

Usage:
  ecsnode [command]

Looking:
  status      Show what the node is
  config      Check and show the configuration

Additional Commands:
  completion  Generate the autocompletion script
  help        Help about any command

Flags:
  quiet       is no command
`

func TestSubcommandsAreThoseOfTheLists(t *testing.T) {
	t.Parallel()
	got := subcommands(strings.Replace(help, "On a node systemd runs it:\n  nothing of this is a command\n", "", 1))
	if want := []string{"status", "config", "completion"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEveryCommandHasItsSection(t *testing.T) {
	t.Parallel()
	texts := map[string]string{
		"":             strings.Replace(help, "  nothing of this is a command\n", "", 1),
		"status":       "Show what the node is\n'quoted' at the start\n",
		"config":       "Check it\n\nAvailable Commands:\n  check       Report every problem\n",
		"config check": ".dotted\n\nFlags:\n  -h, --help   help for check\n",
	}
	page, err := commandsPage(func(command []string) ([]byte, error) {
		text, ok := texts[strings.Join(command, " ")]
		if !ok {
			return nil, fmt.Errorf("no command %q", command)
		}
		return []byte(text), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		".SH DESCRIPTION\n.nf\necsnode tells", ".SH ECSNODE STATUS\n", ".SH ECSNODE CONFIG CHECK\n",
		"\n\\&'quoted'", "\n\\&.dotted", "\\-\\-help",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func TestProseTakenForAListEnds(t *testing.T) {
	t.Parallel()
	_, err := commandsPage(func([]string) ([]byte, error) { return []byte("Note:\n  again  and again\n"), nil })
	if err == nil {
		t.Error("no error")
	}
}

func TestSettingsKeepTheirOrderAndSayTheirDefaults(t *testing.T) {
	t.Parallel()
	page, err := settingsPage([]byte(`{"properties": {
		"zone": {"description": "Where.", "default": "a-b"},
		"files": {"description": "Files.", "default": {}, "additionalProperties": {"properties": {
			"format": {"description": "How.", "enum": ["shell", "text", null]}}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	rest := string(page)
	for _, want := range []string{`\fBzone\fR (default "a\-b")`, "Where.", `\fBfiles\fR` + "\n", `\fBfiles.NAME.format\fR`, "One of shell, text."} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("the page lacks %q, or not there:\n%s", want, page)
		}
		rest = after
	}
	if _, err := settingsPage([]byte(`{}`)); err == nil {
		t.Error("a schema without settings is no error")
	}
}
