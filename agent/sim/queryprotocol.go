package sim

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// queryProtocol is the EC2 query protocol: a form in, XML out.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html
type queryProtocol struct{ namespace string }

func (queryProtocol) operation(_ *http.Request, form url.Values) string { return form.Get("Action") }

// writeAnswer wraps the answer, a struct, in <OperationResponse> with the
// request id first, as EC2 does.
func (p queryProtocol) writeAnswer(w http.ResponseWriter, operation, requestID string, answer any) {
	writeXML(w, http.StatusOK, struct {
		XMLName   xml.Name
		Namespace string `xml:"xmlns,attr"`
		RequestID string `xml:"requestId"`
		Answer    any
	}{XMLName: xml.Name{Local: operation + "Response"}, Namespace: p.namespace, RequestID: requestID, Answer: answer})
}

// writeError's shape: response captured in hashicorp/terraform-provider-aws
// issue 4664.
func (queryProtocol) writeError(w http.ResponseWriter, requestID string, e *apiError) {
	type wireError struct{ Code, Message string }
	writeXML(w, e.Status, struct {
		XMLName   xml.Name    `xml:"Response"`
		Errors    []wireError `xml:"Errors>Error"`
		RequestID string
	}{Errors: []wireError{{e.Code, e.Message}}, RequestID: requestID})
}

func writeXML(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	body.WriteString(xml.Header)
	if err := xml.NewEncoder(&body).Encode(v); err != nil {
		http.Error(w, "cannot encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/xml;charset=UTF-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}

// refusal: codes of
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html,
// their use as seen: AuthFailure 401 for bad credentials (aws/aws-sdk-java-v2
// issue 2981) and for a skewed clock (hashicorp/terraform-provider-aws issue
// 1102).
func (queryProtocol) refusal(why authFailure) *apiError {
	switch why {
	case unsigned:
		return &apiError{http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token"}
	case malformed:
		return &apiError{http.StatusBadRequest, "IncompleteSignature", "The request signature does not conform to AWS standards."}
	case expiredToken:
		return &apiError{http.StatusBadRequest, "RequestExpired", "Request has expired."}
	default:
		return &apiError{http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials"}
	}
}

// denied: message as in aws-samples/amazon-cloudwatch-container-insights issue
// 154; EC2 names no resource for describe calls.
func (queryProtocol) denied(principal, action, _ string) *apiError {
	return &apiError{http.StatusForbidden, "UnauthorizedOperation", fmt.Sprintf(
		"You are not authorized to perform this operation. User: %s is not authorized to perform: %s because no identity-based policy allows the %s action",
		principal, action, action)}
}

// throttled: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
func (queryProtocol) throttled() *apiError {
	return &apiError{http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded."}
}

// failure: codes of the same errors-overview page.
func (queryProtocol) failure(status int) *apiError {
	code := map[int]string{
		http.StatusBadRequest:          "InvalidAction",
		http.StatusUnauthorized:        "AuthFailure",
		http.StatusForbidden:           "UnauthorizedOperation",
		http.StatusTooManyRequests:     "RequestLimitExceeded",
		http.StatusInternalServerError: "InternalError",
		http.StatusServiceUnavailable:  "Unavailable",
	}[status]
	if code == "" {
		code = "InternalError"
	}
	return &apiError{status, code, "An error has occurred (" + http.StatusText(status) + ")"}
}
