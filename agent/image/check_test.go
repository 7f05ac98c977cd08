package image_test

import (
	"debug/elf"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/image"
)

// fit is a machine that passes every check.
func fit(t *testing.T) (*fsx.Disk, *image.Question) {
	t.Helper()
	disk := machine(t, stays())
	for _, unit := range append(slices.Clone(image.Units()), "ecs.service", "docker.service") {
		put(t, disk, "/usr/lib/systemd/system/"+unit, "[Unit]\n")
	}
	for _, unit := range image.Units() {
		put(t, disk, "/etc/systemd/system/multi-user.target.wants/"+unit, "-> /usr/lib/systemd/system/"+unit)
	}
	for _, name := range []string{"system/docker.service.d", "system/ecs.service.d", "logind.conf.d"} {
		put(t, disk, "/usr/lib/systemd/"+name+"/50-ecsnode.conf", "[Unit]\n")
	}
	return disk, &image.Question{
		Program: elf.EM_X86_64, System: elf.EM_X86_64, Cluster: `{{ tag "cluster" }}`, Items: image.Items(), Sealed: true,
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(t *testing.T, disk *fsx.Disk, q *image.Question)
		want   string // a problem; "": none
		warns  string
	}{
		"a fit image": {change: func(*testing.T, *fsx.Disk, *image.Question) {}},
		"the other architecture": {
			change: func(_ *testing.T, _ *fsx.Disk, q *image.Question) { q.Program = elf.EM_AARCH64 },
			want:   "program: /usr/bin/ecsnode is for EM_AARCH64 and this image for EM_X86_64",
		},
		"no program": {
			change: func(_ *testing.T, _ *fsx.Disk, q *image.Question) { q.ProgramErr = errors.New("cannot stat it") },
			want:   "program: cannot stat it",
		},
		"a unit that is not enabled": {
			change: func(t *testing.T, disk *fsx.Disk, _ *image.Question) {
				remove(t, disk, "/etc/systemd/system/multi-user.target.wants/ecsnode-boot.service")
			},
			want: "units: ecsnode-boot.service is not enabled",
		},
		"a unit that is masked for good": {
			change: func(t *testing.T, disk *fsx.Disk, _ *image.Question) {
				put(t, disk, "/etc/systemd/system/ecsnode.service", "-> /dev/null")
			},
			want: "units: ecsnode.service is masked",
		},
		"the drop-in that holds the agent back is missing": {
			change: func(t *testing.T, disk *fsx.Disk, _ *image.Question) {
				remove(t, disk, "/usr/lib/systemd/system/ecs.service.d/50-ecsnode.conf")
			},
			want: "units: there is no /usr/lib/systemd/system/ecs.service.d/50-ecsnode.conf",
		},
		"an image without ECS": {
			change: func(t *testing.T, disk *fsx.Disk, _ *image.Question) {
				remove(t, disk, "/usr/lib/systemd/system/ecs.service")
			},
			want: "units: there is no ecs.service: build from an ECS-optimized image",
		},
		"units that systemd does not understand": {
			change: func(_ *testing.T, _ *fsx.Disk, q *image.Question) { q.Units = errors.New("Unknown key") },
			want:   "units: Unknown key",
		},
		"a mistake in the configuration": {
			change: func(_ *testing.T, _ *fsx.Disk, q *image.Question) {
				q.Config = []string{"/etc/ecsnode/ecsnode.yaml:1:1: clutser: unknown"}
			},
			want: "config: /etc/ecsnode/ecsnode.yaml:1:1: clutser: unknown",
		},
		"a cluster in the configuration": {
			change: func(_ *testing.T, _ *fsx.Disk, q *image.Question) { q.Cluster = "prod" },
			want:   `config: cluster is "prod", and an image is for every cluster`,
		},
		"a bundle that no node would trust": {
			change: func(_ *testing.T, _ *fsx.Disk, q *image.Question) { q.BundleErr = errors.New("no node trusts it") },
			want:   "bundle: no node trusts it",
		},
		"no cluster in the configuration": {
			change: func(_ *testing.T, _ *fsx.Disk, q *image.Question) { q.Cluster = "" },
		},
		"a template that is not there": {
			change: func(_ *testing.T, _ *fsx.Disk, q *image.Question) {
				q.Templates = []string{"/etc/ecsnode/templates/app.tmpl"}
			},
			want: "config: cannot stat /etc/ecsnode/templates/app.tmpl",
		},
		"a cluster in ecs.config": {
			change: func(t *testing.T, disk *fsx.Disk, _ *image.Question) {
				put(t, disk, "/etc/ecs/ecs.config", "A=1\nECS_CLUSTER=prod\n")
			},
			want: "ecs agent: /etc/ecs/ecs.config:2: ECS_CLUSTER is baked in",
		},
		"a cluster in the block, before the seal": {
			change: func(t *testing.T, disk *fsx.Disk, q *image.Question) {
				put(t, disk, "/etc/ecs/ecs.config", "# BEGIN ecsnode: x\nECS_CLUSTER=prod\n# END ecsnode\n")
				q.Sealed = false
			},
		},
		"state of the agent, before the seal": {
			change: func(t *testing.T, disk *fsx.Disk, q *image.Question) {
				put(t, disk, "/var/lib/ecs/data/agent.db", "x")
				q.Sealed = false
			},
			warns: "ecs agent: /var/lib/ecs/data has state of an agent that ran here",
		},
		"state of the agent, after the seal": {
			change: func(t *testing.T, disk *fsx.Disk, _ *image.Question) {
				put(t, disk, "/var/lib/ecs/data/agent.db", "x")
			},
			want: "seal: not sealed: remove /var/lib/ecs/data/agent.db",
		},
		"an agent that is masked, after the seal": {
			change: func(t *testing.T, disk *fsx.Disk, _ *image.Question) {
				put(t, disk, "/etc/systemd/system/ecs.service", "-> /dev/null")
			},
			want: "seal: not sealed: remove /etc/systemd/system/ecs.service: it masks ecs.service",
		},
		"a log that was written after the seal": {
			change: func(t *testing.T, disk *fsx.Disk, _ *image.Question) { put(t, disk, "/var/log/secure", "sudo") },
		},
		"no agent in the cache": {
			change: func(t *testing.T, disk *fsx.Disk, _ *image.Question) { remove(t, disk, "/var/cache/ecs/ecs-agent.tar") },
			warns:  "ecs agent: there is no /var/cache/ecs/ecs-agent.tar",
		},
		"a secret in a file beside the configuration": {
			change: func(t *testing.T, disk *fsx.Disk, _ *image.Question) {
				put(t, disk, "/etc/ecsnode/conf.d/20.yaml", "a: 1\nDD_API_KEY: 0123abcd\n")
			},
			want: "secrets: /etc/ecsnode/conf.d/20.yaml:2: a value for DD_API_KEY",
		},
		"a secret among the values of node.config": {
			change: func(_ *testing.T, _ *fsx.Disk, q *image.Question) {
				q.Settings = []image.Setting{
					{`node_config.files."node.config".values.DB_PASSWORD.missing`, "default", "x:1:1"},
					{`node_config.files."node.config".values.DB_PASSWORD.value`, "0123abcd", "x:4:1"},
				}
			},
			want: `secrets: x:4:1: node_config.files."node.config".values.DB_PASSWORD.value: take it out`,
		},
		"a value that only looks like a secret": {
			change: func(t *testing.T, disk *fsx.Disk, q *image.Question) {
				put(t, disk, "/etc/ecsnode/conf.d/30.yaml", "a: 1\nDB_PASSWORD: {value: 0123abcd} # not a secret\n")
				q.Settings = []image.Setting{{`node_config.files.a.values.DB_PASSWORD.value`, "0123abcd", "/etc/ecsnode/conf.d/30.yaml:2:22"}}
			},
		},
		"a template for a secret among the values of node.config": {
			change: func(_ *testing.T, _ *fsx.Disk, q *image.Question) {
				q.Settings = []image.Setting{{`node_config.files."node.config".values.DB_PASSWORD.value`, `'{{ tag "x" }}'`, "x:4:1"}}
			},
		},
		"credentials of the user who built it": {
			change: func(t *testing.T, disk *fsx.Disk, _ *image.Question) {
				put(t, disk, "/home/ec2-user/.aws/credentials", "[default]\naws_secret_access_key = abc\n")
			},
			want: "secrets: /home/ec2-user/.aws/credentials:2: a value for aws_secret_access_key",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk, q := fit(t)
			tc.change(t, disk, q)
			found := image.Check(disk, *q)
			if image.Failed(found) != (tc.want != "") {
				t.Errorf("failed is %v: %v", image.Failed(found), found)
			}
			for level, want := range map[image.Level]string{image.Problem: tc.want, image.Warning: tc.warns} {
				if want != "" && !slices.ContainsFunc(found, func(f image.Finding) bool {
					return f.Level == level && strings.HasPrefix(f.Topic+": "+f.Text, want)
				}) {
					t.Errorf("no %s %q: %v", level, want, found)
				}
			}
			for _, f := range found {
				if strings.Contains(f.Text, "0123abcd") {
					t.Errorf("the secret is shown: %s", f.Text)
				}
			}
		})
	}
}

