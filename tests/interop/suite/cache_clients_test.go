package suite

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// shapes are the ways in which configurations of the field name a registry to a cache.
var shapes = map[string]func(host, registry string) via{
	"ns":        func(host, _ string) via { return via{url: "http://" + host} },
	"prefix":    func(host, registry string) via { return via{url: "http://" + host + "/v2/" + registry, override: true} }, // as Talos
	"before":    func(host, registry string) via { return via{url: "http://" + host + "/" + registry} },                    // a path without override_path
	"forgotten": func(host, registry string) via { return via{url: "http://" + host + "/v2/" + registry} },
}

func TestCacheContainerd(t *testing.T) {
	u := seeded(t)

	for _, version := range containerds {
		for shape, host := range shapes {
			check(t, version+"/"+shape, func(t *testing.T) {
				hub, gitlab, port := u.front(t, "hub"), u.front(t, "open"), u.front(t, "open")
				c := startCache(t, "--upstream", "docker.io="+hub.url, "--private", "docker.io", "--upstream", "registry.gitlab.com="+gitlab.url,
					"--upstream", "registry.example:5000="+port.url)

				for _, registry := range []string{"docker.io", "registry.gitlab.com", "registry.example:5000"} {
					c.hosts(t, registry, nowhere, host(c.host, registry))
				}

				multi := u.image(t, "library/multi:1")
				for _, ref := range []string{"docker.io/library/multi:1", "docker.io/library/multi@" + multi.Digest, "docker.io/library/multi:1"} {
					c.containerd(t, version, ref).has(t, multi).from(t, c.host).named(t, shape, "docker.io")
				}

				// One request for each object, whoever comes, and the index came with its tag; the storage, which would refuse a
				// token, has seen none.
				for digest := range multi.Objects {
					if n := hub.served(t, digest); n != 1 && digest != multi.Digest || n > 1 {
						t.Errorf("%s was fetched %d times: %v", digest, n, hub.requests(t))
					}
				}

				if n := hub.served(t, multi.Digest) + hub.served(t, "/library/multi/manifests/1"); n != 1 {
					t.Errorf("the index was fetched %d times: %v", n, hub.requests(t))
				}

				for _, e := range hub.requests(t) {
					if e.AcceptEncoding != "identity" && !strings.Contains(e.URL, "/token") {
						t.Errorf("asks upstream for an encoding: %+v", e)
					}
				}

				c.containerd(t, version, "registry.gitlab.com/group/sub/team/deep:1").has(t, u.image(t, "group/sub/team/deep:1")).
					from(t, c.host).named(t, shape, "registry.gitlab.com")
				c.containerd(t, version, "registry.example:5000/library/single:latest").has(t, u.image(t, "library/single:latest")).
					from(t, c.host).named(t, shape, "registry.example:5000")

				// Its content store knows sha512 since 2.3.
				if since(version, "2.3") {
					for ref, strong := range u.Images {
						if strings.Contains(ref, "@sha512:") {
							c.containerd(t, version, "docker.io/"+ref).has(t, strong).from(t, c.host)
						}
					}
				}

				if since(version, "2.2") {
					referrers := host(c.host, "docker.io")
					referrers.capabilities = []string{"referrers"}
					c.hosts(t, "docker.io", nowhere, referrers)

					signed := u.image(t, "signed/app:1")
					got := c.containerd(t, version, "--referrers", "docker.io/signed/app@"+signed.Digest).has(t, signed).from(t, c.host)

					if !slices.Equal(sorted(got.referrers), sorted(signed.Referrers)) {
						t.Errorf("referrers: expected %v, got %v", signed.Referrers, got.referrers)
					}
				}

				signature := "signed/app:" + strings.Replace(u.image(t, "signed/app:1").Digest, ":", "-", 1) + ".sig"
				c.containerd(t, version, "docker.io/"+signature).has(t, u.image(t, signature)).from(t, c.host)
			})
		}
	}
}

// named wants the answers to say whose content they are, when only `ns` said it.
func (p pull) named(t *testing.T, shape, registry string) pull {
	t.Helper()

	for _, r := range p.requests {
		if got := r.Header.Get("OCI-Namespace"); shape == "ns" && got != registry {
			t.Errorf("%s %s: OCI-Namespace %q", r.Method, r.URL, got)
		}
	}

	return p
}

