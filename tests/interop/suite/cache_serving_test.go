package suite

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// command runs another command of talmirror-cache.
func (b bed) command(t *testing.T, args ...string) result {
	t.Helper()

	return b.run(t, nil, need(t, os.Getenv("TALMIRROR_CACHE"), "talmirror-cache (TALMIRROR_CACHE)"), args...)
}

// certificate makes one for 127.0.0.1 that is its own authority: files `tls.crt` and `tls.key`.
func (b bed) certificate(t *testing.T) (cert, key string) {
	t.Helper()

	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cache"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}

	signed, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}

	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}

	return b.write(t, "tls.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})),
		b.write(t, "tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// TestCacheMirrorConfig: what `mirror-config` prints for containerd makes containerd go through the cache; over TLS too.
func TestCacheMirrorConfig(t *testing.T) {
	u := seeded(t)

	for _, version := range containerds {
		for _, fallback := range []string{"upstream", "never"} {
			for _, scheme := range []string{"http", "https"} {
				check(t, version+"/"+fallback+"/"+scheme, func(t *testing.T) {
					names := []string{"docker.io", "registry.example:5000"}
					upstreams := []string{}

					for _, name := range names {
						upstreams = append(upstreams, "--upstream", name+"="+u.front(t, "open").url)
					}

					serving, printing := slices.Clone(upstreams), slices.Clone(upstreams)

					if scheme == "https" {
						cert, key := newBed(t).certificate(t)
						serving = append(serving, "--tls-cert", cert, "--tls-key", key)
						printing = append(printing, "--ca", cert)
					}

					c := startCache(t, serving...)
					c.install(t, append(printing, "--url", scheme+"://"+c.host, "--fallback", fallback)...)

					for _, name := range names {
						c.containerd(t, version, name+"/library/multi:1").has(t, u.image(t, "library/multi:1")).from(t, c.host)
					}

					if fallback == "never" {
						missing := c.containerd(t, version, "registry.example:5000/library/none:1")
						if missing.code == 0 || slices.ContainsFunc(missing.requests, func(r request) bool { return !strings.Contains(r.URL, c.host) }) {
							t.Errorf("what is not there: %s %s", missing.failed, missing.story())
						}
					}
				})
			}
		}
	}
}

// install writes the files that mirror-config prints into the hosts directory.
func (c cache) install(t *testing.T, flags ...string) {
	t.Helper()

	var printed struct {
		Containerd []struct{ Path, Text string }
	}

	if err := json.Unmarshal(c.command(t, append([]string{"mirror-config", "containerd", "--output", "json"}, flags...)...).ok(t), &printed); err != nil {
		t.Fatal(err)
	}

	for _, file := range printed.Containerd {
		name, ok := strings.CutPrefix(file.Path, "/etc/containerd/certs.d/")
		if !ok {
			t.Errorf("path: %s", file.Path)
		}

		c.write(t, "hosts/"+name, []byte(file.Text))
	}
}

// TestCacheHTTP2: who speaks HTTP/2 gets it over TLS.
func TestCacheHTTP2(t *testing.T) {
	u := seeded(t)
	big := u.image(t, "library/big:1")

	check(t, "blob", func(t *testing.T) {
		b := newBed(t)
		cert, key := b.certificate(t)
		c := startCache(t, "--upstream", "docker.io="+u.front(t, "hub").url, "--private", "docker.io", "--tls-cert", cert, "--tls-key", key)

		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(read(t, cert))

		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
		defer client.CloseIdleConnections()

		for _, what := range []string{"cold", "warm"} {
			response, err := client.Get("https://" + c.host + "/v2/docker.io/library/big/blobs/" + big.Layer)
			if err != nil {
				t.Fatal(err)
			}

			hash := sha256.New()
			n, err := io.Copy(hash, response.Body)
			response.Body.Close()

			if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); err != nil || response.ProtoMajor != 2 || got != big.Layer {
				t.Errorf("%s: %s, %d bytes, %s, %v", what, response.Proto, n, got, err)
			}
		}

		got := c.with("SSL_CERT_FILE="+cert).crane(t, "validate", c.host+"/docker.io/library/multi:1").words(t)
		if want := u.image(t, "library/multi:1").Digest; !slices.Equal(got, []string{want}) {
			t.Errorf("crane over TLS: %v", got)
		}
	})
}

// TestCachePrivate: what the cache reads with credentials of its own is for whom it knows, unless its operator says otherwise.
func TestCachePrivate(t *testing.T) {
	u := seeded(t)
	single := u.image(t, "library/single:1")

	for _, kind := range []string{"private", "basic"} {
		check(t, kind, func(t *testing.T) {
			f := u.front(t, kind)
			b := newBed(t)

			hash, err := bcrypt.GenerateFromPassword([]byte("s3cr3t-user"), bcrypt.MinCost)
			if err != nil {
				t.Fatal(err)
			}

			c := startCache(t, "--upstream", "registry.example="+f.url, "--upstream", "docker.io="+u.front(t, "open").url,
				"--credentials", "registry.example="+u.credentials(t, f), "--htpasswd", b.write(t, "htpasswd", append([]byte("someone:"), hash...)))

			asks := []string{"head library/single:1", "manifest library/single@" + single.Digest, "layer library/single@" + single.Layer}
			refused := func(when string) {
				for _, what := range asks {
					command, ref, _ := strings.Cut(what, " ")
					if r := c.crane(t, command, c.host+"/registry.example/"+ref); r.code == 0 {
						t.Errorf("%s, %s: anybody may", when, what)
					}
				}
			}

			refused("cold")

			auth := base64.StdEncoding.EncodeToString([]byte("someone:s3cr3t-user"))
			known := newBed(t)
			known.write(t, "home/.docker/config.json", fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, c.host, auth))

			for _, what := range asks {
				command, ref, _ := strings.Cut(what, " ")
				known.crane(t, command, c.host+"/registry.example/"+ref).ok(t)
			}

			refused("warm")

			// containerd, which has no credentials for the cache, goes on to the registry; what is public it gets.
			c.hosts(t, "registry.example", u.front(t, "open").url, via{url: "http://" + c.host + "/v2/registry.example", override: true})
			c.hosts(t, "docker.io", nowhere, via{url: "http://" + c.host + "/v2/docker.io", override: true})

			for _, version := range containerds {
				p := c.containerd(t, version, "registry.example/library/single:1").has(t, single)
				if slices.ContainsFunc(p.requests, func(r request) bool { return strings.Contains(r.URL, c.host) && r.Status < 400 }) {
					t.Errorf("anybody may: %s", p.story())
				}

				c.containerd(t, version, "docker.io/library/single:1").has(t, single).from(t, c.host)
			}
		})
	}
}

// TestCacheChained: a cache is an upstream.
func TestCacheChained(t *testing.T) {
	u := seeded(t)

	for _, version := range containerds {
		check(t, version, func(t *testing.T) {
			f := u.front(t, "hub")
			far := startCache(t, "--upstream", "docker.io="+f.url, "--private", "docker.io")
			near := startCache(t, "--upstream", "docker.io=http://"+far.host)
			near.hosts(t, "docker.io", nowhere, via{url: "http://" + near.host + "/v2/docker.io", override: true})

			want := u.image(t, "library/big:2")
			near.containerd(t, version, "--chunk", "4194304", "docker.io/library/big:2").has(t, want).from(t, near.host)

			if n := f.served(t, want.Layer); n != 1 {
				t.Errorf("fetched %d times: %v", n, f.requests(t))
			}

			for _, ref := range []string{"library/multi:1", "library/single:latest"} {
				near.containerd(t, version, "docker.io/"+ref).has(t, u.image(t, ref)).from(t, near.host)
			}
		})
	}
}
