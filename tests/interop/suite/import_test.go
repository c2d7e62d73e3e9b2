package suite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// asked are the registries whose way is compared: those that a config may name, and some that none does.
var asked = []string{"docker.io", "ghcr.io", "quay.io", "h.lan:5000", "private.example", "other.example"}

// ways says what a node does with a pull: the prefixes that are tried in order, by registry, and what stands with hosts.
func (r registries) ways() []byte {
	var out []byte

	for _, name := range asked {
		m, ok := r.Mirrors[name]
		if !ok {
			m = r.Mirrors["*"]
		}

		var tried []string
		for _, e := range m.Endpoints {
			tried = append(tried, e.prefix())
		}

		if !m.SkipFallback {
			api := name
			if name == "docker.io" {
				api = "registry-1.docker.io"
			}

			tried = append(tried, "https://"+api+"/v2")
		}

		var once []string
		for _, prefix := range tried {
			if !slices.Contains(once, prefix) {
				once = append(once, prefix)
			}
		}

		out = fmt.Appendf(out, "%s: %v\n", name, once)
	}

	hosts := registries{Auth: r.Auth, TLS: r.TLS}

	return append(out, hosts.lines()...)
}

// randomRegistries makes the legacy block of a config.
func randomRegistries(r *rand.Rand) map[string]any {
	hosts := []string{"https://harbor.lan", "https://zot.lan:8443", "http://10.0.0.1:5000", "https://a.b.lan"}
	keys := []string{"harbor.lan", "zot.lan:8443", "a.b.lan", "registry-1.docker.io", "ghcr.io", "private.example"}
	mirrors, config := map[string]any{}, map[string]any{}

	for _, name := range append([]string{"*"}, asked[:4]...) {
		if r.Intn(2) == 0 {
			continue
		}

		path := name != "*" && r.Intn(2) == 0
		endpoints := []string{}

		for _, i := range r.Perm(len(hosts))[:1+r.Intn(2)] {
			url := hosts[i]
			if path {
				url += "/v2/" + name
			}

			endpoints = append(endpoints, url)
		}

		mirrors[name] = map[string]any{"endpoints": endpoints, "overridePath": path, "skipFallback": r.Intn(5) == 0}
	}

	for _, key := range keys {
		entry := map[string]any{}
		if r.Intn(3) == 0 {
			entry["auth"] = map[string]any{"username": "u", "password": "p-" + key}
		}

		if r.Intn(4) == 0 {
			entry["tls"] = map[string]any{"insecureSkipVerify": true}
		}

		if len(entry) > 0 {
			config[key] = entry
		}
	}

	return map[string]any{"mirrors": mirrors, "config": config}
}

// TestTalosImport: an import that loses nothing leaves what Talos itself reads from the config as it was, in the inventory and in
// the config that its patch gives.
func TestTalosImport(t *testing.T) {
	for _, version := range versions {
		check(t, version, func(t *testing.T) {
			random := rand.New(rand.NewSource(int64(len(version)) + int64(version[3]))) //nolint:gosec // to be repeated
			c := cell{version, "worker", "single"}

			for range 12 {
				b := newBed(t)
				fresh := c.config(t, b, "fresh")

				block, err := yaml.Marshal(map[string]any{"machine": map[string]any{"registries": randomRegistries(random)}})
				if err != nil {
					t.Fatal(err)
				}

				config := b.write(t, "config.yaml", c.apply(t, b, fresh, append([]byte("machine: {registries: {$patch: delete}}\n---\n"), block...)))
				before := c.reads(t, b, b.read(t, "config.yaml"))

				imported := b.talmirror(t, nil, "import", config)
				if imported.code == 3 && len(before.Mirrors)+len(before.Auth)+len(before.TLS) == 0 {
					continue
				}

				inventory := b.write(t, "mirrors.yaml", imported.ok(t))

				var explained struct {
					Registries registries `json:"registries"`
				}

				if err := json.Unmarshal(b.talmirror(t, nil, "explain", "-f", inventory, "--talos-version", "v"+version, "-o", "json", "--show-secrets").ok(t), &explained); err != nil {
					t.Fatal(err)
				}

				if got, want := explained.Registries.ways(), before.ways(); !bytes.Equal(got, want) {
					t.Errorf("the inventory means something else\n%s\n%s", diff(got, want), block)
				}

				patch := b.talmirror(t, nil, "generate", "-f", inventory, "--talos-version", "v"+version).ok(t)
				after := c.reads(t, b, c.apply(t, b, fresh, patch))

				if got, want := after.ways(), before.ways(); !bytes.Equal(got, want) {
					t.Errorf("Talos reads something else from the patch\n%s\n%s", diff(got, want), block)
				}
			}
		})
	}
}
