package sim_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

func (b bubble) ecs() *ecs.Client {
	return ecs.New(ecs.Options{
		Region: "eu-west-1", HTTPClient: b.http, Retryer: aws.NopRetryer{},
		Credentials: aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = b.imds() })),
	})
}

func (b bubble) putAttribute(ctx context.Context, target, name, value string) error {
	_, err := b.ecs().PutAttributes(ctx, &ecs.PutAttributesInput{
		Cluster: aws.String("web"), Attributes: []types.Attribute{{Name: &name, Value: &value, TargetId: &target}},
	})
	return err
}

func TestDescribeContainerInstances(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		arn := b.SetRegistered("web")
		b.SetTasks([]sim.Task{{ARN: "a", KnownStatus: "RUNNING"}, {ARN: "b", KnownStatus: "PENDING"}, {ARN: "c", KnownStatus: "STOPPED"}})
		out, err := b.ecs().DescribeContainerInstances(t.Context(), &ecs.DescribeContainerInstancesInput{
			Cluster: aws.String("web"), ContainerInstances: []string{arn, "0123456789abcdef0123456789abcdef"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.ContainerInstances) != 1 || len(out.Failures) != 1 {
			t.Fatalf("%d instances, %d failures", len(out.ContainerInstances), len(out.Failures))
		}
		got := out.ContainerInstances[0]
		if *got.ContainerInstanceArn != arn || *got.Ec2InstanceId != "i-0123456789abcdef0" || *got.Status != "ACTIVE" ||
			!got.AgentConnected || got.RunningTasksCount != 1 || got.PendingTasksCount != 1 || got.RegisteredAt.IsZero() {
			t.Errorf("%+v", got)
		}
		failure := out.Failures[0]
		if *failure.Reason != "MISSING" || *failure.Arn != "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/0123456789abcdef0123456789abcdef" {
			t.Errorf("failure %s %s", *failure.Arn, *failure.Reason)
		}

		b.SetContainerInstanceStatus("DRAINING")
		b.SetAgentRunning(false)
		out, err = b.ecs().DescribeContainerInstances(t.Context(), &ecs.DescribeContainerInstancesInput{
			Cluster: aws.String("arn:aws:ecs:eu-west-1:123456789012:cluster/web"), ContainerInstances: []string{arn[strings.LastIndex(arn, "/")+1:]},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := out.ContainerInstances[0]; *got.Status != "DRAINING" || got.AgentConnected || got.Version != 3 {
			t.Errorf("status %s, connected %t, version %d", *got.Status, got.AgentConnected, got.Version)
		}
	})
}

func TestListContainerInstances(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		second, err := b.AddNode(sim.Instance{ID: "i-0000000000000000b", Type: "c7g.large"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		first, other := b.SetRegistered("web"), second.SetRegistered("web")
		second.SetContainerInstanceStatus("DRAINING")
		for _, tc := range []struct {
			name  string
			input ecs.ListContainerInstancesInput
			want  []string
		}{
			{"all", ecs.ListContainerInstancesInput{}, []string{first, other}},
			{"by instance id", ecs.ListContainerInstancesInput{Filter: aws.String("ec2InstanceId == i-0000000000000000b")}, []string{other}},
			{"by instance id, spelt out", ecs.ListContainerInstancesInput{Filter: aws.String("ec2InstanceId equals i-0123456789abcdef0")}, []string{first}},
			{"not the instance id", ecs.ListContainerInstancesInput{Filter: aws.String("ec2InstanceId != i-0123456789abcdef0")}, []string{other}},
			{"in a list", ecs.ListContainerInstancesInput{Filter: aws.String("ec2InstanceId in [i-1, i-0123456789abcdef0]")}, []string{first}},
			{"by attribute", ecs.ListContainerInstancesInput{Filter: aws.String("attribute:ecs.instance-type == c7g.large")}, []string{other}},
			{"nobody", ecs.ListContainerInstancesInput{Filter: aws.String("agentConnected == false")}, nil},
			{"by status", ecs.ListContainerInstancesInput{Status: types.ContainerInstanceStatusDraining}, []string{other}},
			{"a page", ecs.ListContainerInstancesInput{MaxResults: aws.Int32(1)}, []string{first}},
		} {
			tc.input.Cluster = aws.String("web")
			out, err := b.ecs().ListContainerInstances(t.Context(), &tc.input)
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
				continue
			}
			if diff := cmp.Diff(tc.want, out.ContainerInstanceArns, cmp.Transformer("empty", func(s []string) string { return strings.Join(s, " ") })); diff != "" {
				t.Errorf("%s: %s", tc.name, diff)
			}
			if tc.name == "a page" {
				tc.input.NextToken = out.NextToken
				rest, err := b.ecs().ListContainerInstances(t.Context(), &tc.input)
				if err != nil || len(rest.ContainerInstanceArns) != 1 || rest.ContainerInstanceArns[0] != other || rest.NextToken != nil {
					t.Errorf("second page %+v, %v", rest, err)
				}
			}
		}
		second.SetContainerInstanceStatus("INACTIVE")
		out, err := b.ecs().ListContainerInstances(t.Context(), &ecs.ListContainerInstancesInput{Cluster: aws.String("web")})
		if err != nil || len(out.ContainerInstanceArns) != 1 {
			t.Errorf("%v with an inactive instance, %v", out, err)
		}
		for _, filter := range []string{"nonsense", "runningTasksCount == 1", "ec2InstanceId == a and agentConnected == true"} {
			_, err := b.ecs().ListContainerInstances(t.Context(), &ecs.ListContainerInstancesInput{Cluster: aws.String("web"), Filter: &filter})
			wantCode(t, err, "InvalidParameterException", http.StatusBadRequest)
		}
	})
}

func TestPutAttributes(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		arn := b.SetRegistered("web")
		put := func(cluster string, attributes ...types.Attribute) error {
			_, err := b.ecs().PutAttributes(t.Context(), &ecs.PutAttributesInput{Cluster: &cluster, Attributes: attributes})
			return err
		}
		attribute := func(name, value string) types.Attribute {
			return types.Attribute{Name: &name, Value: &value, TargetId: &arn}
		}
		if err := put("web", attribute("lifecycle", "spot"), types.Attribute{Name: aws.String("empty"), TargetId: &arn}); err != nil {
			t.Fatal(err)
		}
		if ci, _ := b.ContainerInstance(); ci.Attributes["lifecycle"] != "spot" || ci.Attributes["ecs.os-type"] != "linux" {
			t.Errorf("attributes %v", ci.Attributes)
		}
		for _, tc := range []struct {
			name, cluster string
			attribute     types.Attribute
			code          string
		}{
			{"cluster missing", "nowhere", attribute("a", "b"), "ClusterNotFoundException"},
			{"name with a space", "web", attribute("a b", "c"), "InvalidParameterException"},
			{"name of 129", "web", attribute(strings.Repeat("a", 129), "c"), "InvalidParameterException"},
			{"value ending in a space", "web", attribute("a", "b "), "InvalidParameterException"},
			{"value with a quote", "web", attribute("a", `"`), "InvalidParameterException"},
			{"value empty", "web", attribute("a", ""), "InvalidParameterException"},
			{"short id without type", "web", types.Attribute{Name: aws.String("a"), TargetId: aws.String("0123")}, "InvalidParameterException"},
			{"target missing", "web", types.Attribute{Name: aws.String("a"), TargetId: aws.String(arn + "0")}, "TargetNotFoundException"},
		} {
			t.Log(tc.name)
			wantCode(t, put(tc.cluster, tc.attribute), tc.code, http.StatusBadRequest)
		}
		var many []types.Attribute
		for i := range 8 {
			many = append(many, attribute(fmt.Sprintf("a%d", i), "x"))
		}
		if err := put("web", many...); err != nil {
			t.Fatal(err)
		}
		if err := put("web", attribute("lifecycle", "on-demand")); err != nil {
			t.Errorf("replacing one of ten: %v", err)
		}
		wantCode(t, put("web", attribute("eleventh", "x")), "AttributeLimitExceededException", http.StatusBadRequest)
	})
}

