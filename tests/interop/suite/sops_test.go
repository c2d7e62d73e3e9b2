package suite

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"
	"go.yaml.in/yaml/v3"
)

var sopses = []string{"3.9.4", "3.13.3"}

const newest = "3.13.3"

const (
	secretKeys = "^(password|identityToken|key)$"

	// Everything that the rules below select or leave: comments above, behind and in a list, every quoting style, an ambiguous string,
	// keys with a colon, suffixes, empty and typed values.
	plainLegacy = `# above all
machine:
  # above registries
  registries:
    mirrors:
      docker.io:
        endpoints:
          - https://harbor.example/v2/docker.io # behind
          # in a list
          - https://mirror.gcr.io
        overridePath: true
      ghcr.io:
        endpoints: [https://harbor.example/v2/ghcr.io]
        skipFallback: false
    config:
      harbor.example:5000:
        auth:
          username: robot$proxy
          password: s3cret-one
      registry-1.docker.io:
        auth: {username: hub, password: "007"}
        tls:
          clientIdentity:
            crt: Q0VSVA==
            key: |
              two
              lines
  sysctls:
    first: "65535"
    second: 4096
  note_enc: 'it''s a suffix'
  note_clear: "tab\there"
  empty: ""
  nothing: null
  ratio: 1.5
  none: {}
`
	plainDocuments = `apiVersion: v1alpha1
kind: RegistryMirrorConfig
name: docker.io
endpoints:
  - url: https://harbor.example/v2/docker.io
    overridePath: true
note_enc: a
---
apiVersion: v1alpha1
kind: RegistryAuthConfig
name: harbor.example
username: robot$proxy # behind
password: s3cret-one
---
apiVersion: v1alpha1
kind: RegistryAuthConfig
name: ghcr.io
username: gh
password: s3cret-two
note_clear: b
`
)

// identity makes a key and gives its file and its recipient.
func (b bed) identity(t *testing.T, name string) (file, recipient string) {
	t.Helper()

	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}

	return b.write(t, name+".txt", []byte("# throwaway\n"+key.String()+"\n")), key.Recipient().String()
}

// keyed is a bed with one identity in its environment.
func keyed(t *testing.T) (b bed, recipient string) {
	t.Helper()

	b = newBed(t)
	file, recipient := b.identity(t, "keys")

	return b.with("SOPS_AGE_KEY_FILE=" + file), recipient
}

// everySOPS wants each release to decrypt a file to a tree, and to call it encrypted.
func (b bed) everySOPS(t *testing.T, file string, want []byte) {
	t.Helper()

	for _, v := range sopses {
		sameTrees(t, "sops "+v, b.sops(t, v, "decrypt", file).ok(t), want)

		if status := b.sops(t, v, "filestatus", file).ok(t); !bytes.Contains(status, []byte(`"encrypted":true`)) {
			t.Errorf("sops %s filestatus: %s", v, status)
		}
	}
}

var bookkeeping = regexp.MustCompile(`^\s+(lastmodified|mac|version): `)

// onlyChanged wants two versions of a file to differ in lines with these keys, and in what every rewrite changes.
func onlyChanged(t *testing.T, what string, before, after []byte, keys ...string) {
	t.Helper()

	for _, side := range [][]string{changed(before, after), changed(after, before)} {
		for _, line := range side {
			ours := bookkeeping.MatchString(line)
			for _, key := range keys {
				ours = ours || strings.HasPrefix(strings.TrimSpace(line), key+": ENC[")
			}

			if !ours {
				t.Errorf("%s: a line that had to stay has changed: %s", what, line)
			}
		}
	}

	if len(changed(after, before)) == 0 {
		t.Errorf("%s: nothing has changed", what)
	}
}

var secretText = regexp.MustCompile(`s3cret-\w+|PRIVATE KEY`)