func remove(t *testing.T, disk *fsx.Disk, name string) {
	t.Helper()
	if changed, err := disk.Remove(name); err != nil || !changed {
		t.Fatalf("%s: %v %v", name, changed, err)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"-----BEGIN OPENSSH PRIVATE KEY-----":                      "a private key",
		"-----BEGIN RSA PRIVATE KEY-----":                          "a private key",
		"-----BEGIN PGP PRIVATE KEY BLOCK-----":                    "a private key",
		"-----BEGIN PUBLIC KEY-----":                               "",
		"untrusted comment: minisign encrypted secret key":         "a secret key for signing",
		"untrusted comment: minisign public key 42":                "",
		"x: AKIAIOSFODNN7EXAMPLE":                                  "an access key of AWS",
		`{"auths": {"r": {"auth": "dXNlcjpwYXNz"}}}`:               "a registry's credentials",
		`ECS_ENGINE_AUTH_DATA={"https://r": {"password": "x"}}`:    "a value for password",
		"webhook: {url: 'https://user:pa55@example.com'}":          "a URL with a password",
		"url: 'https://example.com:8080/a@b'":                      "",
		"password: hunter2":                                        "a value for password",
		"export DB_PASSWORD='hunter2'":                             "a value for DB_PASSWORD",
		"environment: {DD_API_KEY: 0123abcd}":                      "a value for DD_API_KEY",
		"  - token=abc":                                            "a value for token",
		"password: '{{ tag \"x\" }}'":                              "",
		"DD_API_KEY: arn:aws:secretsmanager:eu-west-1:1:secret:dd": "",
		"api_key: ssm:/prod/key":                                   "",
		"api_key_parameter: prod-key":                              "",
		"token_ttl: 6h":                                            "",
		"http_tokens: required":                                    "",
		"password:":                                                "",
		"# password: hunter2":                                      "",
		"password: example # not a secret":                         "",
		"MY_ENVIRONMENT: prod":                                     "",
		"secret_name: prod/db":                                     "",
		"private_key_file: /etc/ssl/k":                             "",
	} {
		found := image.Secrets([]byte("first\n" + line + "\n"))
		got := ""
		if len(found) > 0 {
			got = found[0].What
			if found[0].Line != 2 {
				t.Errorf("%s: line %d", line, found[0].Line)
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
	if found := image.Secrets([]byte("\x00password: hunter2\n")); len(found) > 0 {
		t.Errorf("in a binary: %v", found)
	}
}
