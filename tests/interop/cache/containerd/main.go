// Command containerd pulls an image as containerd does: its resolver, its hosts directory, its content store; what is not there is
// the daemon. It is compiled against several versions.
//
//	containerd --hosts DIR --store DIR REFERENCE
//
// Lines of JSON: a `request` for each that was sent, `resolved`, an `object` for each that is in the store, hashed again,
// `referrers` when asked for, and `failed`, then with exit code 1.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/log"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"
)

func main() {
	hosts := flag.String("hosts", "", "a directory like /etc/containerd/certs.d")
	store := flag.String("store", "", "a directory for content, which outlives a pull")
	chunk := flag.Int("chunk", 0, "concurrent_layer_fetch_buffer")
	downloads := flag.Int("downloads", 3, "max_concurrent_downloads")
	referrers := flag.Bool("referrers", false, "list what refers to the image")
	timeout := flag.Duration("timeout", time.Minute, "for all of it")
	flag.Parse()

	logrus.SetOutput(os.Stderr)
	logrus.SetLevel(logrus.WarnLevel)

	p := &puller{out: json.NewEncoder(os.Stdout)}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	err := p.pull(log.WithLogger(ctx, log.L), flag.Arg(0), *hosts, *store, *chunk, *downloads, *referrers)

	cancel()

	if err != nil {
		p.say(line{Event: "failed", Error: err.Error()})
		os.Exit(1)
	}
}

type line struct {
	Event     string   `json:"event"`
	Digest    string   `json:"digest,omitempty"`
	MediaType string   `json:"mediaType,omitempty"`
	Size      int64    `json:"size,omitempty"`
	Digests   []string `json:"digests,omitempty"`
	Error     string   `json:"error,omitempty"`

	Method        string      `json:"method,omitempty"`
	URL           string      `json:"url,omitempty"`
	Range         string      `json:"range,omitempty"`
	Authorization bool        `json:"authorization,omitempty"`
	Status        int         `json:"status,omitempty"`
	Protocol      string      `json:"protocol,omitempty"`
	Header        http.Header `json:"header,omitempty"`
}

type puller struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (p *puller) say(l line) {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.out.Encode(l) //nolint:errcheck // nobody is left to tell
}

type watched struct {
	puller *puller
	next   http.RoundTripper
}

func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	l := line{
		Event: "request", Method: r.Method, URL: r.URL.String(), Range: r.Header.Get("Range"),
		Authorization: r.Header.Get("Authorization") != "",
	}

	response, err := w.next.RoundTrip(r)
	if err != nil {
		l.Error = err.Error()
	} else {
		l.Status, l.Protocol, l.Header = response.StatusCode, response.Proto, response.Header
	}

	w.puller.say(l)

	return response, err
}

func (p *puller) pull(ctx context.Context, reference, hosts, store string, chunk, downloads int, referrers bool) error {
	objects, err := local.NewStore(store)
	if err != nil {
		return err
	}

	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: config.ConfigureHosts(ctx, config.HostOptions{
			HostDir: config.HostDirFromRoot(hosts),
			UpdateClient: func(client *http.Client) error {
				client.Transport = watched{p, client.Transport}

				return nil
			},
		}),
	})

	// As client/pull.go sets them.
	if o, ok := resolver.(remotes.ResolverWithOptions); ok {
		o.SetOptions(
			transfer.WithConcurrentLayerFetchBuffer(chunk),
			transfer.WithMaxConcurrentDownloads(downloads),
			transfer.WithDownloadLimiter(semaphore.NewWeighted(int64(downloads))),
		)
	} else {
		return fmt.Errorf("%T takes no options", resolver)
	}

	name, root, err := resolver.Resolve(ctx, reference)
	if err != nil {
		return fmt.Errorf("resolve: %w", err)
	}

	p.say(line{Event: "resolved", Digest: root.Digest.String(), MediaType: root.MediaType, Size: root.Size})

	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		return err
	}

	fetched := images.Handlers(remotes.FetchHandler(objects, fetcher), images.ChildrenHandler(objects))
	if err := images.Dispatch(ctx, fetched, nil, root); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}

	err = images.Walk(ctx, images.Handlers(p.verify(objects), images.ChildrenHandler(objects)), root)
	if err != nil || !referrers {
		return err
	}

	return p.referrers(ctx, fetcher, root.Digest)
}

// verify reads what the store has, and hashes it.
func (p *puller) verify(objects content.Store) images.HandlerFunc {
	return func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		reader, err := objects.ReaderAt(ctx, d)
		if err != nil {
			return nil, err
		}
		defer reader.Close()

		digest := d.Digest.Algorithm().Digester()
		if n, err := io.Copy(digest.Hash(), content.NewReader(reader)); err != nil || n != d.Size || digest.Digest() != d.Digest {
			return nil, fmt.Errorf("%s: %d bytes of %d, of digest %s: %w", d.Digest, n, d.Size, digest.Digest(), err)
		}

		p.say(line{Event: "object", Digest: d.Digest.String(), MediaType: d.MediaType, Size: d.Size})

		return nil, nil
	}
}