// TestSOPSGenerate: what `generate --encrypt` gives is decrypted by every release to what `generate` gives.
func TestSOPSGenerate(t *testing.T) {
	for _, inv := range []string{"harbor", "mixed", "credentials", "policy"} {
		for _, at := range []struct{ version, format string }{
			{"1.9.0", "auto"}, {"1.11.6", "json-patch"}, {"1.13.9", "json-patch"}, {"1.13.9", "strategic"}, {"1.13.9", "documents"},
			{"1.12.1", "documents"}, {"1.14.1", "auto"},
		} {
			check(t, inv+"/"+at.version+"/"+at.format, func(t *testing.T) {
				b, recipient := keyed(t)
				c := cell{at.version, "controlplane", "single"}
				inventory := b.inventory(t, inv)
				plain := b.generate(t, c, inventory, at.format).ok(t)
				sealed := b.generate(t, c, inventory, at.format, "--encrypt", "--age", recipient).ok(t)
				file := b.write(t, "sealed.sops.yaml", sealed)

				if leak := secretText.Find(sealed); leak != nil {
					t.Errorf("in clear: %s", leak)
				}

				operations, isPatch := trees(t, plain)[0].([]any)
				if !isPatch {
					b.everySOPS(t, file, plain)
					sameTrees(t, "decrypt", b.talmirror(t, nil, "decrypt", file).ok(t), plain)

					return
				}

				// SOPS has no top-level lists: a JSON patch is encrypted as a map.
				whole, _ := yaml.Marshal(map[string]any{"patch": operations}) //nolint:errcheck // came from YAML
				b.everySOPS(t, file, whole)
				sameTrees(t, "decrypt --extract", b.talmirror(t, nil, "decrypt", "--extract", `["patch"]`, file).ok(t), plain)

				for _, v := range sopses {
					patch := b.sops(t, v, "decrypt", "--extract", `["patch"]`, file).ok(t)
					config := c.apply(t, b, c.config(t, b, "fresh"), patch)
					b.model(t, c, inventory).wants(t, "extracted by sops "+v, c.reads(t, b, config))
				}
			})
		}
	}
}

// TestSOPSOutputDir: the files of a directory are encrypted one by one.
func TestSOPSOutputDir(t *testing.T) {
	for _, version := range []string{"1.12.7", "1.14.1"} {
		check(t, version, func(t *testing.T) {
			b, recipient := keyed(t)
			c := cell{version, "worker", "multi"}
			inventory := b.inventory(t, "mixed")
			b.generate(t, c, inventory, "documents", "--output-dir", b.path("out"), "--encrypt", "--age", recipient).ok(t)

			var patches [][]byte

			for i, sealed := range files(t, b.path("out")) {
				if leak := secretText.Find(sealed); leak != nil {
					t.Errorf("in clear, file %d: %s", i, leak)
				}

				if bytes.Contains(sealed, []byte("\nsops:")) {
					sealed = b.sops(t, newest, "decrypt", b.write(t, "one.sops.yaml", sealed)).ok(t)
				}

				patches = append(patches, sealed)
			}

			b.model(t, c, inventory).wants(t, "decrypted by sops", c.reads(t, b, c.apply(t, b, c.config(t, b, "fresh"), patches...)))
		})
	}
}

// rules are the ways sops has to select values; updated says that talmirror writes such a file too.
var rules = []struct {
	name, rule string
	updated    bool
}{
	{"encrypted_regex", "encrypted_regex: " + secretKeys, true},
	{"unencrypted_regex", "unencrypted_regex: ^(username|mirrors|name|endpoints|kind|apiVersion)$", true},
	{"encrypted_suffix", "encrypted_suffix: _enc", false},
	{"unencrypted_suffix", "unencrypted_suffix: _clear", true},
	{"everything", "", true},
	{"mac_only_encrypted", "encrypted_regex: " + secretKeys + "\n    mac_only_encrypted: true", true},
}

// TestSOPSRead: a file that sops wrote is read alike, and rewritten so that only what changed changes.
func TestSOPSRead(t *testing.T) {
	for _, v := range sopses {
		for _, rule := range rules {
			for name, plain := range map[string]string{"legacy": plainLegacy, "documents": plainDocuments} {
				check(t, v+"/"+rule.name+"/"+name, func(t *testing.T) {
					b, recipient := keyed(t)
					_, other := b.identity(t, "other") // a second recipient, whose key nobody here has
					b.write(t, "rule.yaml", []byte("creation_rules:\n  - age: "+recipient+","+other+"\n    "+rule.rule+"\n"))

					sealed := b.sops(t, v, "--config", "rule.yaml", "encrypt", b.write(t, "plain.yaml", []byte(plain))).ok(t)
					file := b.write(t, "sealed.yaml", sealed)
					clear := b.talmirror(t, nil, "decrypt", file).ok(t)
					sameTrees(t, "decrypt", clear, b.sops(t, v, "decrypt", file).ok(t))

					if !rule.updated || (rule.name == "mac_only_encrypted" && name == "documents") {
						return // the latter leaves the name, and so the host that gets the password, to anybody who can edit the file
					}

					b.talmirror(t, clear, "encrypt", "--in-place", "--update", file).ok(t)
					sameBytes(t, "updated with nothing new", b.read(t, "sealed.yaml"), sealed)

					clear = bytes.Replace(clear, []byte("s3cret-one"), []byte("s3cret-new"), 1)
					b.talmirror(t, clear, "encrypt", "--in-place", "--update", file).ok(t)
					onlyChanged(t, "updated", sealed, b.read(t, "sealed.yaml"), "password")
					b.everySOPS(t, file, clear)
				})
			}
		}
	}
}

