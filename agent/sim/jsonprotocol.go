package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// jsonProtocol is awsJson1.1: the operation in X-Amz-Target, JSON both ways.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
type jsonProtocol struct{ target string }

func (p jsonProtocol) operation(r *http.Request, _ url.Values) string {
	operation, ours := strings.CutPrefix(r.Header.Get("X-Amz-Target"), p.target+".")
	if !ours {
		return ""
	}
	return operation
}

func (jsonProtocol) writeAnswer(w http.ResponseWriter, _, _ string, answer any) {
	writeAWSJSON(w, http.StatusOK, answer)
}

// writeError puts the code in __type and, as AWS does, in X-Amzn-Errortype.
func (jsonProtocol) writeError(w http.ResponseWriter, _ string, e *apiError) {
	w.Header().Set("X-Amzn-Errortype", e.Code)
	writeAWSJSON(w, e.Status, struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{e.Code, e.Message})
}

func writeAWSJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "cannot encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-amz-json-1.1")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// refusal: codes of
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html
// with the Exception ending that the JSON services send.
func (jsonProtocol) refusal(why authFailure) *apiError {
	switch why {
	case unsigned:
		// 400 as ECR, of the same protocol, in jenkinsci/aws-credentials-plugin
		// issue 270.
		return &apiError{http.StatusBadRequest, "MissingAuthenticationTokenException", "Missing Authentication Token"}
	case malformed:
		return &apiError{http.StatusBadRequest, "IncompleteSignatureException", "Authorization header is not complete."}
	case unknownKey:
		return &apiError{http.StatusBadRequest, "UnrecognizedClientException", "The security token included in the request is invalid."}
	case expiredToken:
		return &apiError{http.StatusBadRequest, "ExpiredTokenException", "The security token included in the request is expired"}
	case clockSkewed:
		return &apiError{http.StatusBadRequest, "InvalidSignatureException", "Signature expired: the time stamp is more than 5 min. off."}
	case wrongScope:
		return &apiError{http.StatusBadRequest, "InvalidSignatureException", "Credential should be scoped to correct service and region."}
	default:
		return &apiError{
			http.StatusBadRequest, "InvalidSignatureException",
			"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.",
		}
	}
}

func (jsonProtocol) denied(principal, action, resource string) *apiError {
	on := ""
	if resource != "" {
		on = " on resource: " + resource
	}
	return &apiError{http.StatusBadRequest, "AccessDeniedException", fmt.Sprintf(
		"User: %s is not authorized to perform: %s%s because no identity-based policy allows the %s action",
		principal, action, on, action)}
}

// throttled: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
func (jsonProtocol) throttled() *apiError {
	return &apiError{http.StatusBadRequest, "ThrottlingException", "Rate exceeded"}
}

func (jsonProtocol) failure(status int) *apiError {
	code := map[int]string{
		http.StatusBadRequest:          "UnknownOperationException",
		http.StatusUnauthorized:        "UnrecognizedClientException",
		http.StatusForbidden:           "AccessDeniedException",
		http.StatusTooManyRequests:     "ThrottlingException",
		http.StatusInternalServerError: "ServerException",
		http.StatusServiceUnavailable:  "ServiceUnavailableException",
	}[status]
	if code == "" {
		code = "ServerException"
	}
	return &apiError{status, code, "An error has occurred (" + http.StatusText(status) + ")"}
}

// decode reads a call's JSON input; fields it does not know are ignored, as
// AWS ignores them.
func (r *apiRequest) decode(input any) error {
	if err := json.Unmarshal(r.body, input); err != nil {
		return &apiError{http.StatusBadRequest, "SerializationException", err.Error()}
	}
	return nil
}
