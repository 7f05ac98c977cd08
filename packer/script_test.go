package packer_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// checkout has build.sh, with programs beside it that only say what they are
// asked, and a package that is built at once.
func checkout(t *testing.T, programs map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	put := func(name, text string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put("packer/build.sh", texts(t, "packer/build.sh")["packer/build.sh"])
	put("scripts/packages.sh", "#!/bin/sh\nmkdir -p \"$DIST\" && : >\"$DIST/ecsnode-1.2.3-1.$(echo \"$1\" | sed 's/amd64/x86_64/; s/arm64/aarch64/').rpm\"\n")
	for name, text := range programs {
		put("bin/"+name, "#!/bin/sh\n"+text+"\n")
	}
	return dir
}

func build(t *testing.T, dir string, environment ...string) (said string, failed bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "packer/build.sh"))
	cmd.Env = append([]string{"PATH=" + filepath.Join(dir, "bin") + ":/usr/bin:/bin"}, environment...)
	out, err := cmd.CombinedOutput()
	return string(out), err != nil
}

func TestWhatAnImageIsBuiltUpon(t *testing.T) {
	t.Parallel()
	const packer = `echo "packer $*"`
	recommends := func(value string) map[string]string {
		return map[string]string{"packer": packer, "aws": `echo "aws $*" >&2; echo '` + value + `'`}
	}
	const recommended = `{"image_id":"ami-0fedcba9876543210","ecs_agent_version":"1.108.2","ecs_runtime_version":"Docker version 25.0.18"}`
	for name, tc := range map[string]struct {
		programs    map[string]string
		environment []string
		want        []string // said, in order
		fails       bool
	}{
		"the newest image": {
			map[string]string{"packer": packer},
			[]string{"ARCH=x86_64", "REGION=eu-west-1"},
			[]string{"packer init packer\n", "packer build -var region=eu-west-1 ", " -var package=dist/ami-x86_64/ecsnode-1.2.3-1.x86_64.rpm -var ecsnode_version=1.2.3-1 -only ecsnode.amazon-ebs.x86_64 packer\n"},
			false,
		},
		"one that is named": {
			map[string]string{"packer": packer},
			[]string{"ARCH=arm64", "REGION=eu-west-1", "SOURCE=ami-0123456789abcdef0"},
			[]string{" -var source_ami=ami-0123456789abcdef0 ", "ecsnode-1.2.3-1.aarch64.rpm", "-only ecsnode.amazon-ebs.arm64"},
			false,
		},
		"the one that ECS recommends, whose versions are held to": {
			recommends(recommended),
			[]string{"ARCH=arm64", "REGION=eu-west-1", "SOURCE=ssm"},
			[]string{
				"--name /aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended ",
				" -var source_ami=ami-0fedcba9876543210 -var agent_version=1.108.2 -var docker_version=25.0.18 ",
			},
			false,
		},
		"a recommendation that says too little": {
			recommends(`{"image_id":"ami-0fedcba9876543210"}`),
			[]string{"ARCH=x86_64", "REGION=eu-west-1", "SOURCE=ssm"},
			[]string{"ami: the image that ECS recommends has no ecs_agent_version"},
			true,
		},
		"no recommendation": {
			map[string]string{"packer": packer, "aws": "exit 1"},
			[]string{"ARCH=x86_64", "REGION=eu-west-1", "SOURCE=ssm"},
			[]string{"ami: cannot read the parameter /aws/service/ecs/optimized-ami/amazon-linux-2023/recommended"},
			true,
		},
		"a check": {
			map[string]string{"packer": packer},
			[]string{"ARCH=x86_64", "REGION=eu-west-1", "CHECK=true"},
			[]string{"packer validate -var region=eu-west-1 "},
			false,
		},
		"no architecture": {map[string]string{"packer": packer}, []string{"REGION=eu-west-1"}, []string{`ami: ARCH is x86_64 or arm64, not ""`}, true},
		"another architecture": {
			map[string]string{"packer": packer},
			[]string{"ARCH=riscv64", "REGION=eu-west-1"},
			[]string{`ami: ARCH is x86_64 or arm64, not "riscv64"`},
			true,
		},
		"no region": {map[string]string{"packer": packer}, []string{"ARCH=x86_64"}, []string{"ami: REGION is not set"}, true},
		"another source": {
			map[string]string{"packer": packer},
			[]string{"ARCH=x86_64", "REGION=eu-west-1", "SOURCE=newest"},
			[]string{`ami: SOURCE is an image or ssm, not "newest"`},
			true,
		},
		"no file of variables": {
			map[string]string{"packer": packer},
			[]string{"ARCH=x86_64", "REGION=eu-west-1", "VARS=none.pkrvars.hcl"},
			[]string{"ami: there is no file none.pkrvars.hcl"},
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, failed := build(t, checkout(t, tc.programs), tc.environment...)
			rest := said
			for _, want := range tc.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Errorf("does not say %q:\n%s", want, said)
				}
				rest = after
			}
			if failed != tc.fails || failed && strings.Contains(said, "packer build") || strings.Contains(said, "packer validate") && strings.Contains(said, "packer build") {
				t.Errorf("failed is %v:\n%s", failed, said)
			}
		})
	}
}