// TestSOPSRotate: an inventory that sops encrypted is used as it is, and one password in it is replaced.
func TestSOPSRotate(t *testing.T) {
	for _, v := range sopses {
		check(t, v, func(t *testing.T) {
			b, recipient := keyed(t)
			c := cell{"1.13.9", "controlplane", "single"}
			plain := b.inventory(t, "harbor")
			want := b.generate(t, c, plain, "auto").ok(t)

			sealed := b.sops(t, v, "encrypt", "--age", recipient, "--encrypted-regex", secretKeys, plain).ok(t)
			file := b.write(t, "sealed.yaml", sealed)
			sameTrees(t, "generate from an encrypted inventory", b.generate(t, c, file, "auto").ok(t), want)

			b.talmirror(t, []byte("s3cret-rotated\n"), "rotate", "harbor", "-f", file, "--password-stdin").ok(t)
			onlyChanged(t, "rotated", sealed, b.read(t, "sealed.yaml"), "password")
			b.everySOPS(t, file, bytes.ReplaceAll(b.read(t, "inventory.yaml"), []byte("s3cret-harbor"), []byte("s3cret-rotated")))
		})
	}
}

// TestSOPSSet: `sops set` on a file that talmirror made changes what it changes on its own files.
func TestSOPSSet(t *testing.T) {
	legacy := `["machine"]["registries"]["config"]["harbor.example:5000"]["auth"]["password"]`
	patch := `["patch"][0]["value"]["config"]["harbor.example"]["auth"]["password"]`

	for _, v := range sopses {
		for name, path := range map[string]string{"legacy": legacy, "json-patch": patch} {
			check(t, v+"/"+name, func(t *testing.T) {
				b, recipient := keyed(t)

				var sealed []byte
				if name == "legacy" { // in the layout that this release would give it: talmirror leaves the layout alone
					plain := b.write(t, "plain.yaml", []byte(plainLegacy))
					own := b.write(t, "own.yaml", b.sops(t, v, "encrypt", "--age", recipient, plain).ok(t))
					canonical := b.write(t, "canonical.yaml", b.sops(t, v, "decrypt", own).ok(t))
					sealed = b.talmirror(t, nil, "encrypt", "--age", recipient, "--encrypted-regex", secretKeys, canonical).ok(t)
				} else {
					sealed = b.generate(t, cell{"1.11.6", "worker", "single"}, b.inventory(t, "harbor"), "json-patch",
						"--encrypt", "--age", recipient).ok(t)
				}

				file := b.write(t, "sealed.yaml", sealed)
				b.sops(t, v, "set", file, path, `"s3cret-new"`).ok(t)
				after := b.read(t, "sealed.yaml")

				if got := b.talmirror(t, nil, "decrypt", "--extract", path, file).ok(t); strings.TrimSpace(string(got)) != "s3cret-new" {
					t.Errorf("decrypt --extract %s: %s", path, got)
				}

				if v != newest { // older releases write the metadata in another order, with empty lists
					before, _, _ := bytes.Cut(sealed, []byte("\nsops:"))
					after, _, _ = bytes.Cut(after, []byte("\nsops:"))
					sealed = before
				}

				onlyChanged(t, "sops set", sealed, after, "password")
			})
		}
	}
}

