package suite

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

var versions = []string{"1.9.0", "1.11.6", "1.12.1", "1.12.7", "1.13.9", "1.14.1"}

// since says whether a version is that minor release or later.
func since(version, minor string) bool {
	of := func(v string) int {
		n, _ := strconv.Atoi(strings.Split(v, ".")[1]) //nolint:errcheck // ours

		return n
	}

	return of(version) >= of(minor)
}

// cell is one machine config that a version generates.
type cell struct{ version, role, shape string }

func (c cell) String() string { return c.version + "/" + c.role + "/" + c.shape }

func cells() (out []cell) {
	for _, version := range versions {
		for _, role := range []string{"controlplane", "worker"} {
			for _, shape := range []string{"single", "multi"} {
				out = append(out, cell{version, role, shape})
			}
		}
	}

	return out
}

// node is the inventories' node of the cell's role.
func (c cell) node() string { return map[string]string{"controlplane": "n1", "worker": "n2"}[c.role] }

// formats are those that can be applied to the cell.
func (c cell) formats() (out []string) {
	if c.shape == "single" {
		out = append(out, "json-patch")
	}

	if c.shape == "single" || since(c.version, "1.12") { // before 1.12, auto is a JSON patch
		out = append(out, "auto")
	}

	if since(c.version, "1.12") {
		out = append(out, "documents")
	}

	return append(out, "strategic")
}

// Registries that a config may have before talmirror comes; in legacy and as documents. 1.12.1 cannot read a TLS document that
// has no client certificate.
const (
	staleLegacy = `
machine:
  registries:
    mirrors:
      docker.io: {endpoints: [https://old.example]}
      stale.example: {endpoints: [https://old.example/v2/x], overridePath: true, skipFallback: true}
    config:
      harbor.example: {auth: {username: old, password: old}, tls: {insecureSkipVerify: true}}
      stale.example: {auth: {username: old, password: old}}
`
	staleDocuments = `
{apiVersion: v1alpha1, kind: RegistryMirrorConfig, name: docker.io, endpoints: [{url: https://old.example}]}
---
{apiVersion: v1alpha1, kind: RegistryMirrorConfig, name: stale.example, endpoints: [{url: https://old.example/x/v2, overridePath: true}]}
---
{apiVersion: v1alpha1, kind: RegistryAuthConfig, name: harbor.example, username: old, password: old}
---
{apiVersion: v1alpha1, kind: RegistryAuthConfig, name: stale.example, identityToken: old}
`
	staleTLS = `---
{apiVersion: v1alpha1, kind: RegistryTLSConfig, name: harbor.example, insecureSkipVerify: true}
`
	// secondDocument makes a config of Talos before 1.12 a multi-document one.
	secondDocument = "---\napiVersion: v1alpha1\nkind: KmsgLogConfig\nname: interop\nurl: tcp://10.0.0.9:5044\n"
)

// befores are the states in which a cell's config may be found.
func (c cell) befores() []string {
	switch {
	case !since(c.version, "1.12"):
		return []string{"fresh", "legacy"}
	case c.shape == "single":
		return []string{"fresh", "legacy"}
	}

	return []string{"fresh", "legacy", "documents", "both"}
}

var generated sync.Map // arguments → func() []byte: key pairs are slow to make

// config is a generated machine config in one of the states.
func (c cell) config(t *testing.T, b bed, before string, flags ...string) []byte {
	t.Helper()

	args := append([]string{"gen", "--type", c.role}, flags...)
	if c.shape == "single" {
		args = append(args, "--single")
	}

	oracle(t, "talos-oracle-"+c.version) // a test that is skipped inside OnceValue would leave it broken for the others

	made, _ := generated.LoadOrStore(c.version+strings.Join(args, " "), sync.OnceValue(func() []byte {
		return newBed(t).talos(t, c.version, args...).ok(t)
	}))

	config := made.(func() []byte)()
	if c.shape == "multi" && !since(c.version, "1.12") {
		config = append(slices.Clone(config), secondDocument...)
	}

	if before == "legacy" || before == "both" {
		config = c.apply(t, b, config, []byte(staleLegacy))
	}

	if before == "documents" || before == "both" {
		stale := staleDocuments
		if c.version != "1.12.1" {
			stale += staleTLS
		}

		config = c.apply(t, b, config, []byte(stale))
	}

	return config
}

