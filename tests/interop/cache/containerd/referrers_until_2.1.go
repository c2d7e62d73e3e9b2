//go:build containerd21

package main

import (
	"context"
	"errors"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/opencontainers/go-digest"
)

func (*puller) referrers(context.Context, remotes.Fetcher, digest.Digest) error {
	return errors.New("containerd 2.1 lists no referrers")
}
