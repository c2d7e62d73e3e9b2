// Command crane asks a registry what crane asks: go-containerregistry as a library.
//
//	crane COMMAND REFERENCE
//
//	head       the descriptor that HEAD gives: digest, size, media type
//	digest     crane digest
//	manifest   crane manifest: the bytes
//	ls         crane ls: a line a tag
//	pull       crane pull into a tarball, which is read back; an image
//	validate   crane validate: every layer fetched and hashed; image or index
//	layer      crane blob: a layer's bytes, verified, counted
//	referrers  digests, a line each
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "crane COMMAND REFERENCE")
		os.Exit(2)
	}

	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A test wants the first answer, not what comes of asking again.
var once = []remote.Option{
	remote.WithRetryBackoff(remote.Backoff{Duration: time.Millisecond, Steps: 1}), remote.WithRetryStatusCodes(),
}

func run(command, reference string) error {
	insecure := crane.Insecure
	quick := func(o *crane.Options) { o.Remote = append(o.Remote, once...) }

	switch command {
	case "head":
		d, err := crane.Head(reference, insecure, quick)
		if err != nil {
			return err
		}

		fmt.Println(d.Digest, d.Size, d.MediaType)
	case "digest":
		d, err := crane.Digest(reference, insecure, quick)
		if err != nil {
			return err
		}

		fmt.Println(d)
	case "manifest":
		body, err := crane.Manifest(reference, insecure, quick)
		if err != nil {
			return err
		}

		os.Stdout.Write(body) //nolint:errcheck // nobody is left to tell
	case "ls":
		tags, err := crane.ListTags(reference, insecure, quick)
		if err != nil {
			return err
		}

		for _, tag := range tags {
			fmt.Println(tag)
		}
	case "pull":
		return pull(reference, insecure, quick)
	case "layer":
		layer, err := crane.PullLayer(reference, insecure, quick)
		if err != nil {
			return err
		}

		body, err := layer.Compressed()
		if err != nil {
			return err
		}
		defer body.Close()

		n, err := io.Copy(io.Discard, body)
		if err != nil {
			return err
		}

		fmt.Println(n)
	case "validate", "referrers":
		return whole(command, reference)
	default:
		return fmt.Errorf("no command %s", command)
	}

	return nil
}

func pull(reference string, options ...crane.Option) error {
	img, err := crane.Pull(reference, options...)
	if err != nil {
		return err
	}

	dir, err := os.MkdirTemp("", "crane")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	file := filepath.Join(dir, "image.tar")
	if err := crane.Save(img, reference, file); err != nil {
		return err
	}

	saved, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		return err
	}

	if err := validate.Image(saved); err != nil {
		return err
	}

	return print(img)
}

func whole(command, reference string) error {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return err
	}

	options := append([]remote.Option{remote.WithTransport(http.DefaultTransport)}, once...)

	if command == "referrers" {
		index, err := remote.Referrers(ref.(name.Digest), options...)
		if err != nil {
			return err
		}

		manifest, err := index.IndexManifest()
		if err != nil {
			return err
		}

		for _, d := range manifest.Manifests {
			fmt.Println(d.Digest)
		}

		return nil
	}

	d, err := remote.Get(ref, options...)
	if err != nil {
		return err
	}

	if types.MediaType(d.MediaType).IsIndex() {
		index, err := d.ImageIndex()
		if err != nil {
			return err
		}

		if err := validate.Index(index); err != nil {
			return err
		}

		return print(index)
	}

	img, err := d.Image()
	if err != nil {
		return err
	}

	if err := validate.Image(img); err != nil {
		return err
	}

	return print(img)
}

func print(what interface{ Digest() (v1.Hash, error) }) error {
	digest, err := what.Digest()
	if err == nil {
		fmt.Println(digest)
	}

	return err
}
