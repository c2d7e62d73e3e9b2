package suite

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// verdict is what the OCI conformance program says.
type verdict struct {
	result
	counts map[string]int    // pass, fail, … of all tests
	apis   map[string]string // by the name of an API
	failed map[string]bool   // names of tests that did not pass, or could not be made
}

// conformance runs the OCI conformance program against a host. Without what may be written there, it panics once it has said all.
func (b bed) conformance(t *testing.T, host string, env ...string) (v verdict) {
	t.Helper()

	v.result = b.with(append([]string{"OCI_REGISTRY=" + host, "OCI_TLS=disabled", "OCI_API_BLOBS_DELETE=false",
		"OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false"}, env...)...).run(t, nil, oracle(t, "oci-conformance"))
	v.counts, v.apis, v.failed = map[string]int{}, map[string]string{}, map[string]bool{}

	section := ""
	for line := range strings.Lines(string(v.stdout)) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(line, " ") {
			section = name
		} else if strings.HasPrefix(line, "OCI Conformance Result") {
			section = "counts"
		}

		name, value, ok := strings.Cut(strings.TrimSpace(line), "..:")
		if !ok {
			continue
		}

		name, value = strings.TrimRight(name, "."), strings.TrimSpace(value)
		if n, err := strconv.Atoi(value); err == nil {
			v.counts[name] = n
		} else if section == "API conformance" {
			v.apis[name] = value
		}
	}

	for _, found := range regexp.MustCompile(`(?m)^ *(OCI Conformance Test/.*): (FAIL|Error|Skip)$`).FindAllSubmatch(v.stdout, -1) {
		v.failed[string(found[1])] = true
	}

	if v.counts["Total"] == 0 {
		t.Fatalf("%s says nothing\n%s\n%s", v.command, v.stdout, v.stderr)
	}

	return v
}

func (v verdict) figures() string {
	return fmt.Sprintf("%d passed, %d failed, %d not supported", v.counts["Pass"], v.counts["FAIL"]+v.counts["Error"], v.counts["Skip"])
}

// pulls are the APIs of the specification's category Pull, of content discovery, and the first one.
var pulls = []string{
	"Ping", "Blob get", "Blob head", "Manifest get by digest", "Manifest get by tag", "Manifest head by digest", "Manifest head by tag",
	"Tag listing", "Referrers",
}

// TestCacheConformance: the program in its mode for registries that cannot be written to. It does not know the content, hence the other test.
func TestCacheConformance(t *testing.T) {
	u := seeded(t)

	for _, version := range []string{"1.1", "dev"} {
		for _, kind := range []string{"open", "hub"} {
			check(t, version+"/"+kind, func(t *testing.T) {
				c := startCache(t, "--upstream", "docker.io="+u.front(t, kind).url, "--private", "docker.io")
				env := append(u.readOnly(t), "OCI_VERSION="+version, "OCI_REPO1=docker.io/conformance/pull")

				for _, what := range []string{"cold", "warm"} {
					v := c.conformance(t, c.host, env...)
					figures.add("OCI conformance %s, read only, %s %s: %s", version, kind, what, v.figures())

					if v.counts["FAIL"]+v.counts["Error"]+v.counts["Skip"] > 0 || v.counts["Pass"] < 50 {
						t.Errorf("%s: %v\n%s", what, v.counts, v.stdout)
					}

					for _, api := range pulls {
						if v.apis[api] != "Pass" {
							t.Errorf("%s: %s: %s", what, api, v.apis[api])
						}
					}
				}
			})
		}
	}
}

// readOnly tells the program what there is to read.
func (u *upstreams) readOnly(t *testing.T) []string {
	t.Helper()

	const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

	tags, manifests, blobs := map[string]bool{}, map[string]bool{}, map[string]bool{empty: true}

	for ref, i := range u.Images {
		tag, ours := strings.CutPrefix(ref, "conformance/pull:")
		if !ours {
			continue
		}

		tags[tag], manifests[i.Digest] = true, true

		for digest := range i.Objects {
			blobs[digest] = true
		}

		for _, child := range i.Manifests {
			manifests[child] = true
		}
	}

	maps.DeleteFunc(blobs, func(digest string, _ bool) bool { return manifests[digest] })
	all := func(set map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(set)), " ") }

	return []string{
		"OCI_API_PUSH=false", "OCI_RO_DATA_TAGS=" + all(tags), "OCI_RO_DATA_MANIFESTS=" + all(manifests),
		"OCI_RO_DATA_BLOBS=" + all(blobs), "OCI_RO_DATA_REFERRERS=" + all(manifests),
		// It asks for the header, and does not look at the answer when it does not know the content.
		"OCI_API_MANIFESTS_DIGEST_HEADER=false",
	}
}

// TestCacheConformanceWhole: the whole program, which writes to the upstream and reads through the cache, and knows each byte. Whatever
// passes without the cache passes with it.
func TestCacheConformanceWhole(t *testing.T) {
	u := seeded(t)

	for _, version := range []string{"1.1", "dev"} {
		check(t, version, func(t *testing.T) {
			b := newBed(t)
			want := b.conformance(t, strings.TrimPrefix(u.front(t, "open").url, "http://"),
				"OCI_VERSION="+version, "OCI_REPO1=whole/direct"+version, "OCI_REPO2=whole/direct-other"+version)

			open := u.front(t, "open")
			c := startCache(t, "--upstream", "docker.io="+open.url, "--tag-ttl", "0s")
			front := httptest.NewServer(split(t, open.url, "http://"+c.host))
			t.Cleanup(front.Close)

			got := c.conformance(t, strings.TrimPrefix(front.URL, "http://"),
				"OCI_VERSION="+version, "OCI_REPO1=docker.io/whole/cached"+version, "OCI_REPO2=docker.io/whole/cached-other"+version)
			figures.add("OCI conformance %s, written behind the cache: %s; without the cache: %s", version, got.figures(), want.figures())

			for name := range got.failed {
				if !want.failed[name] {
					t.Errorf("fails through the cache alone: %s", name)
				}
			}

			// The upstream says the sha256 of a tag that was pushed by its sha512, which is what `dev` has besides.
			for _, api := range append([]string{"Blob get range"}, pulls...) {
				if got.apis[api] != "Pass" && (version == "1.1" || !strings.HasSuffix(api, "by tag")) {
					t.Errorf("%s: %s", api, got.apis[api])
				}
			}

			if t.Failed() {
				t.Logf("%s", got.stdout)
			}
		})
	}
}

// split sends what writes, and uploads, to the upstream, and what reads to the cache.
func split(t *testing.T, upstream, cache string) http.Handler {
	t.Helper()

	to := func(target string, rewrite func(string) string) *httputil.ReverseProxy {
		base, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}

		return &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(base)
				r.Out.URL.Path = rewrite(r.Out.URL.Path)
				r.Out.URL.RawQuery = r.In.URL.RawQuery
			},
			ModifyResponse: func(r *http.Response) error {
				if location, ok := strings.CutPrefix(r.Header.Get("Location"), "/v2/whole/"); ok {
					r.Header.Set("Location", "/v2/docker.io/whole/"+location)
				}

				return nil
			},
		}
	}

	write := to(upstream, func(path string) string { return strings.Replace(path, "/v2/docker.io/", "/v2/", 1) })
	read := to(cache, func(path string) string { return path })

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && !strings.Contains(r.URL.Path, "/uploads/") || r.Method == http.MethodHead {
			read.ServeHTTP(w, r)
		} else {
			write.ServeHTTP(w, r)
		}
	})
}