// apply applies patches as talosctl does.
func (c cell) apply(t *testing.T, b bed, config []byte, patches ...[]byte) []byte {
	t.Helper()

	return c.tryApply(t, b, config, patches...).ok(t)
}

func (c cell) tryApply(t *testing.T, b bed, config []byte, patches ...[]byte) result {
	t.Helper()

	args := []string{"patch", "--config", b.write(t, "applied-to.yaml", config)}
	for i, patch := range patches {
		args = append(args, "--patch", b.write(t, "applied-"+strconv.Itoa(i)+".yaml", patch))
	}

	return b.talos(t, c.version, args...)
}

// reads is what Talos makes of a config, which has to be valid too.
func (c cell) reads(t *testing.T, b bed, config []byte) registries {
	t.Helper()

	file := b.write(t, "read.yaml", config)

	var verdict struct{ Errors []string }
	if err := json.Unmarshal(b.talos(t, c.version, "validate", "--config", file).ok(t), &verdict); err != nil || len(verdict.Errors) > 0 {
		t.Errorf("Talos %s finds the config invalid: %v %q", c.version, err, verdict.Errors)
	}

	return parseRegistries(t, b.talos(t, c.version, "registries", "--config", file).ok(t))
}

// inventories by name: cache for testdata/cache.yaml.
func inventories(t *testing.T) (out []string) {
	files, _ := filepath.Glob("../testdata/*.yaml") //nolint:errcheck // a good pattern
	if len(files) == 0 {
		t.Fatal("no inventories in testdata")
	}

	for _, f := range files {
		out = append(out, strings.TrimSuffix(filepath.Base(f), ".yaml"))
	}

	return out
}

var pems = sync.OnceValue(func() map[string][]byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}

	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "interop"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}

	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		panic(err)
	}

	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}

	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})

	return map[string][]byte{"ca.crt": crt, "client.crt": crt, "client.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
})

// inventory brings an inventory and the files it names into the test's directory.
func (b bed) inventory(t *testing.T, name string) string {
	t.Helper()

	for file, data := range pems() {
		b.write(t, file, data)
	}

	return b.write(t, "inventory.yaml", read(t, "../testdata/"+name+".yaml"))
}

// generate gives the patch of a cell's node, and what was said meanwhile.
func (b bed) generate(t *testing.T, c cell, inventory, format string, flags ...string) result {
	t.Helper()

	return b.talmirror(t, nil, append([]string{
		"generate", "-f", inventory, "--node", c.node(), "--talos-version", "v" + c.version, "--format", format,
	}, flags...)...)
}

func (b bed) model(t *testing.T, c cell, inventory string) registries {
	t.Helper()

	var explained struct{ Registries json.RawMessage }

	r := b.talmirror(t, nil, "explain", "--node", c.node(), "-f", inventory, "--talos-version", "v"+c.version, "--show-secrets", "-o", "json")
	if err := json.Unmarshal(r.ok(t), &explained); err != nil {
		t.Fatalf("%s: %v\n%s", r.command, err, r.stdout)
	}

	return parseRegistries(t, explained.Registries)
}

// TestTalosExplain compares the model with what was written down by hand.
func TestTalosExplain(t *testing.T) {
	for _, inv := range inventories(t) {
		for _, c := range cells() {
			if c.shape == "single" {
				check(t, inv+"/"+c.version+"/"+c.node(), func(t *testing.T) {
					b := newBed(t)
					file := b.inventory(t, inv)

					want, err := os.ReadFile("../testdata/want/" + inv + "." + c.node() + ".yaml")
					if err != nil {
						want = read(t, "../testdata/want/"+inv+".yaml")
					}

					expected(t, b, want).wants(t, "explain", b.model(t, c, file))
				})
			}
		}
	}
}

