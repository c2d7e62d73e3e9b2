package suite

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// replaceLegacy writes a model as the strategic merge patch that replaces the legacy block, the form that every version takes twice.
func replaceLegacy(t *testing.T, r registries) []byte {
	t.Helper()

	mirrors, config := map[string]any{}, map[string]map[string]any{}

	for name, m := range r.Mirrors {
		urls := []string{}
		for _, e := range m.Endpoints {
			urls = append(urls, e.prefix())
		}

		mirrors[name] = map[string]any{"endpoints": urls, "overridePath": true, "skipFallback": m.SkipFallback}
	}

	of := func(host string) map[string]any {
		if config[host] == nil {
			config[host] = map[string]any{}
		}

		return config[host]
	}

	for host, a := range r.Auth {
		of(host)["auth"] = map[string]any{"username": a.Username, "password": a.Password}
	}

	for host, c := range r.TLS {
		encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

		tls := map[string]any{"ca": encode(c.CA)}
		if id := c.ClientIdentity; id != nil {
			tls["clientIdentity"] = map[string]any{"crt": encode(id.Cert), "key": encode(id.Key)}
		}

		of(host)["tls"] = tls
	}

	block, err := yaml.Marshal(map[string]any{"machine": map[string]any{"registries": map[string]any{"mirrors": mirrors, "config": config}}})
	if err != nil {
		t.Fatal(err)
	}

	return append([]byte("machine: {registries: {$patch: delete}}\n---\n"), block...)
}

// TestOracleReplace: with a patch made by hand, every check of the Talos tests holds on every version.
func TestOracleReplace(t *testing.T) {
	for _, inv := range []string{"mixed", "never", "credentials", "short"} {
		for _, c := range cells() {
			check(t, inv+"/"+c.String(), func(t *testing.T) {
				b := newBed(t)
				b.inventory(t, inv)
				model := expected(t, b, read(t, "../testdata/want/"+inv+".yaml"))
				patch := replaceLegacy(t, model)

				once := c.apply(t, b, c.config(t, b, "fresh"), patch)
				model.wants(t, "applied once", c.reads(t, b, once))
				sameBytes(t, "applied twice", c.apply(t, b, once, patch), once)
				model.wants(t, "over legacy", c.reads(t, b, c.apply(t, b, c.config(t, b, "legacy"), patch)))

				if got, want := foreign(t, once), foreign(t, c.apply(t, b, c.config(t, b, "fresh"), []byte("machine: {}\n"))); got != want {
					t.Errorf("foreign() sees a change that there is not\n%s", diff([]byte(got), []byte(want)))
				}

				if len(model.Mirrors) > 0 && fmt.Sprintf("%s", model.lines()) == fmt.Sprintf("%s", c.reads(t, b, c.config(t, b, "legacy")).lines()) {
					t.Error("a stale config compares equal to the model")
				}
			})
		}
	}
}

// TestOracleLimits: the mistakes that talmirror is there to avoid are mistakes to the references too.
func TestOracleLimits(t *testing.T) {
	const document = "apiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: docker.io\nendpoints: [{url: https://h}]\n"

	for _, c := range cells() {
		check(t, c.String(), func(t *testing.T) {
			b := newBed(t)
			config := c.config(t, b, "fresh")

			op := `[{"op": "add", "path": "/machine/registries", "value": {"mirrors": {"docker.io": {"endpoints": ["https://h"]}}}}]`
			if r := c.tryApply(t, b, config, []byte(op)); (r.code == 0) != (c.shape == "single") {
				t.Errorf("a JSON patch: exit code %d, %s", r.code, r.stderr)
			}

			once := c.tryApply(t, b, config, []byte(document))
			if !since(c.version, "1.12") {
				if once.code == 0 {
					t.Error("documents before 1.12 are accepted")
				}

				return
			}

			twice := c.apply(t, b, once.ok(t), []byte(document))
			if got := parseRegistries(t, b.talos(t, c.version, "registries", "--config", b.write(t, "twice.yaml", twice)).ok(t)); len(got.Duplicates) != 1 {
				t.Errorf("applied twice, endpoints: %v", got.Mirrors)
			}

			replace := strings.Replace(document, "endpoints", "$patch: delete\nendpoints", 1) + "---\n" + document
			if r := c.tryApply(t, b, config, []byte(replace)); (r.code == 0) != since(c.version, "1.14") {
				t.Errorf("deleting a document that is not there: exit code %d, %s", r.code, r.stderr)
			}
		})
	}
}

// TestOraclePrefix: path.Clean first, /v2 appended unless it is there or overridePath says otherwise.
func TestOraclePrefix(t *testing.T) {
	for e, want := range map[endpoint]string{
		{"https://h", false}: "https://h/v2", {"https://h/", false}: "https://h/v2", {"https://h/v2/", false}: "https://h/v2",
		{"https://h/v2/p", true}: "https://h/v2/p", {"https://h/v2/p/", true}: "https://h/v2/p", {"https://h/p", false}: "https://h/p/v2",
		{"https://h", true}: "https://h", {"http://10.0.0.1:5000/v2", true}: "http://10.0.0.1:5000/v2",
	} {
		if got := e.prefix(); got != want {
			t.Errorf("%v: expected %s, got %s", e, want, got)
		}
	}
}
