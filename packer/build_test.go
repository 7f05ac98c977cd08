package packer_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// account is as much of EC2 as Packer needs until it would log in: an image to
// build upon, and an instance that is lost. The actions and their answers are
// those of the EC2 API Reference, docs.aws.amazon.com/AWSEC2/latest/APIReference.
type account struct {
	t     *testing.T
	image bool // there is an image to build upon

	mu    sync.Mutex
	calls []string
	asked map[string]url.Values // by action
}

func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		a.t.Error(err)
	}
	action := r.Form.Get("Action")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, action)
	if a.asked[action] == nil || r.Form.Get("Owner.1") != "" {
		a.asked[action] = r.Form
	}
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<%[1]sResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId>%[2]s</%[1]sResponse>`, action, a.answer(action, r.Form))
}

func (a *account) answer(action string, form url.Values) string {
	const instance = `<instancesSet><item><instanceId>i-0123456789abcdef0</instanceId><instanceState><code>48</code><name>terminated</name></instanceState></item></instancesSet>`
	switch action {
	case "DescribeImages":
		if !a.image || form.Get("Owner.1") == "" { // or the name of the image to be made, which is free
			return "<imagesSet/>"
		}
		return `<imagesSet><item><imageId>ami-0123456789abcdef0</imageId><name>al2023-ami-ecs-hvm-2023.0.20261030-kernel-6.1-x86_64</name>` +
			`<creationDate>2026-10-30T00:00:00.000Z</creationDate><virtualizationType>hvm</virtualizationType><rootDeviceType>ebs</rootDeviceType>` +
			`<rootDeviceName>/dev/xvda</rootDeviceName></item></imagesSet>`
	case "DescribeRegions":
		return "<regionInfo><item><regionName>eu-west-1</regionName></item></regionInfo>"
	case "CreateKeyPair":
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			a.t.Error(err)
			return ""
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
		return "<keyName>packer</keyName><keyMaterial>" + string(block) + "</keyMaterial>"
	case "CreateSecurityGroup":
		return "<groupId>sg-1</groupId>"
	case "DescribeSecurityGroups":
		return "<securityGroupInfo><item><groupId>sg-1</groupId></item></securityGroupInfo>"
	case "RunInstances":
		return strings.Replace(instance, "terminated", "pending", 1)
	case "DescribeInstances":
		return "<reservationSet><item>" + instance + "</item></reservationSet>"
	}
	return "<return>true</return>"
}

// build runs Packer against the account and returns what it says.
func (a *account) build(arguments ...string) (said string, failed bool) {
	a.t.Helper()
	dir := a.t.TempDir()
	copied := exec.CommandContext(a.t.Context(), "../scripts/packer-copy.sh", filepath.Join(dir, "packer"))
	if out, err := copied.CombinedOutput(); err != nil {
		var exit *exec.ExitError
		if _, missing := exec.LookPath("packer"); missing != nil || errors.As(err, &exit) && exit.ExitCode() == 3 {
			a.t.Skip("needs Packer with the plugin amazon, or one before 1.7 (Debian: apt-get install packer)")
		}
		a.t.Fatalf("%v: %s", err, out)
	}
	rpm := filepath.Join(dir, "ecsnode-1.2.3-1.x86_64.rpm")
	if err := os.WriteFile(rpm, nil, 0o600); err != nil {
		a.t.Fatal(err)
	}
	a.asked = map[string]url.Values{}
	server := httptest.NewServer(a)
	a.t.Cleanup(server.Close)
	arguments = append([]string{
		"build", "-color=false", "-only=ecsnode.amazon-ebs.x86_64", "-var=region=eu-west-1", "-var=package=" + rpm, "-var=ecsnode_version=1.2.3-1",
		"-var=timestamp=20260102T150405Z", "-var=manifest=" + filepath.Join(dir, "manifest.json"),
	}, arguments...)
	cmd := exec.CommandContext(a.t.Context(), "packer", append(arguments, filepath.Join(dir, "packer"))...)
	cmd.Env = append(os.Environ(), "PKR_VAR_ec2_endpoint="+server.URL, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_POLL_DELAY_SECONDS=1", "AWS_MAX_ATTEMPTS=3", "CHECKPOINT_DISABLE=1", "PACKER_CONFIG_DIR="+dir)
	out, err := cmd.CombinedOutput()
	if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err == nil {
		a.t.Error("there is a manifest of a build that failed")
	}
	return string(out), err != nil
}

func (a *account) did(action string) bool { return slices.Contains(a.calls, action) }

func TestWithoutAnImageToBuildUponNothingIsStarted(t *testing.T) {
	t.Parallel()
	a := &account{t: t}
	said, failed := a.build()
	if !failed || !strings.Contains(said, "No AMI was found matching filters") {
		t.Errorf("Packer says:\n%s", said)
	}
	if a.did("RunInstances") || a.did("CreateImage") {
		t.Errorf("%q", a.calls)
	}
	asked := a.asked["DescribeImages"]
	var filters []string
	for i := 1; asked.Has(fmt.Sprintf("Filter.%d.Name", i)); i++ {
		filters = append(filters, asked.Get(fmt.Sprintf("Filter.%d.Name", i))+"="+asked.Get(fmt.Sprintf("Filter.%d.Value.1", i)))
	}
	if asked.Get("Owner.1") != "amazon" || !slices.Contains(filters, "name=al2023-ami-ecs-hvm-2023.0.*-kernel-6.1-x86_64") ||
		!slices.Contains(filters, "architecture=x86_64") {
		t.Errorf("asked for %v", asked)
	}
}

func TestABuildInstanceThatIsLostLeavesNothing(t *testing.T) {
	t.Parallel()
	a := &account{t: t, image: true}
	said, failed := a.build("-var=kms_key_id=alias/ami")
	if !failed || !strings.Contains(said, "Error waiting for instance") {
		t.Errorf("Packer says:\n%s", said)
	}
	if a.did("CreateImage") || !a.did("TerminateInstances") || !a.did("DeleteSecurityGroup") || !a.did("DeleteKeyPair") {
		t.Errorf("%q", a.calls)
	}
	run := a.asked["RunInstances"]
	data, err := base64.StdEncoding.DecodeString(run.Get("UserData"))
	if err != nil || string(data) != texts(t, "packer/user-data")["packer/user-data"] {
		t.Errorf("user data %q, %v", data, err)
	}
	for name, want := range map[string]string{
		"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.small", "InstanceInitiatedShutdownBehavior": "terminate",
		"IamInstanceProfile.Name":                      "", // no role that ECS would know
		"BlockDeviceMapping.1.DeviceName":              "/dev/xvda",
		"BlockDeviceMapping.1.Ebs.Encrypted":           "true",
		"BlockDeviceMapping.1.Ebs.KmsKeyId":            "alias/ami",
		"BlockDeviceMapping.1.Ebs.VolumeType":          "gp3",
		"BlockDeviceMapping.1.Ebs.VolumeSize":          "30",
		"BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true",
	} {
		if got := run.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