// TestTalosGenerate applies what `generate` prints.
func TestTalosGenerate(t *testing.T) {
	for _, inv := range inventories(t) {
		for _, c := range cells() {
			for _, format := range c.formats() {
				check(t, inv+"/"+c.String()+"/"+format, func(t *testing.T) {
					b := newBed(t)
					file := b.inventory(t, inv)
					model, r := b.model(t, c, file), b.generate(t, c, file, format)
					patch := r.ok(t)

					once := c.apply(t, b, c.config(t, b, "fresh"), patch)
					model.wants(t, "applied once", c.reads(t, b, once))

					if format == "documents" && !since(c.version, "1.14") {
						// A second application appends to every list of endpoints: it has to be said.
						if len(bytes.TrimSpace(r.stderr)) == 0 {
							t.Errorf("%s: no warning on stderr that a second application duplicates endpoints", r.command)
						}

						return
					}

					sameBytes(t, "applied twice", c.apply(t, b, once, patch), once)

					stale := c.reads(t, b, c.apply(t, b, c.config(t, b, "legacy"), patch))
					if _, isList := trees(t, patch)[0].([]any); !isList && bytes.Contains(patch, []byte("kind: Registry")) {
						stale = stale.only(model)
					}

					model.wants(t, "applied over legacy registries", stale)
				})
			}
		}
	}
}

// files gives what was written below a directory, in the order of the names.
func files(t *testing.T, dir string) (out [][]byte) {
	t.Helper()

	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".yaml" {
			out = append(out, read(t, path))
		}

		return err
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("no files: %v", err)
	}

	return out
}

// TestTalosOutputDir: as files in order, documents may be applied twice on 1.12 and 1.13 as well.
func TestTalosOutputDir(t *testing.T) {
	for _, inv := range inventories(t) {
		for _, c := range cells() {
			for _, before := range c.befores() {
				if !since(c.version, "1.12") {
					continue
				}

				check(t, inv+"/"+c.String()+"/"+before, func(t *testing.T) {
					b := newBed(t)
					file := b.inventory(t, inv)
					model := b.model(t, c, file)
					b.generate(t, c, file, "documents", "--output-dir", b.path("out")).ok(t)
					patches := files(t, b.path("out"))

					once := c.apply(t, b, c.config(t, b, before), patches...)
					model.wants(t, "applied once", c.reads(t, b, once).only(model))
					sameBytes(t, "applied twice", c.apply(t, b, once, patches...), once)
				})
			}
		}
	}
}

var nothing = regexp.MustCompile(`(?i)nothing|no change|unchanged|up to date|already`)

// TestTalosAgainst: made for one machine config, a patch brings exactly that one to the model, and is then not needed again.
func TestTalosAgainst(t *testing.T) {
	for _, inv := range inventories(t) {
		for _, c := range cells() {
			for _, format := range []string{"auto", "json-patch", "documents"} {
				if format != "auto" && !slices.Contains(c.formats(), format) {
					continue // auto sees the documents and has to choose what can be applied to them
				}

				for _, before := range c.befores() {
					check(t, inv+"/"+c.String()+"/"+format+"/"+before, func(t *testing.T) {
						b := newBed(t)
						file := b.inventory(t, inv)
						model, config := b.model(t, c, file), c.config(t, b, before)

						patch := b.generate(t, c, file, format, "--against", b.write(t, "machine.yaml", config)).ok(t)
						once := c.apply(t, b, config, patch)
						model.wants(t, "applied", c.reads(t, b, once))

						again := b.generate(t, c, file, format, "--against", b.write(t, "machine.yaml", once))
						rest := bytes.TrimSpace(again.ok(t))

						if !nothing.Match(again.stderr) {
							t.Errorf("%s: does not say that nothing is to change: %s%s", again.command, rest, again.stderr)
						}

						if len(rest) > 0 && string(rest) != "[]" {
							sameBytes(t, "a patch that ought to do nothing: "+string(rest), c.apply(t, b, once, rest), once)
						}
					})
				}
			}
		}
	}
}

