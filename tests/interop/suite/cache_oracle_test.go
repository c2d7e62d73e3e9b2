package suite

import (
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// TestOraclePulls: without a cache, the clients get from the upstream what the other tests expect of the cache.
func TestOraclePulls(t *testing.T) {
	u := seeded(t)

	for _, version := range containerds {
		check(t, version, func(t *testing.T) {
			b, f := newBed(t), u.front(t, "open")
			b.hosts(t, "docker.io", f.url)

			host := strings.TrimPrefix(f.url, "http://")
			multi := u.image(t, "library/multi:1")
			b.containerd(t, version, "docker.io/library/multi:1").has(t, multi).from(t, host)

			if n := f.served(t, multi.Layer); n != 1 {
				t.Errorf("the journal has %d requests for a layer: %v", n, f.requests(t))
			}

			if p := b.containerd(t, version, "--chunk", "4194304", "docker.io/library/big:1").has(t, u.image(t, "library/big:1")); len(p.requests) < 16 {
				t.Errorf("not in parallel: %s", p.story())
			}

			for ref := range u.Images {
				if p := b.containerd(t, version, "docker.io/"+ref); strings.Contains(ref, "@sha512:") && (p.code == 0) != since(version, "2.3") {
					t.Errorf("sha512: exit code %d, %s", p.code, p.failed)
				}
			}

			if p := b.containerd(t, version, "docker.io/library/none:1"); p.code == 0 || !strings.Contains(p.failed, "not found") {
				t.Errorf("what is not there: %s", p.failed)
			}
		})
	}
}

// TestOracleMirrors: what a mirror must not do, because it costs time or the pull.
func TestOracleMirrors(t *testing.T) {
	u := seeded(t)
	big := u.image(t, "library/big:2")

	for _, version := range containerds {
		check(t, version, func(t *testing.T) {
			b, direct := newBed(t), u.front(t, "open")

			asked := func(mirror string) (n int) {
				b.hosts(t, "docker.io", direct.url, via{url: mirror})

				for _, r := range b.containerd(t, version, "docker.io/library/single:1").has(t, u.image(t, "library/single:1")).requests {
					if strings.HasPrefix(r.URL, mirror) && r.Method == "HEAD" {
						n++
					}
				}

				return n
			}

			if n := asked(refusing(t, 503)); n != 1 {
				t.Errorf("503: asked %d times", n)
			}

			if n := asked(refusing(t, 429)); n < 5 {
				t.Errorf("429: asked %d times", n)
			}

			// Wrong bytes that come whole are a pull that fails, whatever host is next.
			liar := httptest.NewServer(relay(t, direct.url, big.Layer))
			t.Cleanup(liar.Close)
			b.hosts(t, "docker.io", direct.url, via{url: liar.URL})

			if p := b.containerd(t, version, "docker.io/library/big:2"); !strings.Contains(p.failed, "unexpected commit digest") {
				t.Errorf("wrong bytes: exit code %d, %s", p.code, p.failed)
			}

			r := b.crane(t, "layer", strings.TrimPrefix(liar.URL, "http://")+"/library/big@"+big.Layer)
			if r.code == 0 || !strings.Contains(string(r.stderr), "error verifying") {
				t.Errorf("wrong bytes: %s", r.stderr)
			}
		})
	}
}

func TestOracleCrane(t *testing.T) {
	u := seeded(t)

	for _, kind := range []string{"open", "hub"} {
		check(t, kind, func(t *testing.T) {
			b, host := newBed(t), strings.TrimPrefix(u.front(t, kind).url, "http://")

			for _, ref := range slices.Sorted(maps.Keys(u.Images)) {
				if !strings.Contains(ref, "@sha512:") {
					if got := b.crane(t, "validate", host+"/"+ref).words(t); !slices.Equal(got, []string{u.Images[ref].Digest}) {
						t.Errorf("%s: %v", ref, got)
					}
				}
			}
		})
	}
}

// TestOracleConformance: the upstream serves all that the program asks of a registry that cannot be written to.
func TestOracleConformance(t *testing.T) {
	u := seeded(t)

	for _, version := range []string{"1.1", "dev"} {
		check(t, version, func(t *testing.T) {
			host := strings.TrimPrefix(u.front(t, "open").url, "http://")

			v := newBed(t).conformance(t, host, append(u.readOnly(t), "OCI_VERSION="+version, "OCI_REPO1=conformance/pull")...)
			if v.counts["FAIL"]+v.counts["Error"]+v.counts["Skip"] > 0 || v.counts["Pass"] < 50 {
				t.Errorf("%v\n%s", v.counts, v.stdout)
			}
		})
	}
}
