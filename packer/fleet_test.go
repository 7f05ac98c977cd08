package packer_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/config/strict"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/iam"
	"github.com/ecsnode/ecsnode/agent/image"
)

var update = flag.Bool("update", false, "write the plain JSON of templates/fleet anew")

const (
	fleetDir   = "templates/fleet/"
	ownAccount = "123456789012"
)

// stack is the CloudFormation template, and what its parameters and pseudo
// parameters are in the plain JSON.
type stack struct {
	t         *testing.T
	Resources map[string]struct {
		Type       string         `yaml:"Type"`
		Condition  string         `yaml:"Condition"`
		DependsOn  []string       `yaml:"DependsOn"`
		Properties map[string]any `yaml:"Properties"`
	} `yaml:"Resources"`
	Parameters map[string]struct {
		Default any `yaml:"Default"`
	} `yaml:"Parameters"`
	Conditions map[string]any            `yaml:"Conditions"`
	Outputs    map[string]map[string]any `yaml:"Outputs"`

	values map[string]any
	used   map[string]bool // parameters and conditions
}

func theStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{t: t, used: map[string]bool{}, values: map[string]any{
		"AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": ownAccount, "AWS::StackName": "web",
		"ImageId": "ami-0123456789abcdef0", "SecurityGroups": []any{"sg-0123456789abcdef0"}, "SpotFleetCapacity": 5,
		"Subnets": []any{"subnet-0123456789abcdef0", "subnet-0fedcba9876543210"},
		// What instances are made from, and by whom.
		"LaunchTemplate": "web", "SpotLaunchTemplate": "web-spot-fleet",
		"LaunchTemplate.LatestVersionNumber": "$Latest", "SpotLaunchTemplate.LatestVersionNumber": "$Latest",
		"InstanceProfile.Arn": "arn:aws:iam::" + ownAccount + ":instance-profile/web",
		"SpotFleetRole.Arn":   "arn:aws:iam::" + ownAccount + ":role/aws-ec2-spot-fleet-tagging-role",
	}}
	if err := yaml.Unmarshal([]byte(texts(t, fleetDir+"cloudformation.yaml")[fleetDir+"cloudformation.yaml"]), s); err != nil {
		t.Fatal(err)
	}
	for name, p := range s.Parameters {
		if _, given := s.values[name]; !given {
			if p.Default == nil {
				t.Errorf("the parameter %s has neither a default nor an example here", name)
			}
			s.values[name] = p.Default
		}
	}
	return s
}

func (s *stack) value(name string) any {
	s.t.Helper()
	s.used[name] = true
	v, known := s.values[name]
	_, isResource := s.Resources[strings.SplitN(name, ".", 2)[0]]
	switch {
	case known:
		return v
	case isResource:
		return name
	}
	s.t.Errorf("%s is neither a parameter nor a resource", name)
	return name
}

var reference = regexp.MustCompile(`\$\{([A-Za-z0-9:.]+)\}`)

// resolve returns v without functions of CloudFormation.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference.html
func (s *stack) resolve(v any) any {
	s.t.Helper()
	switch v := v.(type) {
	case []any:
		all := []any{}
		for _, item := range v {
			all = append(all, s.resolve(item))
		}
		return all
	case map[string]any:
		if len(v) == 1 {
			for function, argument := range v {
				if made, is := s.call(function, argument); is {
					return made
				}
			}
		}
		all := map[string]any{}
		for key, item := range v {
			all[key] = s.resolve(item)
		}
		return all
	}
	return v
}

func (s *stack) call(function string, argument any) (made any, is bool) {
	s.t.Helper()
	switch function {
	case "Ref":
		return s.value(argument.(string)), true
	case "Fn::GetAtt":
		of := argument.([]any)
		return s.value(fmt.Sprintf("%s.%s", of...)), true
	case "Fn::Sub":
		return reference.ReplaceAllStringFunc(argument.(string), func(m string) string {
			return fmt.Sprint(s.value(reference.FindStringSubmatch(m)[1]))
		}), true
	case "Fn::Base64":
		return base64.StdEncoding.EncodeToString([]byte(argument.(string))), true
	case "Fn::Select":
		of := argument.([]any)
		return s.resolve(of[1]).([]any)[of[0].(uint64)], true
	case "Fn::Not", "Fn::Equals":
		s.resolve(argument)
		return true, true
	}
	if strings.HasPrefix(function, "Fn::") {
		s.t.Errorf("%s is not understood", function)
	}
	return nil, false
}

