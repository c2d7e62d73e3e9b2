package suite

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestNodesVerify asks nodes what their rules for signatures make of images: Talos' own code answers, over the node's mirror.
func TestNodesVerify(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}

	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	image := newMirrored()

	for network, version := range nodeVersions {
		check(t, version, func(t *testing.T) {
			asked := make(chan string, 1000)
			mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case asked <- r.URL.Path:
				default:
				}

				image.serve(w, r)
			}))
			t.Cleanup(mirror.Close)

			knows := version >= "1.13"
			patch := fmt.Sprintf("machine:\n  registries:\n    mirrors:\n      registry.k8s.io:\n        endpoints: [%[1]q]\n        skipFallback: true\n"+
				"      docker.io:\n        endpoints: [%[1]q]\n        skipFallback: true\n", mirror.URL)
			if knows {
				patch += "---\napiVersion: v1alpha1\nkind: ImageVerificationConfig\nrules:\n" +
					"  - image: registry.k8s.io/skipped/*\n    skip: true\n" +
					"  - image: registry.k8s.io/own/*\n    deny: true\n  - image: docker.io/*\n    deny: true\n" +
					"  - image: registry.k8s.io/*\n    publicKey:\n      certificate: |\n        " +
					strings.ReplaceAll(strings.TrimSpace(public), "\n", "\n        ") + "\n"
			}

			f := startWith(t, version, 40+network, patch)
			f.write(t, "mirrors.yaml", fmt.Appendf(nil, "mirrors: {m: {kind: plain, url: %q, serves: [registry.k8s.io, docker.io]}}\n"+
				"registries: {registry.k8s.io: {via: [m], fallback: never}, docker.io: {via: [m], fallback: never}}\nnodes: {n1: {address: %s}}\n", mirror.URL, f.nodes[0]))

			// Up to 1.13 a rule for docker.io fits nothing: Docker Hub is index.docker.io there.
			hub := ""
			if version >= "1.14" {
				hub = "V335"
			}

			for _, c := range []struct{ image, cause string }{
				{"registry.k8s.io/pause:1", "V332"},
				{"registry.k8s.io/own/app:1", "V335"},
				{"registry.k8s.io/skipped/app:1", ""},
				{"docker.io/own/app:1", hub},
			} {
				for len(asked) > 0 {
					<-asked
				}

				r := f.talmirror(t, nil, "why", c.image, "--node", "n1", "-o", "json")

				var why struct{ Cause *string }
				if err := json.Unmarshal(r.stdout, &why); err != nil {
					t.Fatalf("%s\n%v\n%s%s", r.command, err, r.stdout, r.stderr)
				}

				want := c.cause
				if !knows {
					want = ""
				}

				if got := why.Cause; (got == nil && want != "") || (got != nil && *got != want) {
					t.Errorf("%s: the cause is not %q\n%s%s", c.image, want, r.stdout, r.stderr)
				}

				// The rule's look-ups are the node's own: the tag of the signature is asked for at the mirror.
				digest, looked := strings.ReplaceAll(sum(image.manifest), ":", "-"), 0
				for len(asked) > 0 {
					if path := <-asked; strings.Contains(path, digest) {
						looked++
					}
				}

				if want == "V332" && looked == 0 {
					t.Errorf("%s: no signature was looked for", c.image)
				}
			}
		})
	}
}
