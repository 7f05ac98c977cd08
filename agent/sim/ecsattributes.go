package sim

import (
	"regexp"
	"strings"
)

// Limits of custom attributes. ecs.* attributes belong to ECS and do not
// count.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutAttributes.html
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Attribute.html
const maxAttributes = 10

var (
	attributeName  = regexp.MustCompile(`^[A-Za-z0-9_/\\.-]{1,128}$`)
	attributeValue = regexp.MustCompile(`^[A-Za-z0-9_.@/\\: -]{1,128}$`)
)

// attributeInput is an attribute of a request: without a value is not the same
// as with an empty one.
type attributeInput struct {
	Name       string  `json:"name"`
	Value      *string `json:"value"`
	TargetType string  `json:"targetType"`
	TargetID   string  `json:"targetId"`
}

func (a attributeInput) validate() error {
	switch {
	case !attributeName.MatchString(a.Name):
		return invalidParameter("Attribute name %q is invalid.", a.Name)
	case a.Value != nil && (!attributeValue.MatchString(*a.Value) || strings.TrimSpace(*a.Value) != *a.Value):
		return invalidParameter("Attribute value %q is invalid.", *a.Value)
	case a.TargetID == "":
		return invalidParameter("targetId of attribute %q is missing.", a.Name)
	case a.TargetType != "" && a.TargetType != "container-instance":
		return invalidParameter("targetType %q is invalid.", a.TargetType)
	case a.TargetType == "" && !strings.HasPrefix(a.TargetID, "arn:"):
		return invalidParameter("targetType is required with a short targetId.")
	}
	return nil
}

// putAttributes sets all of the attributes or none.
func putAttributes(r *apiRequest) (any, error) {
	var in struct {
		Cluster    string           `json:"cluster"`
		Attributes []attributeInput `json:"attributes"`
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := r.findCluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	if n := len(in.Attributes); n == 0 || n > maxAttributes {
		return nil, invalidParameter("A call takes 1 to %d attributes, not %d.", maxAttributes, n)
	}
	added := map[*containerInstance]map[string]bool{}
	for _, a := range in.Attributes {
		if err := a.validate(); err != nil {
			return nil, err
		}
		ci := c.find(a.TargetID)
		if ci == nil {
			return nil, clientError("TargetNotFoundException", "The specified target wasn't found: "+a.TargetID)
		}
		if added[ci] == nil {
			added[ci] = ci.customAttributes()
		}
		added[ci][a.Name] = true
		if len(added[ci]) > maxAttributes {
			return nil, clientError("AttributeLimitExceededException", "You can apply up to 10 custom attributes for each resource.")
		}
	}
	applied := []ecsAttribute{}
	for _, a := range in.Attributes {
		ci := c.find(a.TargetID)
		value := ""
		if a.Value != nil {
			value = *a.Value
		}
		ci.attributes[a.Name] = value
		ci.changed()
		applied = append(applied, ecsAttribute{Name: a.Name, Value: value, TargetType: "container-instance", TargetID: ci.arn()})
	}
	return struct {
		Attributes []ecsAttribute `json:"attributes"`
	}{applied}, nil
}

func (c *containerInstance) customAttributes() map[string]bool {
	custom := map[string]bool{}
	for name := range c.attributes {
		if !strings.HasPrefix(name, "ecs.") && !strings.HasPrefix(name, "com.amazonaws.ecs.") {
			custom[name] = true
		}
	}
	return custom
}

func listAttributes(r *apiRequest) (any, error) {
	var in struct {
		Cluster        string  `json:"cluster"`
		TargetType     string  `json:"targetType"`
		AttributeName  string  `json:"attributeName"`
		AttributeValue *string `json:"attributeValue"`
		pageRequest
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := r.findCluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	switch {
	case in.TargetType != "container-instance":
		return nil, invalidParameter("targetType %q is invalid.", in.TargetType)
	case in.AttributeValue != nil && in.AttributeName == "":
		return nil, invalidParameter("attributeValue goes with attributeName.")
	}
	attributes := []ecsAttribute{}
	for _, ci := range c.instances {
		for _, a := range ci.sortedAttributes() {
			if in.AttributeName != "" && a.Name != in.AttributeName || in.AttributeValue != nil && a.Value != *in.AttributeValue {
				continue
			}
			a.TargetID, a.TargetType = ci.arn(), in.TargetType
			attributes = append(attributes, a)
		}
	}
	page, next, err := paginate(attributes, in.pageRequest)
	if err != nil {
		return nil, err
	}
	return struct {
		Attributes []ecsAttribute `json:"attributes"`
		NextToken  string         `json:"nextToken,omitempty"`
	}{page, next}, nil
}