// properties are those of a resource, resolved.
func (s *stack) properties(name string) map[string]any {
	s.t.Helper()
	r, known := s.Resources[name]
	if !known {
		s.t.Fatalf("there is no %s", name)
	}
	return s.resolve(r.Properties).(map[string]any)
}

func TestTheStackRefersToWhatIsInIt(t *testing.T) {
	t.Parallel()
	s := theStack(t)
	for name, r := range s.Resources {
		s.properties(name)
		for _, other := range r.DependsOn {
			if _, known := s.Resources[other]; !known {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
		}
		if r.Condition != "" {
			s.used[r.Condition] = true
			if s.Conditions[r.Condition] == nil {
				t.Errorf("%s has the condition %s, which is not there", name, r.Condition)
			}
		}
	}
	for _, c := range s.Conditions {
		s.resolve(c)
	}
	for _, o := range s.Outputs {
		s.resolve(o["Value"])
	}
	for _, name := range append(slices.Collect(maps.Keys(s.Parameters)), slices.Collect(maps.Keys(s.Conditions))...) {
		if !s.used[name] {
			t.Errorf("%s is not used", name)
		}
	}
}

// example is the configuration that is baked, with what user data adds.
func example(t *testing.T, more ...strict.Layer) *config.Loaded {
	t.Helper()
	l := config.Merge(append([]strict.Layer{{Name: "ecsnode.yaml", Data: []byte(texts(t, "templates/examples/ecsnode.yaml")["templates/examples/ecsnode.yaml"])}}, more...))
	if len(l.Problems) > 0 {
		t.Fatal(l.Problems)
	}
	return l
}

func TestTheRoleOfTheStackIsTheLeast(t *testing.T) {
	t.Parallel()
	s := theStack(t)
	disk, err := fsx.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := example(t)
	asks, err := l.Asks(disk)
	if err != nil {
		t.Fatal(err)
	}
	text, err := iam.Least(iam.Role{
		Config: l.Config, Asks: asks, Region: "eu-west-1", Account: ownAccount, Clusters: []string{"web"}, Groups: []string{"web"},
		TaskRoles: []string{"arn:aws:iam::" + ownAccount + ":role/ecsTaskExecutionRole"},
	}).JSON()
	if err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if got := s.properties("InstancePolicy")["PolicyDocument"]; !reflect.DeepEqual(got, want) {
		have, _ := json.MarshalIndent(got, "", "  ")
		t.Errorf("the policy is\n%s\nand not what ecsnode iam-policy prints:\n%s", have, text)
	}
	role := s.properties("InstanceRole")
	if got := fmt.Sprint(role["ManagedPolicyArns"]); got != "[arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role]" || role["Policies"] != nil {
		t.Errorf("the role has %s and %v beside it", got, role["Policies"])
	}
}

// plain is each file of plain JSON, as it follows from the stack: input of the
// commands of the AWS CLI that make these things, by --cli-input-json.
func plain(s *stack) map[string]any {
	lists := func(m map[string]any, key string) {
		m[key] = strings.Join(each(m[key].([]any)), ",")
	}
	template := func(name string) map[string]any {
		return map[string]any{"LaunchTemplateName": s.value(name), "LaunchTemplateData": s.properties(name)["LaunchTemplateData"]}
	}
	// Templates are named there, and have no other id before they are made.
	byName := func(spec any) {
		m := spec.(map[string]any)["LaunchTemplateSpecification"].(map[string]any)
		m["LaunchTemplateName"] = m["LaunchTemplateId"]
		delete(m, "LaunchTemplateId")
	}
	group := s.properties("AutoScalingGroup")
	lists(group, "VPCZoneIdentifier")
	byName(group["MixedInstancesPolicy"].(map[string]any)["LaunchTemplate"])
	fleet := s.properties("SpotFleet")["SpotFleetRequestConfigData"].(map[string]any)
	for _, c := range fleet["LaunchTemplateConfigs"].([]any) {
		byName(c)
	}
	return map[string]any{
		"launch-template.json": template("LaunchTemplate"), "launch-template-spot-fleet.json": template("SpotLaunchTemplate"),
		"auto-scaling-group.json": group, "spot-fleet.json": map[string]any{"SpotFleetRequestConfig": fleet},
	}
}

func each(list []any) (all []string) {
	for _, item := range list {
		all = append(all, fmt.Sprint(item))
	}
	return all
}

func TestThePlainJSONSaysWhatTheStackDoes(t *testing.T) {
	t.Parallel()
	for name, value := range plain(theStack(t)) {
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(value); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("..", fleetDir, name)
		if *update {
			if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s is not what the stack says (go test ./packer -update writes it): %v", file, err)
		}
	}
}

func TestInstancesOfTheFleetAreAsTheyMustBe(t *testing.T) {
	t.Parallel()
	s := theStack(t)
	for name, file := range map[string]string{"LaunchTemplate": "user-data-auto-scaling.yaml", "SpotLaunchTemplate": "user-data-spot-fleet.yaml"} {
		data := s.properties(name)["LaunchTemplateData"].(map[string]any)
		want := map[string]any{
			"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": uint64(2), "InstanceMetadataTags": "enabled",
		}
		if got := data["MetadataOptions"]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", name, got)
		}
		devices := map[string]bool{}
		for _, d := range data["BlockDeviceMappings"].([]any) {
			ebs := d.(map[string]any)["Ebs"].(map[string]any)
			devices[d.(map[string]any)["DeviceName"].(string)] = ebs["Encrypted"] == true && ebs["DeleteOnTermination"] == true
		}
		if !devices["/dev/xvda"] || !devices["/dev/xvdcz"] {
			t.Errorf("%s: volumes %v", name, devices)
		}
		text, err := base64.StdEncoding.DecodeString(data["UserData"].(string))
		if err != nil || string(text) != texts(t, fleetDir+file)[fleetDir+file] {
			t.Errorf("%s: its user data is not %s", name, file)
		}
		for _, of := range data["TagSpecifications"].([]any) {
			for _, tag := range of.(map[string]any)["Tags"].([]any) {
				if key := tag.(map[string]any)["Key"].(string); !facts.TagKeyInMetadata(key) {
					t.Errorf("%s: with the tag %q no instance can be launched: instance metadata cannot have it", name, key)
				}
			}
		}
		checkUserData(t, file, devices)
	}
	group := s.properties("AutoScalingGroup")
	l := example(t)
	for _, hook := range group["LifecycleHookSpecificationList"].([]any) {
		h := hook.(map[string]any)
		if !slices.Contains(l.Config.Drain.LifecycleHooks, h["LifecycleHookName"].(string)) || h["LifecycleTransition"] != "autoscaling:EC2_INSTANCE_TERMINATING" ||
			h["DefaultResult"] != "CONTINUE" {
			t.Errorf("ecsnode does not complete %v", h)
		}
	}
	if group["CapacityRebalance"] != true {
		t.Error("the group waits for Spot Instances to be taken")
	}
	fleet := s.properties("SpotFleet")["SpotFleetRequestConfigData"].(map[string]any)
	if fleet["LaunchSpecifications"] != nil || fleet["AllocationStrategy"] != "priceCapacityOptimized" {
		t.Errorf("the fleet is %v", fleet)
	}
}

