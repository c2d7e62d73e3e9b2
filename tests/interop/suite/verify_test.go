package suite

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// mirrored is an image as a tiny registry serves it, and the ways in which the registry is broken.
type mirrored struct {
	manifest, config, layer []byte
}

func sum(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func newMirrored() mirrored {
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	layer := []byte(strings.Repeat("layer", 1000))
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		sum(config), len(config), sum(layer), len(layer))

	return mirrored{[]byte(manifest), config, layer}
}

// serve answers as a registry that is well.
func (m mirrored) serve(w http.ResponseWriter, r *http.Request) {
	kind, body := "application/octet-stream", []byte(nil)

	switch name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]; {
	case r.URL.Path == "/v2/":
		kind, body = "application/json", []byte("{}")
	case strings.Contains(r.URL.Path, "/manifests/") && (name == "1" || name == sum(m.manifest)):
		kind, body = "application/vnd.oci.image.manifest.v1+json", m.manifest
		w.Header().Set("Docker-Content-Digest", sum(m.manifest))
	case strings.HasSuffix(r.URL.Path, "/blobs/"+sum(m.config)):
		body = m.config
	case strings.HasSuffix(r.URL.Path, "/blobs/"+sum(m.layer)):
		body = m.layer
	default:
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)

		return
	}

	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))

	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// ways are those in which a registry is well, or broken (what containerd makes of each is not written down here: it is asked).
func (m mirrored) ways() map[string]http.HandlerFunc {
	image := m
	manifests := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
	blobs := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }
	layer := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, sum(image.layer)) }
	status := func(of func(*http.Request) bool, code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !of(r) {
				image.serve(w, r)

				return
			}

			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}

			w.WriteHeader(code)
		}
	}

	return map[string]http.HandlerFunc{
		"well":    image.serve,
		"missing": status(manifests, 404),
		"no HEAD": func(w http.ResponseWriter, r *http.Request) {
			if manifests(r) && r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)

				return
			}

			image.serve(w, r)
		},
		"forbidden":    status(manifests, 403),
		"unauthorized": status(manifests, 401, "WWW-Authenticate", `Basic realm="x"`),
		"token server": status(manifests, 401, "WWW-Authenticate", `Bearer realm="`+nowhere+`/token",service="x"`),
		"fails":        status(manifests, 500),
		"bad gateway":  status(manifests, 502),
		"unavailable":  status(manifests, 503),
		"limited":      status(manifests, 429),
		"blob missing": status(layer, 404),
		"blob fails":   status(blobs, 500),
		"not modified": status(manifests, 304),
		"no location":  status(manifests, 300),
		"web page": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>a portal</html>"))
		},
		"get fails after head": func(w http.ResponseWriter, r *http.Request) {
			if manifests(r) && r.Method == http.MethodGet {
				w.WriteHeader(http.StatusInternalServerError)

				return
			}

			image.serve(w, r)
		},
		"no digest": func(w http.ResponseWriter, r *http.Request) {
			own := httptest.NewRecorder()
			image.serve(own, r)
			own.Header().Del("Docker-Content-Digest")

			for key, values := range own.Header() {
				w.Header()[key] = values
			}

			w.WriteHeader(own.Code)
			_, _ = w.Write(own.Body.Bytes())
		},
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			if blobs(r) && !strings.HasPrefix(r.URL.Path, "/store") {
				http.Redirect(w, r, "/store"+r.URL.Path, http.StatusTemporaryRedirect)

				return
			}

			image.serve(w, r)
		},
		"wrong manifest": func(w http.ResponseWriter, r *http.Request) {
			if manifests(r) && r.Method == http.MethodGet {
				other := image
				other.manifest = []byte(strings.Replace(string(image.manifest), "schemaVersion", "schemaversion", 1))
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				_, _ = w.Write(other.manifest)

				return
			}

			image.serve(w, r)
		},
	}
}

// TestVerify: what `verify` and `why` say of a mirror is what containerd makes of it.
func TestVerify(t *testing.T) {
	image := newMirrored()
	ways := image.ways()

	for _, version := range containerds {
		for name, mirror := range ways {
			check(t, version+"/"+name, func(t *testing.T) {
				hub := httptest.NewServer(mirror)
				t.Cleanup(hub.Close)
				sameVerdict(t, version, "cache", hub.URL, image)
			})
		}
	}
}

// sameVerdict wants `verify` and `why` to say of a mirror what containerd makes of it; behind the mirror comes a registry that is well.
func sameVerdict(t *testing.T, version, kind, mirror string, image mirrored) {
	t.Helper()

	upstream := httptest.NewServer(http.HandlerFunc(image.serve))
	t.Cleanup(upstream.Close)

	b := newBed(t)
	b.hosts(t, "reg.test", upstream.URL, via{url: mirror})
	p := b.containerd(t, version, "reg.test/a/b:1")

	past := false
	for _, r := range p.requests {
		past = past || strings.HasPrefix(r.URL, upstream.URL)
	}

	b.write(t, "mirrors.yaml", fmt.Appendf(nil, "apiVersion: talmirror/v1\nkind: Inventory\n"+
		"mirrors: {hub: {kind: %s, url: %q}}\n"+
		"registries: {reg.test: {via: [hub, upstream], upstream: {url: %q}}}\n"+
		"defaults: {fallback: never}\n", kind, mirror, upstream.URL))

	var why struct {
		Cause    *string
		Bypassed bool
	}

	if err := json.Unmarshal(b.talmirror(t, nil, "why", "reg.test/a/b:1", "-o", "json").stdout, &why); err != nil {
		t.Fatal(err)
	}

	var hops []struct {
		Via string
		OK  bool
	}

	if err := json.Unmarshal(b.talmirror(t, nil, "verify", "reg.test/a/b:1", "-o", "json").stdout, &hops); err != nil {
		t.Fatal(err)
	}

	// Whatever a mirror answers 200 with is stored for a manifest; that it is none shows when it is unpacked.
	pulled := p.code == 0 && p.resolved == sum(image.manifest)
	serves := pulled && !past
	if len(hops) == 0 || hops[0].Via != "hub" || hops[0].OK != serves || (why.Cause == nil) != serves {
		t.Errorf("containerd %s: the mirror serves: %v; verify: %+v; why: %+v\n%s\n%s", version, serves, hops, why, p.failed, p.story())
	}

	if !serves && why.Bypassed != pulled {
		t.Errorf("containerd %s ends with %d; why says that the mirror is passed by: %v\n%s\n%s", version, p.code, why.Bypassed, p.failed, p.story())
	}
}
