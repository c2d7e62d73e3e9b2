//go:build !talos111 && !talos112

// verify.go: ImageService.Verify by Talos' own code: its rules, its resolver over the node's mirrors, its look-ups, its cosign.

package main

import (
	"context"
	"fmt"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/siderolabs/talos/internal/pkg/containers/image"
	"github.com/siderolabs/talos/internal/pkg/containers/image/verify"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/resources/config"
	"github.com/siderolabs/talos/pkg/machinery/resources/cri"
	"github.com/siderolabs/talos/pkg/machinery/resources/security"
)

func (s imageService) Verify(ctx context.Context, req *machine.ImageServiceVerifyRequest) (*machine.ImageServiceVerifyResponse, error) {
	rules, err := s.rules(ctx)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "failed to read the rules: %s", err)
	}

	registries, err := cri.RegistryBuilder(s.state)(ctx)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "failed to build registry configuration: %s", err)
	}

	return verify.ImageSignature(ctx, zap.NewNop(), rules, image.NewResolver(registries), image.NewTagFetcher(registries), req.GetImageRef())
}

// rules does what the controller does that makes rules of the config. Nothing fetches the roots of trust of `keyless` rules:
// there is no internet here.
func (s imageService) rules(ctx context.Context) (state.State, error) {
	out := state.WrapCore(namespaced.NewState(inmem.Build))

	active, err := safe.StateGetByID[*config.MachineConfig](ctx, s.state, config.ActiveID)
	if err != nil {
		return nil, err
	}

	wanted := active.Config().ImageVerificationConfig()
	if wanted == nil {
		return out, nil
	}

	for i, rule := range wanted.Rules() {
		res := security.NewImageVerificationRule(fmt.Sprintf("%04d", i))
		spec := res.TypedSpec()
		spec.ImagePattern, spec.Skip, spec.Deny = rule.ImagePattern(), rule.Skip(), rule.Deny()

		if keyless := rule.VerifierKeyless(); keyless != nil {
			spec.KeylessVerifier = &security.ImageKeylessVerifierSpec{
				Issuer: keyless.Issuer(), Subject: keyless.Subject(), SubjectRegex: keyless.SubjectRegex(),
			}
		}

		if key := rule.VerifierPublicKey(); key != nil {
			spec.PublicKeyVerifier = &security.ImagePublicKeyVerifierSpec{Certificate: key.Certificate()}
		}

		if err := out.Create(ctx, res); err != nil {
			return nil, err
		}
	}

	return out, nil
}
