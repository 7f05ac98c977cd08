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

// account is as much of EC2 as Packer needs. The actions and their answers are
// those of the EC2 API Reference, docs.aws.amazon.com/AWSEC2/latest/APIReference.
type account struct {
	t     *testing.T
	image bool     // there is an image to build upon
	comes string   // what becomes of the instance: "running", or "terminated" if it is lost
	copy  string   // what becomes of a copy of the image: "available", "failed"
	login *machine // what is reached by SSH

	mu       sync.Mutex
	calls    []string
	asked    map[string]url.Values // by action
	instance string                // the state of the instance
	images   []string              // those made; the state of each copy is copy
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
	instance := func() string {
		return `<instancesSet><item><instanceId>i-0123456789abcdef0</instanceId><ipAddress>127.0.0.1</ipAddress><instanceState><code>0</code><name>` +
			a.instance + `</name></instanceState></item></instancesSet>`
	}
	switch action {
	case "DescribeImages":
		return "<imagesSet>" + a.describeImages(form) + "</imagesSet>"
	case "DescribeRegions":
		return "<regionInfo><item><regionName>eu-west-1</regionName></item><item><regionName>us-east-1</regionName></item></regionInfo>"
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
		a.instance = a.comes
		return strings.Replace(instance(), a.comes, "pending", 1)
	case "StopInstances":
		a.instance = "stopped"
	case "TerminateInstances":
		a.instance = "terminated"
	case "DescribeInstances":
		return "<reservationSet><item>" + instance() + "</item></reservationSet>"
	case "CreateImage", "CopyImage":
		a.images = append(a.images, fmt.Sprintf("ami-%08d", len(a.images)+1))
		return "<imageId>" + a.images[len(a.images)-1] + "</imageId>"
	}
	return "<return>true</return>"
}

