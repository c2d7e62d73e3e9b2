//go:build !containerd21

package main

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/opencontainers/go-digest"
)

func (p *puller) referrers(ctx context.Context, fetcher remotes.Fetcher, of digest.Digest) error {
	lister, ok := fetcher.(remotes.ReferrersFetcher)
	if !ok {
		return fmt.Errorf("%T lists no referrers", fetcher)
	}

	all, err := lister.FetchReferrers(ctx, of)
	if err != nil {
		return fmt.Errorf("referrers: %w", err)
	}

	l := line{Event: "referrers"}
	for _, one := range all {
		l.Digests = append(l.Digests, one.Digest.String())
	}

	p.say(l)

	return nil
}
