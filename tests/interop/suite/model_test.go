package suite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// registries is what Talos makes of a machine config, and what `talmirror explain` says it ought to be.
type registries struct {
	Mirrors    map[string]mirror    `json:"mirrors"`
	Auth       map[string]auth      `json:"auth"`
	TLS        map[string]tlsConfig `json:"tls"`
	Duplicates []string             `json:"duplicates,omitempty"`
}

type mirror struct {
	Endpoints    []endpoint `json:"endpoints"`
	SkipFallback bool       `json:"skipFallback"`
}

type endpoint struct {
	URL          string `json:"url"`
	OverridePath bool   `json:"overridePath"`
}

type auth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	Auth          string `json:"auth,omitempty"`
	IdentityToken string `json:"identityToken,omitempty"`
}

type tlsConfig struct {
	CA                 string          `json:"ca,omitempty"`
	ClientIdentity     *clientIdentity `json:"clientIdentity,omitempty"`
	InsecureSkipVerify bool            `json:"insecureSkipVerify,omitempty"`
}

type clientIdentity struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// prefix is what a request for this endpoint begins with. The legacy schema holds one overridePath per mirror, so two spellings of
// one prefix are the same.
func (e endpoint) prefix() string {
	u, err := url.Parse(e.URL)
	if err != nil {
		return "unparsable: " + e.URL
	}

	p := strings.TrimSuffix(path.Clean("/"+u.Path), "/")
	if !e.OverridePath && !strings.HasSuffix(p, "/v2") {
		p += "/v2"
	}

	return u.Scheme + "://" + u.Host + p
}

// lines is a canonical text of the model, one fact a line, so that a difference can be read.
func (r registries) lines() []byte {
	var out []string

	for name, m := range r.Mirrors {
		for i, e := range m.Endpoints {
			out = append(out, fmt.Sprintf("mirror %s endpoint %d: %s", name, i, e.prefix()))
		}

		out = append(out, fmt.Sprintf("mirror %s: %d endpoints, skipFallback %v", name, len(m.Endpoints), m.SkipFallback))
	}

	for host, a := range r.Auth {
		out = append(out, fmt.Sprintf("auth %s: %q %q %q %q", host, a.Username, a.Password, a.Auth, a.IdentityToken))
	}

	for host, c := range r.TLS {
		out = append(out, fmt.Sprintf("tls %s: ca %q, insecureSkipVerify %v", host, strings.TrimSpace(c.CA), c.InsecureSkipVerify))
		if id := c.ClientIdentity; id != nil {
			out = append(out, fmt.Sprintf("tls %s: cert %q key %q", host, strings.TrimSpace(id.Cert), strings.TrimSpace(id.Key)))
		}
	}

	slices.Sort(out)

	return []byte(strings.Join(out, "\n"))
}

// only keeps the names that the model knows: a patch that never saw the machine config leaves the others.
func (r registries) only(model registries) registries {
	keep(r.Mirrors, model.Mirrors)
	keep(r.Auth, model.Auth)
	keep(r.TLS, model.TLS)

	return r
}

func keep[V any](m, known map[string]V) {
	for name := range m {
		if _, ok := known[name]; !ok {
			delete(m, name)
		}
	}
}

// wants compares the model with what Talos reads.
func (r registries) wants(t *testing.T, what string, got registries) {
	t.Helper()

	if len(got.Duplicates) > 0 {
		t.Errorf("%s: containerd cannot read hosts.toml with an endpoint twice: %q", what, got.Duplicates)
	}

	if g, w := got.lines(), r.lines(); !bytes.Equal(g, w) {
		t.Errorf("%s: Talos reads other registries\n%s", what, diff(g, w))
	}
}

func parseRegistries(t *testing.T, data []byte) registries {
	t.Helper()

	var r registries
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatalf("%v: %s", err, data)
	}

	return r
}

// expected reads testdata/want, which says by hand what an inventory means: endpoints as prefixes, PEM by file name.
func expected(t *testing.T, b bed, data []byte) registries {
	t.Helper()

	var want struct {
		Mirrors map[string]struct {
			Endpoints []string
			Never     bool
		}
		Auth map[string]string
		TLS  map[string]map[string]string
	}

	if err := yaml.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}

	r := registries{Mirrors: map[string]mirror{}, Auth: map[string]auth{}, TLS: map[string]tlsConfig{}}

	for name, m := range want.Mirrors {
		out := mirror{SkipFallback: m.Never}
		for _, prefix := range m.Endpoints {
			out.Endpoints = append(out.Endpoints, endpoint{prefix, true})
		}

		r.Mirrors[name] = out
	}

	for host, pair := range want.Auth {
		if username, password, ok := strings.Cut(pair, ":"); ok {
			r.Auth[host] = auth{Username: username, Password: password}
		} else {
			r.Auth[host] = auth{IdentityToken: pair}
		}
	}

	for host, files := range want.TLS {
		out := tlsConfig{InsecureSkipVerify: files["insecureSkipVerify"] == "true"}
		if files["ca"] != "" {
			out.CA = string(b.read(t, files["ca"]))
		}

		if files["cert"] != "" {
			out.ClientIdentity = &clientIdentity{string(b.read(t, files["cert"])), string(b.read(t, files["key"]))}
		}

		r.TLS[host] = out
	}

	return r
}
