package sim

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// autoscalingAPI is the part of Amazon EC2 Auto Scaling that a node's agent uses.
func autoscalingAPI() *api {
	return &api{
		name:     "autoscaling",
		protocol: awsQueryProtocol{namespace: "http://autoscaling.amazonaws.com/doc/2011-01-01/"},
		operations: map[string]operation{
			"CompleteLifecycleAction":        {resource: askedGroup, handle: completeLifecycleAction},
			"DescribeAutoScalingInstances":   {handle: describeAutoScalingInstances},
			"DescribeLifecycleHooks":         {handle: describeLifecycleHooks},
			"RecordLifecycleActionHeartbeat": {resource: askedGroup, handle: recordLifecycleActionHeartbeat},
			"SetInstanceHealth":              {resource: askedGroup, handle: setInstanceHealth},
		},
	}
}

// askedGroup is the group that a call names, or that of the instance it names.
// What identifies a group in its ARN is made up.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html
func askedGroup(r *apiRequest) string {
	group := r.form.Get("AutoScalingGroupName")
	for _, n := range r.world.nodes {
		if group == "" && n.instance.ID == r.form.Get("InstanceId") {
			group = n.group
		}
	}
	account := strings.Split(r.caller.principal, ":")[4]
	return fmt.Sprintf("arn:aws:autoscaling:%s:%s:autoScalingGroup:00000000-0000-4000-8000-000000000000:autoScalingGroupName/%s", r.caller.region, account, group)
}

// SetGroup puts the node's instance into an Auto Scaling group, in which it has
// not begun to terminate; "" takes it out.
func (n *Node) SetGroup(name string) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.group, n.health = name, ""
	n.terminating, n.actions = time.Time{}, nil
	if name != "" {
		n.health = "Healthy"
	}
}

// Health is what Auto Scaling holds of the instance: "Healthy", "Unhealthy", or
// "" outside of a group.
func (n *Node) Health() string {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.health
}

// setInstanceHealth replaces nothing: what a group does with an unhealthy
// instance is not the node's to see, but that it ends.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetInstanceHealth.html
func setInstanceHealth(r *apiRequest) (any, error) {
	id, status := r.form.Get("InstanceId"), r.form.Get("HealthStatus")
	if status != "Healthy" && status != "Unhealthy" {
		return nil, &apiError{http.StatusBadRequest, "ValidationError", fmt.Sprintf("Invalid Health Status: %s", status)}
	}
	i := slices.IndexFunc(r.world.nodes, func(n *Node) bool { return n.instance.ID == id && n.group != "" })
	if i < 0 {
		// The code is that of what the service cannot take (as in aws/aws-cli
		// issue 171); the wording is the simulator's.
		return nil, &apiError{http.StatusBadRequest, "ValidationError", "Instance Id not found - " + id}
	}
	r.world.nodes[i].health = status
	return struct{}{}, nil
}

// awsQueryProtocol is the query protocol of most older APIs: like EC2's, but
// for the shape of answers and errors.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonErrors.html
type awsQueryProtocol struct{ namespace string }

func (awsQueryProtocol) operation(_ *http.Request, form url.Values) string { return form.Get("Action") }

// writeAnswer: an operation without a result answers with metadata only.
func (p awsQueryProtocol) writeAnswer(w http.ResponseWriter, operation, requestID string, answer any) {
	type response struct {
		XMLName   xml.Name
		Namespace string `xml:"xmlns,attr"`
		Result    any
		RequestID string `xml:"ResponseMetadata>RequestId"`
	}
	r := response{XMLName: xml.Name{Local: operation + "Response"}, Namespace: p.namespace, RequestID: requestID}
	if answer != struct{}{} {
		r.Result = named{operation + "Result", answer}
	}
	writeXML(w, http.StatusOK, r)
}

// named is an element whose name is known only now.
type named struct {
	name  string
	value any
}

// MarshalXML implements [xml.Marshaler].
func (n named) MarshalXML(e *xml.Encoder, _ xml.StartElement) error {
	return e.EncodeElement(n.value, xml.StartElement{Name: xml.Name{Local: n.name}})
}

func (awsQueryProtocol) writeError(w http.ResponseWriter, requestID string, e *apiError) {
	type wireError struct{ Type, Code, Message string }
	fault := "Sender"
	if e.Status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	writeXML(w, e.Status, struct {
		XMLName   xml.Name  `xml:"ErrorResponse"`
		Error     wireError `xml:"Error"`
		RequestID string    `xml:"RequestId"`
	}{Error: wireError{fault, e.Code, e.Message}, RequestID: requestID})
}

func (awsQueryProtocol) refusal(why authFailure) *apiError {
	switch why {
	case unsigned:
		return &apiError{http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token"}
	case malformed:
		return &apiError{http.StatusBadRequest, "IncompleteSignature", "The request signature does not conform to AWS standards."}
	case expiredToken:
		return &apiError{http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired"}
	default:
		return &apiError{http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid."}
	}
}

func (awsQueryProtocol) denied(principal, action, _ string) *apiError {
	return &apiError{http.StatusForbidden, "AccessDenied", fmt.Sprintf(
		"User: %s is not authorized to perform: %s because no identity-based policy allows the %s action", principal, action, action)}
}

func (awsQueryProtocol) throttled() *apiError {
	return &apiError{http.StatusBadRequest, "Throttling", "Rate exceeded"}
}

func (awsQueryProtocol) failure(status int) *apiError {
	code := map[int]string{
		http.StatusBadRequest:         "ValidationError",
		http.StatusForbidden:          "AccessDenied",
		http.StatusTooManyRequests:    "Throttling",
		http.StatusServiceUnavailable: "ServiceUnavailable",
	}[status]
	if code == "" {
		code = "InternalFailure"
	}
	return &apiError{status, code, "An error has occurred (" + http.StatusText(status) + ")"}
}