// foreign gives a config's documents without what is about registries: every byte of them has to survive an edit.
func foreign(t *testing.T, config []byte) string {
	t.Helper()

	var out []string

	for _, doc := range strings.Split("\n"+string(config), "\n---\n") {
		if strings.Contains("\n"+doc, "\nkind: Registry") {
			continue
		}

		var root yaml.Node
		if err := yaml.Unmarshal([]byte(doc), &root); err != nil {
			t.Fatal(err)
		}

		if len(root.Content) > 0 {
			_, machine := entry(root.Content[0], "machine")
			if key, _ := entry(machine, "registries"); key != nil {
				doc = cut(doc, key)
			}
		}

		out = append(out, doc)
	}

	return strings.TrimRight(strings.Join(out, "\n---\n"), "\n")
}

// entry finds a key of a mapping, and its value.
func entry(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; mapping != nil && mapping.Kind == yaml.MappingNode && i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}

	return nil, nil
}

// cut removes a key with its block, but not blank lines behind it.
func cut(doc string, key *yaml.Node) string {
	lines := strings.Split(doc, "\n")
	end := key.Line

	for i := end; i < len(lines); i++ {
		text := strings.TrimLeft(lines[i], " ")
		if text == "" {
			continue
		}

		if len(lines[i])-len(text) < key.Column {
			break
		}

		end = i + 1
	}

	return strings.Join(slices.Delete(lines, key.Line-1, end), "\n")
}

// TestTalosMachineConfig: `machineconfig patch` edits the text of a config.
func TestTalosMachineConfig(t *testing.T) {
	for _, inv := range inventories(t) {
		for _, c := range cells() {
			for _, before := range append(c.befores(), "commented") {
				check(t, inv+"/"+c.String()+"/"+before, func(t *testing.T) {
					b := newBed(t)
					file := b.inventory(t, inv)
					model := b.model(t, c, file)

					config := c.config(t, b, before)
					if before == "commented" {
						config = c.config(t, b, "fresh", "--comments")
					}

					machine := b.write(t, "machine.yaml", config)
					args := []string{"machineconfig", "patch", machine, "-f", file, "--node", c.node(), "--talos-version", "v" + c.version}

					edited := b.talmirror(t, nil, args...).ok(t)
					model.wants(t, "edited", c.reads(t, b, edited))

					if got, want := foreign(t, edited), foreign(t, config); got != want {
						t.Errorf("bytes that are not about registries have changed\n%s", diff([]byte(got), []byte(want)))
					}

					sameBytes(t, "without --in-place, the file", b.read(t, "machine.yaml"), config)
					b.talmirror(t, nil, append(args, "--in-place")...).ok(t)
					sameBytes(t, "edited in place", b.read(t, "machine.yaml"), edited)
					sameBytes(t, "edited twice", b.talmirror(t, nil, args...).ok(t), edited)
				})
			}
		}
	}
}

// TestTalosTalosctl: the released talosctl takes each format.
func TestTalosTalosctl(t *testing.T) {
	c := cell{"1.13.9", "worker", "single"}

	for _, inv := range inventories(t) {
		for _, format := range c.formats() {
			check(t, inv+"/"+format, func(t *testing.T) {
				b := newBed(t)
				config := c.config(t, b, "fresh")
				patch := b.generate(t, c, b.inventory(t, inv), format).ok(t)

				out := b.run(t, nil, oracle(t, "talosctl-1.13.9"), "machineconfig", "patch",
					b.write(t, "machine.yaml", config), "--patch", "@"+b.write(t, "patch.yaml", patch))
				sameTrees(t, "talosctl", out.ok(t), c.apply(t, b, config, patch))
			})
		}
	}
}