func TestListAttributes(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		arn := b.SetRegistered("web")
		out, err := b.ecs().ListAttributes(t.Context(), &ecs.ListAttributesInput{
			Cluster: aws.String("web"), TargetType: types.TargetTypeContainerInstance,
			AttributeName: aws.String("ecs.instance-type"), AttributeValue: aws.String("m6i.large"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Attributes) != 1 || *out.Attributes[0].TargetId != arn || *out.Attributes[0].Value != "m6i.large" {
			t.Errorf("%+v", out.Attributes)
		}
	})
}

func TestECSRefusals(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		_, err := b.ecs().ListContainerInstances(t.Context(), nil)
		wantCode(t, err, "ClusterNotFoundException", http.StatusBadRequest)
		b.SetRegistered("default")
		if _, err := b.ecs().ListContainerInstances(t.Context(), nil); err != nil {
			t.Errorf("cluster default: %v", err)
		}
		b.Deny("ecs:ListContainerInstances")
		_, err = b.ecs().ListContainerInstances(t.Context(), nil)
		wantCode(t, err, "AccessDeniedException", http.StatusBadRequest)
		if !strings.Contains(err.Error(), "on resource: arn:aws:ecs:eu-west-1:123456789012:cluster/default because") {
			t.Error(err)
		}
		b.SetRate(sim.BucketECSResourceRead, sim.Rate{})
		_, err = b.ecs().ListContainerInstances(t.Context(), nil)
		wantCode(t, err, "ThrottlingException", http.StatusBadRequest)
		_, err = b.ecs().ListServices(t.Context(), nil)
		wantCode(t, err, "UnknownOperationException", http.StatusBadRequest)
	})
}
