package s3

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/auth"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// alwaysSigned has every request signed with Signature Version 4. The SDK's own
// resolver knows more ways, none of which a bucket of general purpose needs.
type alwaysSigned struct{}

// ResolveAuthSchemes implements s3.AuthSchemeResolver.
func (alwaysSigned) ResolveAuthSchemes(_ context.Context, p *s3.AuthResolverParameters) ([]*auth.Option, error) {
	option := &auth.Option{SchemeID: auth.SchemeIDSigV4}
	smithyhttp.SetSigV4SigningName(&option.SignerProperties, "s3")
	smithyhttp.SetSigV4SigningRegion(&option.SignerProperties, p.Region)
	return []*auth.Option{option}, nil
}

// signature is Signature Version 4 by credentials. It is the scheme, the source
// of the identity and the signer in one.
type signature struct{ credentials aws.CredentialsProvider }

// SchemeID implements smithyhttp.AuthScheme.
func (signature) SchemeID() string { return auth.SchemeIDSigV4 }

// IdentityResolver implements smithyhttp.AuthScheme.
func (s signature) IdentityResolver(auth.IdentityResolverOptions) auth.IdentityResolver { return s }

// Signer implements smithyhttp.AuthScheme.
func (s signature) Signer() smithyhttp.Signer { return s }

// GetIdentity implements auth.IdentityResolver.
func (s signature) GetIdentity(ctx context.Context, _ smithy.Properties) (auth.Identity, error) {
	c, err := s.credentials.Retrieve(ctx)
	return identity{c}, err
}

// identity is who signs.
type identity struct{ credentials aws.Credentials }

// Expiration implements auth.Identity.
func (i identity) Expiration() time.Time { return i.credentials.Expires }

// SignRequest implements smithyhttp.Signer. S3 signs the path as it is sent.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
func (signature) SignRequest(ctx context.Context, r *smithyhttp.Request, by auth.Identity, p smithy.Properties) error {
	who, ok := by.(identity)
	if !ok {
		return fmt.Errorf("cannot sign as a %T", by)
	}
	name, _ := smithyhttp.GetSigV4SigningName(&p)
	region, _ := smithyhttp.GetSigV4SigningRegion(&p)
	return v4.NewSigner().SignHTTP(ctx, who.credentials, r.Request, v4.GetPayloadHash(ctx), name, region, time.Now(),
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
}