// TestSOPSVectors: every file that lies in tests/vectors is read alike.
func TestSOPSVectors(t *testing.T) {
	vectors, err := filepath.Abs("../../vectors/sops")
	if err != nil {
		t.Fatal(err)
	}

	found, _ := filepath.Glob(vectors + "/v*/*.yaml") //nolint:errcheck // a good pattern
	if len(found) == 0 {
		check(t, "none", func(t *testing.T) { need(t, vectors, "tests/vectors/sops") })
	}

	for _, file := range found {
		check(t, strings.TrimPrefix(file, vectors+"/"), func(t *testing.T) {
			for _, env := range []string{
				"SOPS_AGE_KEY_FILE=" + vectors + "/keys.txt", "SOPS_AGE_KEY_FILE=" + vectors + "/keys-second.txt",
				"SOPS_AGE_SSH_PRIVATE_KEY_FILE=" + vectors + "/id_ed25519_fixture", "SOPS_AGE_KEY=" + string(read(t, vectors+"/keys.txt")),
			} {
				b := newBed(t).with(env)
				what, _, _ := strings.Cut(env, "\n")

				want := b.sops(t, newest, "decrypt", file)
				if want.code != 0 {
					b.talmirror(t, nil, "decrypt", file).fails(t, want.code) // not everybody's file

					continue
				}

				sameTrees(t, what, b.talmirror(t, nil, "decrypt", file).ok(t), want.stdout)
			}
		})
	}
}

// TestSOPSRekey: recipients come and go by sops' hand and by talmirror's, and who is named can read.
func TestSOPSRekey(t *testing.T) {
	check(t, "recipients", func(t *testing.T) {
		b := newBed(t)
		file, plain := b.write(t, "sealed.yaml", []byte(plainLegacy)), []byte(plainLegacy)

		recipients := map[string]string{}
		as := func(name string) bed { return b.with("SOPS_AGE_KEY_FILE=" + b.path(name+".txt")) }

		for _, name := range []string{"a", "b", "c"} {
			_, recipients[name] = b.identity(t, name)
		}

		rule := func(names ...string) {
			var list []string
			for _, name := range names {
				list = append(list, recipients[name])
			}

			b.write(t, ".sops.yaml", []byte("creation_rules:\n  - path_regex: sealed\\.yaml$\n    encrypted_regex: "+secretKeys+
				"\n    age: "+strings.Join(list, ",")+"\n"))
		}

		readers := func(when string, can, cannot []string) {
			for _, name := range can {
				as(name).everySOPS(t, file, plain)
				sameTrees(t, when+", "+name, as(name).talmirror(t, nil, "decrypt", file).ok(t), plain)
			}

			for _, name := range cannot {
				as(name).talmirror(t, nil, "decrypt", file).exits(t, 128)
				as(name).sops(t, newest, "decrypt", file).exits(t, 128)
			}
		}

		rule("a")
		b.talmirror(t, nil, "encrypt", "--in-place", file).ok(t)
		readers("encrypted by the rule", []string{"a"}, []string{"b", "c"})

		sealed := b.read(t, "sealed.yaml")
		as("a").talmirror(t, nil, "encrypt", "--in-place", file).exits(t, 203)
		sameBytes(t, "refused to encrypt twice", b.read(t, "sealed.yaml"), sealed)

		rule("a", "b")
		as("a").sops(t, newest, "updatekeys", "--yes", file).ok(t)
		readers("after sops updatekeys", []string{"a", "b"}, []string{"c"})

		rule("b")
		as("a").talmirror(t, nil, "rekey", file).ok(t)
		readers("rekeyed without a", []string{"b"}, []string{"a", "c"})

		rule("a", "b", "c")
		as("b").talmirror(t, nil, "rekey", file).ok(t)
		readers("rekeyed for all", []string{"a", "b", "c"}, nil)

		sealed = b.read(t, "sealed.yaml")
		as("c").talmirror(t, nil, "rekey", file).ok(t)
		sameBytes(t, "rekeyed for the same", b.read(t, "sealed.yaml"), sealed)
	})
}

var enc = regexp.MustCompile(`ENC\[AES256_GCM,[^\]]*\]`)

// swap exchanges two parts of a text.
func swap(s, a, b string) string {
	return strings.NewReplacer(a, b, b, a).Replace(s)
}

// flip changes one character of base64 after a marker, below the first line that contains in.
func flip(s, in, marker string) string {
	at := strings.Index(s, in)
	at += strings.Index(s[at:], marker) + len(marker) + 2

	c := byte('A')
	if s[at] == c {
		c = 'B'
	}

	return s[:at] + string(c) + s[at+1:]
}

func re(pattern, with string) func(string) string {
	return func(s string) string { return regexp.MustCompile("(?m)"+pattern).ReplaceAllString(s, with) }
}

func text(from, to string) func(string) string {
	return func(s string) string { return strings.Replace(s, from, to, 1) }
}

func withFlip(in, marker string) func(string) string {
	return func(s string) string { return flip(s, in, marker) }
}

