package awsapi

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Keys are credentials as the AWS SDKs take them from the environment.
type Keys struct{ AccessKeyID, SecretAccessKey, SessionToken string }

// Retrieve implements aws.CredentialsProvider.
func (k *Keys) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{
		AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken, Source: "environment",
	}, nil
}