func (a *account) describeImages(form url.Values) string {
	item := func(id, name, state string) string {
		return `<item><imageId>` + id + `</imageId><name>` + name + `</name><imageState>` + state + `</imageState>` +
			`<creationDate>2026-10-30T00:00:00.000Z</creationDate><virtualizationType>hvm</virtualizationType><rootDeviceType>ebs</rootDeviceType>` +
			`<rootDeviceName>/dev/xvda</rootDeviceName><blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs><snapshotId>snap-` +
			id + `</snapshotId></ebs></item></blockDeviceMapping></item>`
	}
	id := form.Get("ImageId.1")
	switch i := slices.Index(a.images, id); {
	case form.Get("Owner.1") != "" && a.image:
		return item("ami-0123456789abcdef0", "al2023-ami-ecs-hvm-2023.0.20261030-kernel-6.1-x86_64", "available")
	case i == 0: // the one that is copied, encrypted
		return item(id, "x", "available")
	case i > 0:
		return item(id, "x", a.copy)
	}
	return "" // among them the name of the image to be made, which is free
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
	if a.login != nil {
		arguments = append(arguments, "-var=ssh_host=127.0.0.1", "-var=ssh_port="+a.login.listen(a.t))
	}
	arguments = append([]string{
		"build", "-color=false", "-only=ecsnode.amazon-ebs.x86_64", "-var=region=eu-west-1", "-var=package=" + rpm, "-var=ecsnode_version=1.2.3-1",
		"-var=timestamp=20260102T150405Z", `-var=ssh_cidrs=["127.0.0.1/32"]`, "-var=manifest=" + filepath.Join(dir, "manifest.json"),
	}, arguments...)
	cmd := exec.CommandContext(a.t.Context(), "packer", append(arguments, filepath.Join(dir, "packer"))...)
	cmd.Env = append(os.Environ(), "PKR_VAR_ec2_endpoint="+server.URL, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_POLL_DELAY_SECONDS=1", "AWS_MAX_ATTEMPTS=3", "CHECKPOINT_DISABLE=1", "PACKER_CONFIG_DIR="+dir)
	out, err := cmd.CombinedOutput()
	if _, found := os.Stat(filepath.Join(dir, "manifest.json")); (found == nil) != (err == nil) {
		a.t.Errorf("a manifest: %v, the build: %v", found, err)
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
	a := &account{t: t, image: true, comes: "terminated"}
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

// order returns those of the calls that are named, in order, repeats left out.
func (a *account) order(actions ...string) []string {
	var all []string
	for _, call := range a.calls {
		if slices.Contains(actions, call) && (len(all) == 0 || all[len(all)-1] != call) {
			all = append(all, call)
		}
	}
	return all
}

func TestABuildEndsInAnImageThatIsSharedLast(t *testing.T) {
	t.Parallel()
	a := &account{t: t, image: true, comes: "running", copy: "available", login: &machine{}}
	files := t.TempDir()
	if err := os.MkdirAll(filepath.Join(files, "etc/ecsnode"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(files, "etc/ecsnode/ecsnode.yaml"), []byte("cluster: ''\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	said, failed := a.build("-var=kms_key_id=alias/ami", `-var=copy_to={"us-east-1":"alias/there"}`, `-var=share_with=["123456789012"]`,
		"-var=agent_version=1.108.2", "-var=files="+files)
	if failed {
		t.Fatalf("Packer says:\n%s", said)
	}
	want := texts(t, "packer/scripts/*.sh")
	var names []string
	for _, run := range a.login.scripts {
		for name, text := range want {
			if run.text == text {
				names = append(names, filepath.Base(name))
				if !strings.Contains(run.command, "sudo env ") || !strings.Contains(run.command, "IMAGE_ARCH='x86_64'") ||
					!strings.Contains(run.command, "IMAGE_AGENT_VERSION='1.108.2'") {
					t.Errorf("%s is run by %s", name, run.command)
				}
			}
		}
	}
	if got, want := strings.Join(names, " "), "10-prepare.sh 20-install.sh 30-configure.sh 80-check.sh 90-seal.sh"; got != want {
		t.Errorf("scripts: %s, want %s", got, want)
	}
	for _, name := range []string{"ecsnode.rpm", "ecsnode.yaml"} {
		if !slices.Contains(a.login.received, name) {
			t.Errorf("%s was not uploaded: %q", name, a.login.received)
		}
	}
	got := strings.Join(a.order("StopInstances", "CreateImage", "CopyImage", "ModifyImageAttribute"), " ")
	if got != "StopInstances CreateImage CopyImage ModifyImageAttribute" {
		t.Errorf("calls: %s in %q", got, a.calls)
	}
	if got := a.asked["CopyImage"]; got.Get("Encrypted") != "true" || !strings.HasPrefix(got.Get("Name"), "ecsnode-al2023-x86_64-2026") {
		t.Errorf("copied by %v", got)
	}
	if !a.did("DeregisterImage") || a.instance != "terminated" {
		t.Errorf("the image that is not encrypted, or the instance, stays: %q", a.calls)
	}
}

func TestAScriptThatFailsEndsTheBuildWithoutAnImage(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"20-install.sh", "80-check.sh", "90-seal.sh"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			text := texts(t, "packer/scripts/"+at)["packer/scripts/"+at]
			a := &account{t: t, image: true, comes: "running", copy: "available", login: &machine{fails: text}}
			said, failed := a.build()
			if !failed || !strings.Contains(said, "non-zero exit status: 3") {
				t.Errorf("Packer says:\n%s", said)
			}
			if last := a.login.scripts[len(a.login.scripts)-1]; last.text != text {
				t.Errorf("a script was run after %s", at)
			}
			if a.did("CreateImage") || a.did("ModifyImageAttribute") || a.instance != "terminated" {
				t.Errorf("the instance is %s: %q", a.instance, a.calls)
			}
		})
	}
}

func TestACopyThatFailsIsNotShared(t *testing.T) {
	t.Parallel()
	a := &account{t: t, image: true, comes: "running", copy: "failed", login: &machine{}}
	said, failed := a.build("-var=kms_key_id=alias/ami", `-var=copy_to={"us-east-1":"alias/there"}`, `-var=share_with=["123456789012"]`)
	if !failed {
		t.Errorf("Packer says:\n%s", said)
	}
	if !a.did("CopyImage") || a.did("ModifyImageAttribute") || a.did("ModifySnapshotAttribute") || a.instance != "terminated" {
		t.Errorf("the instance is %s: %q", a.instance, a.calls)
	}
}