// tampers are edits by somebody without a key. accepted is what sops says, as far as it was known when this was written: SOPS
// authenticates less than one expects, and who is stricter cannot read everybody's files.
var tampers = []struct {
	name      string
	documents bool
	accepted  bool
	edit      func(string) string
}{
	{"ciphertext", false, false, withFlip("password: ENC", "data:")},
	{"nonce", false, false, withFlip("password: ENC", "iv:")},
	{"tag", false, false, withFlip("password: ENC", "tag:")},
	{"type", false, false, re(`(password: ENC.*)type:str`, "${1}type:int")},
	{"junk behind a value", false, true, re(`(password: ENC.*\])$`, "${1}junk")},
	{"two secrets swapped", false, false, func(s string) string { all := enc.FindAllString(s, 2); return swap(s, all[0], all[1]) }},
	{"secret copied over another", false, false, func(s string) string {
		all := enc.FindAllString(s, 2)
		return strings.Replace(s, all[1], all[0], 1)
	}},
	{"secret at a clear key", false, false, func(s string) string {
		return strings.Replace(s, "username: hub", "username: "+enc.FindString(s), 1)
	}},
	{"secret blanked", false, false, re(`password: ENC.*$`, `password: ""`)},
	{"secret in clear", false, false, re(`password: ENC.*$`, `password: mine`)},
	{"secret deleted", false, false, re(`^ +password: ENC.*\n`, "")},
	{"host of a secret renamed", false, false, text("harbor.example:5000:", "evil.example:5000:")},
	{"clear value changed", false, false, text("robot$proxy", "robot$evil")},
	{"clear value deleted", false, false, re(`^ +second: 4096\n`, "")},
	{"clear values swapped", false, false, func(s string) string {
		return swap(s, "https://harbor.example/v2/docker.io", "https://mirror.gcr.io")
	}},
	{"clear value added", false, false, re(`^( +)second: 4096`, "${1}second: 4096\n${1}third: 1")},
	{"clear value split", false, true, re(`^( +)first: "65535"`, "${1}first: \"655\"\n${1}more: \"35\"")},
	{"clear key renamed", false, true, text("ghcr.io:", "quay.io:")},
	{"clear keys swapped", false, true, func(s string) string { return swap(s, " docker.io:\n", " ghcr.io:\n") }},
	{"bool to string", false, true, text("overridePath: true", `overridePath: "True"`)},
	{"int to string", false, true, text("second: 4096", `second: "4096"`)},
	{"int in hexadecimal", false, true, text("second: 4096", "second: 0x1000")},
	{"quotes", false, true, text("username: hub", "username: 'hub'")},
	{"null, empty map, list and string added", false, true, re(`^( +)second: 4096`, "${1}second: 4096\n${1}a: null\n${1}b: {}\n${1}c: []\n${1}d: \"\"")},
	{"comment added", false, true, re(`^( +)second: 4096`, "${1}# second is best\n${1}second: 4096")},
	{"blank lines", false, true, re(`^( +)second: 4096`, "\n\n${1}second: 4096\n")},
	{"key twice", false, false, re(`^( +)second: 4096`, "${1}second: 4096\n${1}second: 4096")},
	{"lastmodified a second later", false, false, re(`lastmodified: "(\d+)-`, `lastmodified: "1$1-`)},
	{"lastmodified with offset", false, true, re(`(lastmodified: ".*)Z"`, `${1}+00:00"`)},
	{"lastmodified with fraction", false, true, re(`(lastmodified: ".*)Z"`, `${1}.5Z"`)},
	{"lastmodified unquoted", false, false, re(`lastmodified: "(.*)"`, "lastmodified: $1")},
	{"lastmodified gone", false, false, re(`^ +lastmodified: .*\n`, "")},
	{"mac flipped", false, false, withFlip(" mac: ENC", "data:")},
	{"mac gone", false, false, re(`^ +mac: .*\n`, "")},
	{"mac empty", false, false, re(` mac: .*$`, ` mac: ""`)},
	{"mac in clear", false, false, re(` mac: .*$`, ` mac: ABCD`)},
	{"mac_only_encrypted added", false, false, re(`^( +)lastmodified:`, "${1}mac_only_encrypted: true\n${1}lastmodified:")},
	{"rule widened to nothing there", false, true, text("(password|identityToken|key)", "(password|identityToken|key|other)")},
	{"rule widened to a clear value", false, false, text("(password|identityToken|key)", "(password|identityToken|key|username)")},
	{"rule narrowed", false, false, text("(password|identityToken|key)", "(identityToken|key)")},
	{"rule gone", false, false, re(`^ +encrypted_regex: .*\n`, "")},
	{"two rules", false, false, re(`^( +)encrypted_regex:`, "${1}encrypted_suffix: _enc\n${1}encrypted_regex:")},
	{"version newer", false, true, re(` version: .*$`, " version: 99.0.0")},
	{"version gone", false, false, re(`^ +version: .*\n`, "")},
	{"version no number", false, false, re(` version: .*$`, " version: new")},
	{"metadata unknown", false, true, re(`^( +)lastmodified:`, "${1}unknown: 1\n${1}lastmodified:")},
	{"data key damaged", false, false, re(`(BEGIN AGE ENCRYPTED FILE-----\n +\S{20})\S`, "${1}%")},
	{"recipients gone", false, false, re(`^    age:\n(        .*\n)+`, "")},
	{"sops block gone", false, false, func(s string) string { return s[:strings.Index(s, "\nsops:")+1] }},

	{"secrets of two documents swapped", true, false, func(s string) string { all := enc.FindAllString(s, -1); return swap(s, all[1], all[2]) }},
	{"name of a document", true, false, text("name: harbor.example", "name: evil.example")},
	{"last document gone", true, false, func(s string) string { return s[:strings.LastIndex(s, "\n---\n")+1] }},
	{"documents in another order", true, false, func(s string) string {
		docs := strings.Split(s, "\n---\n")
		return docs[0] + "\n---\n" + docs[2] + "---\n" + docs[1] + "\n"
	}},
	{"sops block of a later document gone", true, true, func(s string) string {
		return s[:strings.LastIndex(s, "\nsops:")+1]
	}},
	{"mac of a later document", true, true, func(s string) string {
		at := strings.LastIndex(s, " mac: ENC")
		return s[:at] + strings.Replace(s[at:], "data:", "data:AAAA", 1)
	}},
}