// checkUserData looks at what cloud-init makes of it, and ecsnode of that.
func checkUserData(t *testing.T, file string, devices map[string]bool) {
	t.Helper()
	text := texts(t, fleetDir+file)[fleetDir+file]
	if n := strings.Count(text, "\n"); n >= 10 || !strings.HasPrefix(text, "#cloud-config\n") {
		t.Errorf("%s has %d lines", file, n)
	}
	var cloud struct {
		WriteFiles []struct{ Path, Content string } `yaml:"write_files"`
	}
	if err := yaml.UnmarshalWithOptions([]byte(text), &cloud, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	sealed := func(i image.Item) bool { is, _ := path.Match(i.Path, cloud.WriteFiles[0].Path); return is }
	if len(cloud.WriteFiles) != 1 || !slices.ContainsFunc(image.Items(), sealed) {
		t.Fatalf("%s: a seal does not remove what it writes", file)
	}
	l := example(t, strict.Layer{Name: "50-user-data.yaml", Data: []byte(cloud.WriteFiles[0].Content)})
	for name, v := range l.Config.Volumes {
		if !devices[v.Device] {
			t.Errorf("%s: the volume %s is on %s, which the launch template does not attach", file, name, v.Device)
		}
	}
	if len(l.Config.Volumes) == 0 {
		t.Errorf("%s: nobody uses the second volume", file)
	}
}