// TestCacheDefault: one directory for all registries, as a Talos mirror named `*` gives.
func TestCacheDefault(t *testing.T) {
	u := seeded(t)

	for _, version := range containerds {
		check(t, version, func(t *testing.T) {
			known := u.front(t, "open")
			c := startCache(t, "--upstream", "registry.k8s.io="+known.url)
			c.write(t, "hosts/_default/hosts.toml", fmt.Appendf(nil, "[host.%q]\ncapabilities = [\"pull\", \"resolve\"]\n", "http://"+c.host))

			single := u.image(t, "library/single:1")
			c.containerd(t, version, "registry.k8s.io/library/single:1").has(t, single).from(t, c.host)

			// Of a registry it does not know, containerd asks on its own account.
			direct := strings.TrimPrefix(u.front(t, "open").url, "http://")
			got := c.containerd(t, version, direct+"/library/single:1").has(t, single)

			for _, r := range got.requests {
				if strings.Contains(r.URL, c.host) && r.Status != http.StatusNotFound {
					t.Errorf("of an unknown registry: %s", got.story())
				}
			}
		})
	}
}

func TestCacheParallel(t *testing.T) {
	u := seeded(t)
	big := u.image(t, "library/big:1")

	for _, version := range containerds {
		check(t, version, func(t *testing.T) {
			hub := u.front(t, "hub")
			c := startCache(t, "--upstream", "docker.io="+hub.url, "--private", "docker.io")
			c.hosts(t, "docker.io", nowhere, via{url: "http://" + c.host + "/v2/docker.io", override: true})

			ranged := func() {
				p := c.containerd(t, version, "--chunk", "4194304", "--downloads", "4", "docker.io/library/big:1").has(t, big).from(t, c.host)
				chunks := 0

				for _, r := range p.requests {
					if !strings.Contains(r.URL, big.Layer) {
						continue
					}

					chunks++

					var from int64
					if n, err := fmt.Sscanf(r.Range, "bytes=%d-", &from); n != 1 || err != nil {
						t.Errorf("asked without a range: %s", r.URL)
					}

					want := fmt.Sprintf("bytes %d-%d/%d", from, big.Objects[big.Layer]-1, big.Objects[big.Layer])
					if got := r.Header.Get("Content-Range"); r.Status != http.StatusPartialContent || got != want {
						t.Errorf("%s: %d, expected %s, got %s", r.Range, r.Status, want, got)
					}
				}

				if chunks < 16 {
					t.Errorf("not in parallel: %s", p.story())
				}
			}

			var herd sync.WaitGroup
			for range 3 {
				herd.Go(ranged)
			}

			herd.Wait()
			ranged() // from the store

			layer := slices.DeleteFunc(hub.requests(t), func(e arrival) bool {
				return !strings.Contains(e.URL, big.Layer) || e.Method != "GET" || e.Status/100 != 2
			})
			if len(layer) != 1 || layer[0].Range != "" {
				t.Errorf("upstream served the layer so: %+v", layer)
			}
		})
	}
}

// refusing is an upstream that answers everything the same way.
func refusing(t *testing.T, status int, header ...string) string {
	t.Helper()

	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}

		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)

	return s.URL
}

// TestCacheFallback: what the cache cannot give, it refuses in a way that lets containerd go to the next host at once.
func TestCacheFallback(t *testing.T) {
	u := seeded(t)
	multi := u.image(t, "library/multi:1")

	for _, version := range containerds {
		for name, c := range map[string]struct {
			upstream func(t *testing.T) string
			status   int
		}{
			"unknown":      {func(t *testing.T) string { t.Helper(); return "other.example=" + u.front(t, "open").url }, 404},
			"missing":      {func(t *testing.T) string { t.Helper(); return "docker.io=" + refusing(t, 404) }, 404},
			"down":         {func(*testing.T) string { return "docker.io=" + nowhere }, 503},
			"broken":       {func(t *testing.T) string { t.Helper(); return "docker.io=" + refusing(t, 500) }, 503},
			"limited":      {func(t *testing.T) string { t.Helper(); return "docker.io=" + refusing(t, 429, "Retry-After", "60") }, 503},
			"denied":       {func(t *testing.T) string { t.Helper(); return "docker.io=" + refusing(t, 403) }, 403},
			"unauthorized": {func(t *testing.T) string { t.Helper(); return "docker.io=" + u.front(t, "basic").url }, 403},
		} {
			check(t, version+"/"+name, func(t *testing.T) {
				running := startCache(t, "--upstream", c.upstream(t))
				direct := u.front(t, "open")
				running.hosts(t, "docker.io", direct.url, via{url: "http://" + running.host + "/v2/docker.io", override: true})

				p := running.containerd(t, version, "docker.io/library/multi:1").has(t, multi)
				asked := map[string]int{}

				for _, r := range p.requests {
					if !strings.Contains(r.URL, running.host) {
						continue
					}

					asked[r.Method+" "+r.URL]++

					if r.Status != c.status || r.Header.Get("WWW-Authenticate") != "" {
						t.Errorf("%s %s: expected %d, got %d %v", r.Method, r.URL, c.status, r.Status, r.Header)
					}

					if c.status == 503 && name == "limited" && r.Header.Get("Retry-After") == "" {
						t.Errorf("%s does not say when to come again", r.URL)
					}
				}

				for what, n := range asked {
					if n > 1 {
						t.Errorf("asked %d times: %s", n, what)
					}
				}

				if len(asked) == 0 {
					t.Error("the cache was not asked")
				}
			})
		}
	}
}

