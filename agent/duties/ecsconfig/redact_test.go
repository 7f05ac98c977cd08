package ecsconfig_test

import (
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
)

func TestRedactShowsNothingOfOthersButNames(t *testing.T) {
	const block = "# BEGIN ecsnode: ecsnode writes this block, changes within it are lost\nECS_CLUSTER=web\n# END ecsnode\n"
	for name, c := range map[string]struct{ file, want string }{
		"a value":               {"ECS_ENGINE_AUTH_DATA={\"p\":\"hunter2\"}\n" + block, "ECS_ENGINE_AUTH_DATA=(hidden)\n" + block},
		"over two lines":        {"A='{\n\"p\":\"hunter2\"}'\n" + block, "A=(hidden)\n(hidden)\n" + block},
		"continued":             {"A=x \\\nhunter2\n", "A=(hidden)\n(hidden)\n"},
		"a proxy":               {"HTTPS_PROXY=http://u:hunter2@proxy\n", "HTTPS_PROXY=(hidden)\n"},
		"a comment":             {"# password hunter2\n\n", "(hidden)\n\n"},
		"after the block":       {block + "export SECRET=hunter2\r\n", block + "export SECRET=(hidden)\r\n"},
		"no newline at the end": {"A=hunter2", "A=(hidden)"},
		"damaged markers":       {"# BEGIN ecsnode\nA=hunter2\n", "(hidden)\nA=(hidden)\n"},
		"nothing":               {"", ""},
	} {
		got := ecsconfig.Redact(c.file)
		if got != c.want || strings.Contains(got, "hunter2") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
