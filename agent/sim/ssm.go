package sim

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// ssmAPI is the part of AWS Systems Manager that a node's agent uses: reading from
// Parameter Store. Inputs, outputs and errors:
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/
func ssmAPI() *api {
	read := drawsFrom(BucketSSMParameters)
	return &api{
		name:     "ssm",
		protocol: jsonProtocol{target: "AmazonSSM"},
		operations: map[string]operation{
			"GetParameters":       {bucket: read, resource: firstParameter, handle: getParameters},
			"GetParametersByPath": {bucket: read, resource: parameterPath, handle: getParametersByPath},
		},
	}
}

// ssmParameter is a parameter on the wire.
type ssmParameter struct {
	ARN, DataType, Name, Type, Value string
	LastModifiedDate                 float64
	Selector                         string `json:",omitempty"`
	Version                          int
}

// maxParametersPerCall is how many names one call has, and parameters a page.
const maxParametersPerCall = 10

type getParametersInput struct {
	Names          []string
	WithDecryption bool
}

func firstParameter(r *apiRequest) string {
	var in getParametersInput
	if r.decode(&in) != nil || len(in.Names) == 0 {
		return ""
	}
	return r.parameterResource(in.Names[0])
}

// parameterResource is what access to a parameter is access to: the parameter,
// whatever version of it.
func (r *apiRequest) parameterResource(asked string) string {
	prefix := r.world.parameterARN("")
	name, _, _ := strings.Cut(strings.TrimPrefix(asked, prefix), ":")
	return r.world.parameterARN(name)
}

var parameterAsked = regexp.MustCompile(`^([a-zA-Z0-9_.-]+|(/[a-zA-Z0-9_.-]+)+)(:[a-zA-Z0-9_.-]+)?$`)

// errParameterName: words and case as in localstack/localstack issue 11538.
var errParameterName = &apiError{
	http.StatusBadRequest, "ValidationException",
	`Parameter name: can't be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; ` +
		`each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`,
}

// getParameters: who may not read one of the parameters gets none.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html
// https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-retrieval-authorization.html
func getParameters(r *apiRequest) (any, error) {
	var in getParametersInput
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	if n := len(in.Names); n == 0 || n > maxParametersPerCall {
		return nil, violation("names", strings.Join(in.Names, ", "), "length", n == 0, maxParametersPerCall)
	}
	for _, name := range in.Names {
		if !strings.HasPrefix(name, "arn:") && !parameterAsked.MatchString(name) {
			return nil, errParameterName
		}
		if resource := r.parameterResource(name); !r.allows("ssm:GetParameters", resource) {
			return nil, jsonProtocol{}.denied(r.caller.principal, "ssm:GetParameters", resource)
		}
	}
	out := struct {
		Parameters        []ssmParameter
		InvalidParameters []string
	}{[]ssmParameter{}, []string{}}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(in.Names))) {
		v, selector, found := r.world.findParameter(name)
		if !found {
			out.InvalidParameters = append(out.InvalidParameters, name)
			continue
		}
		p, err := r.parameterValue(v, in.WithDecryption)
		if err != nil {
			return nil, err
		}
		if selector != "" {
			p.Selector = ":" + selector // that the colon is part of it is a guess
		}
		out.Parameters = append(out.Parameters, p)
	}
	return out, nil
}

// parameterValue is a version of a parameter on the wire, its value in clear only
// for who may decrypt it. The key aws/ssm lets every role of the account.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-restrict-decryption.html
func (r *apiRequest) parameterValue(v parameterVersion, decrypt bool) (ssmParameter, error) {
	value := v.Value
	if v.Type == "SecureString" {
		switch {
		case !decrypt:
			value = base64.StdEncoding.EncodeToString([]byte("encrypted " + v.Value))
		case v.Key != "" && !r.allows("kms:Decrypt", r.world.keyARN(v.Key)):
			denied := jsonProtocol{}.denied(r.caller.principal, "kms:Decrypt", r.world.keyARN(v.Key))
			// What KMS answered is passed on with this at its end (aws/aws-cdk issue 4498).
			denied.Message += fmt.Sprintf(" (Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException; Request ID: %s; Proxy: null)", r.world.requestID())
			return ssmParameter{}, denied
		}
	}
	return ssmParameter{
		ARN: r.world.parameterARN(v.Name), DataType: "text", Name: v.Name, Type: v.Type, Value: value,
		LastModifiedDate: float64(v.modified.UnixMilli()) / 1000, Version: v.number,
	}, nil
}

type getParametersByPathInput struct {
	Path, NextToken           string
	Recursive, WithDecryption bool
	MaxResults                *int
}

// parameterPath is what a path is access to: not the parameters below it.
func parameterPath(r *apiRequest) string {
	var in getParametersByPathInput
	_ = r.decode(&in) // refused later
	return r.world.parameterARN(in.Path)
}

// errParameterPath: words as in aws/aws-sdk-js-v3 issue 5928.
var errParameterPath = &apiError{
	http.StatusBadRequest, "ValidationException",
	`The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "/". ` +
		`It can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). It must use only letters, numbers, or the following symbols: ` +
		`. (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if specified, must use the forward slash symbol "/". ` +
		`Valid example: /get/parameters2-/by1./path0_.`,
}

var pathAsked = regexp.MustCompile(`^/([a-zA-Z0-9_.-]+/)*[a-zA-Z0-9_.-]*$`)

// getParametersByPath: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
func getParametersByPath(r *apiRequest) (any, error) {
	var in getParametersByPathInput
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	most := maxParametersPerCall
	if in.MaxResults != nil {
		most = *in.MaxResults
	}
	switch {
	case !pathAsked.MatchString(in.Path):
		return nil, errParameterPath
	case most < 1 || most > maxParametersPerCall:
		return nil, violation("maxResults", fmt.Sprint(most), "value", most < 1, maxParametersPerCall)
	}
	// A token has the name after which to go on.
	after, err := base64.StdEncoding.DecodeString(in.NextToken)
	if err != nil {
		return nil, &apiError{http.StatusBadRequest, "InvalidNextToken", "The specified token isn't valid."}
	}
	out := struct {
		Parameters []ssmParameter
		NextToken  string `json:",omitempty"`
	}{Parameters: []ssmParameter{}}
	for _, name := range slices.Sorted(maps.Keys(r.world.parameters)) {
		if !below(in.Path, name, in.Recursive) || in.NextToken != "" && cmp.Compare(name, string(after)) <= 0 {
			continue
		}
		if len(out.Parameters) == most {
			last := out.Parameters[most-1].Name
			out.NextToken = base64.StdEncoding.EncodeToString([]byte(last))
			break
		}
		v, _ := r.world.parameters[name].version("")
		p, err := r.parameterValue(v, in.WithDecryption)
		if err != nil {
			return nil, err
		}
		out.Parameters = append(out.Parameters, p)
	}
	return out, nil
}

// below reports whether a parameter is below a path, directly if not recursive.
func below(path, name string, recursive bool) bool {
	rest, is := strings.CutPrefix("/"+strings.TrimPrefix(name, "/"), strings.TrimSuffix(path, "/")+"/")
	return is && (recursive || !strings.Contains(rest, "/"))
}

// violation is what the services of this protocol say of a member of the input
// whose length or value is too small or too large.
func violation(member, value, what string, small bool, most int) *apiError {
	bound := fmt.Sprintf("less than or equal to %d", most)
	if small {
		bound = "greater than or equal to 1"
	}
	return &apiError{http.StatusBadRequest, "ValidationException", fmt.Sprintf(
		"1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must have %s %s", value, member, what, bound)}
}