// TestCacheRedirect: a registry at an address of one's own network may lead to others of it, and its token stays behind; where a cloud
// gives its machines secrets nothing is asked, wherever the registry is.
func TestCacheRedirect(t *testing.T) {
	u := seeded(t)
	multi := u.image(t, "library/multi:1")

	for _, version := range containerds {
		for kind, status := range map[string]int{"hub": http.StatusOK, "metadata": http.StatusServiceUnavailable} {
			check(t, version+"/"+kind, func(t *testing.T) {
				front := u.front(t, kind)
				c := startCache(t, "--upstream", "docker.io="+front.url)
				c.hosts(t, "docker.io", u.front(t, "open").url, via{url: "http://" + c.host + "/v2/docker.io", override: true})

				p := c.containerd(t, version, "docker.io/library/multi:1").has(t, multi)
				blobs := 0

				for _, r := range p.requests {
					if strings.Contains(r.URL, c.host) && strings.Contains(r.URL, "/blobs/") {
						blobs++

						if r.Status != status {
							t.Errorf("%s: expected %d, got %d", r.URL, status, r.Status)
						}
					}
				}

				if blobs == 0 {
					t.Errorf("no blob was asked for: %s", p.story())
				}

				// The storage refuses a request that has the registry's Authorization.
				if n := front.served(t, "signature="); kind == "hub" && n != blobs {
					t.Errorf("%d blobs, and the storage was asked %d times: %s", blobs, n, p.story())
				}
			})
		}
	}
}

// TestCacheOffline: what was pulled once is there when the upstream is not, tags too, and the answer says that it is old.
func TestCacheOffline(t *testing.T) {
	u := seeded(t)
	multi := u.image(t, "library/multi:1")

	for _, version := range containerds {
		check(t, version, func(t *testing.T) {
			between := httptest.NewServer(relay(t, u.front(t, "open").url, ""))
			t.Cleanup(between.Close)

			c := startCache(t, "--upstream", "docker.io="+between.URL, "--tag-ttl", "0s")
			c.hosts(t, "docker.io", nowhere, via{url: "http://" + c.host})
			c.containerd(t, version, "docker.io/library/multi:1").has(t, multi).from(t, c.host)
			between.Close()

			p := c.containerd(t, version, "docker.io/library/multi:1").has(t, multi).from(t, c.host)
			if got := p.requests[0].Header.Get("Warning"); !strings.HasPrefix(got, "299 - ") {
				t.Errorf("Warning: %q", got)
			}
		})
	}
}

// TestCacheWrongBytes: bytes that are not what the digest says reach nobody as a whole, and are not kept.
func TestCacheWrongBytes(t *testing.T) {
	u := seeded(t)
	big := u.image(t, "library/big:2")

	for _, version := range containerds {
		check(t, version, func(t *testing.T) {
			liar := httptest.NewServer(relay(t, u.front(t, "open").url, big.Layer))
			t.Cleanup(liar.Close)

			c := startCache(t, "--upstream", "docker.io="+liar.URL)
			c.hosts(t, "docker.io", nowhere, via{url: "http://" + c.host})

			p := c.containerd(t, version, "docker.io/library/big:2")
			if p.code == 0 || strings.Contains(p.failed, "unexpected commit digest") {
				t.Fatalf("wrong bytes were handed out: %s", p.failed)
			}

			if r := c.crane(t, "layer", c.host+"/docker.io/library/big@"+big.Layer); r.code == 0 || strings.Contains(string(r.stderr), "error verifying") {
				t.Errorf("wrong bytes were handed out: %s", r.stderr)
			}
		})
	}
}