// fails wants a refusal; where sops has an exit code for the reason, it is the same.
func (r result) fails(t *testing.T, sops int) {
	t.Helper()

	switch sops {
	case 25, 51, 52, 128: // a value, the MAC, no MAC, no key
		r.exits(t, sops)
	default:
		if r.code == 0 {
			t.Errorf("%s: accepts what sops refuses (exit code %d)", r.command, sops)
		}
	}
}

// exceptions are the edits whose verdict has changed between releases, and the release that talmirror agrees with.
var exceptions = map[string]string{
	"lastmodified unquoted": "3.9.4", // sops took it up to 3.12, and other programs write it
}

// tampered makes the file and gives it edited.
func tampered(t *testing.T, b bed, recipient string, documents bool, edit func(string) string) (file string) {
	t.Helper()

	plain := plainLegacy
	if documents {
		plain = plainDocuments
	}

	sealed := b.sops(t, newest, "encrypt", "--age", recipient, "--encrypted-regex", secretKeys, b.write(t, "plain.yaml", []byte(plain))).ok(t)

	edited := edit(string(sealed))
	if edited == string(sealed) {
		t.Fatal("the edit changes nothing")
	}

	return b.write(t, "sealed.yaml", []byte(edited))
}

// TestOracleTamper: sops says of the edits what the table says.
func TestOracleTamper(t *testing.T) {
	for _, edit := range tampers {
		check(t, edit.name, func(t *testing.T) {
			b, recipient := keyed(t)

			r := b.sops(t, newest, "decrypt", tampered(t, b, recipient, edit.documents, edit.edit))
			if (r.code == 0) != edit.accepted {
				t.Errorf("exit code %d: %s", r.code, r.stderr)
			}
		})
	}
}

// TestSOPSTamper: talmirror accepts what sops accepts, and reads it alike.
func TestSOPSTamper(t *testing.T) {
	for _, edit := range tampers {
		check(t, edit.name, func(t *testing.T) {
			b, recipient := keyed(t)
			file := tampered(t, b, recipient, edit.documents, edit.edit)
			r := b.talmirror(t, nil, "decrypt", file)

			release := newest
			if older, ok := exceptions[edit.name]; ok {
				release = older
			}

			want := b.sops(t, release, "decrypt", file)
			if want.code != 0 {
				r.fails(t, want.code)

				if secretText.Match(r.stdout) {
					t.Errorf("%s: prints what it does not trust", r.command)
				}

				return
			}

			sameTrees(t, "decrypt", r.ok(t), want.stdout)
		})
	}
}