// relay passes everything on to a target, and of paths that end so it changes a byte.
func relay(t *testing.T, target, wrong string) *httputil.ReverseProxy {
	t.Helper()

	base, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}

	proxy := httputil.NewSingleHostReverseProxy(base)
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ModifyResponse = func(r *http.Response) error {
		if wrong != "" && strings.HasSuffix(r.Request.URL.Path, wrong) {
			r.Body = &flipped{r.Body, 5 << 20}
		}

		return nil
	}

	return proxy
}

// flipped is a body with one byte that is not what it was.
type flipped struct {
	io.ReadCloser
	at int
}

func (f *flipped) Read(b []byte) (int, error) {
	n, err := f.ReadCloser.Read(b)
	if f.at >= 0 && f.at < n {
		b[f.at] ^= 1
	}

	f.at -= n

	return n, err
}

func TestCacheCrane(t *testing.T) {
	u := seeded(t)

	for _, kind := range []string{"open", "hub", "private", "basic"} {
		check(t, kind, func(t *testing.T) {
			f, direct := u.front(t, kind), strings.TrimPrefix(u.front(t, "open").url, "http://")
			flags := []string{"--upstream", "registry.example=" + f.url, "--private", "registry.example"}

			if kind == "private" || kind == "basic" {
				flags = append(flags, "--credentials", "registry.example="+u.credentials(t, f), "--anonymous", "registry.example")
			}

			c := startCache(t, flags...)
			at := c.host + "/registry.example/"

			for _, ref := range slices.Sorted(maps.Keys(u.Images)) {
				if strings.Contains(ref, "sha512") {
					continue // go-containerregistry has none
				}

				commands := []string{"head", "digest", "manifest", "validate"}
				if !strings.Contains(ref, "multi") && !strings.Contains(ref, "big") {
					commands = append(commands, "pull")
				}

				for _, command := range commands {
					cold, warm, want := c.crane(t, command, at+ref).ok(t), c.crane(t, command, at+ref).ok(t), c.crane(t, command, direct+"/"+ref).ok(t)
					sameBytes(t, command+" "+ref, cold, want)
					sameBytes(t, command+" again "+ref, warm, want)
				}
			}

			multi := u.image(t, "library/multi:1")
			if got := c.crane(t, "validate", at+"library/multi@"+multi.Digest).words(t); !slices.Equal(got, []string{multi.Digest}) {
				t.Errorf("validate: %v", got)
			}

			sameBytes(t, "tags", c.crane(t, "ls", at+"signed/app").ok(t), c.crane(t, "ls", direct+"/signed/app").ok(t))

			signed := u.image(t, "signed/app:1")
			if got := c.crane(t, "referrers", at+"signed/app@"+signed.Digest).words(t); !slices.Equal(sorted(got), sorted(signed.Referrers)) {
				t.Errorf("referrers: expected %v, got %v", signed.Referrers, got)
			}

			for _, missing := range []string{"library/single:2", "library/none:1", "library/single@" + multi.Layer} {
				if r := c.crane(t, "head", at+missing); r.code == 0 || !strings.Contains(string(r.stderr), "404") {
					t.Errorf("%s: %s", missing, r.stderr)
				}
			}

			// Nothing was fetched twice.
			fetched := map[string]int{}
			for _, e := range f.requests(t) {
				if e.Method == "GET" && e.Status == http.StatusOK && strings.Contains(e.URL, "sha256:") && !strings.Contains(e.URL, "referrers") {
					fetched[e.URL]++
				}
			}

			for what, n := range fetched {
				if n > 1 {
					t.Errorf("fetched %d times: %s", n, what)
				}
			}
		})
	}
}

// credentials writes a dockerconfigjson for an address of the upstream.
func (u *upstreams) credentials(t *testing.T, f front) string {
	t.Helper()

	host := strings.TrimPrefix(f.url, "http://")

	return newBed(t).write(t, "config.json", fmt.Appendf(nil, `{"auths":{%q:{"username":%q,"password":%q},"registry.example":{"username":%q,"password":%q}}}`,
		host, u.User, u.Password, u.User, u.Password))
}
