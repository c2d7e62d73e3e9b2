package suite

import (
	"bytes"
	"os"
	"regexp"
	"testing"
)

// postQuantum are the releases of sops that know age's post-quantum keys by themselves: since 3.12.
var postQuantum = []string{"3.12.2", "3.13.3"}

// alone is a bed whose PATH is an empty folder, so that no plugin of age can be found, and a post-quantum key of talmirror's.
func alone(t *testing.T) (b bed, recipient string) {
	t.Helper()

	b = newBed(t)
	empty := b.path("empty")

	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}

	b = b.with("PATH="+empty, "SOPS_AGE_KEY_FILE="+b.path("pq.txt"))
	b.talmirror(t, nil, "keygen", "--post-quantum", "-o", b.path("pq.txt")).ok(t)

	found := regexp.MustCompile(`age1pq1[a-z0-9]+`).Find(b.read(t, "pq.txt"))
	if found == nil {
		t.Fatal("the key file names no recipient")
	}

	return b, string(found)
}

// TestSOPSPostQuantum: what one of sops and talmirror seals for a post-quantum key, the other opens and changes, with nothing on PATH.
func TestSOPSPostQuantum(t *testing.T) {
	for _, v := range postQuantum {
		check(t, v, func(t *testing.T) {
			for name, plain := range map[string]string{"legacy": plainLegacy, "documents": plainDocuments} {
				b, recipient := alone(t)
				file := b.write(t, name+".yaml", []byte(plain))

				ours := b.write(t, "ours.yaml", b.talmirror(t, nil, "encrypt", "--encrypted-regex", secretKeys, "--age", recipient, file).ok(t))
				sameTrees(t, "sops opens ours", b.sops(t, v, "decrypt", ours).ok(t), []byte(plain))

				theirs := b.write(t, "theirs.yaml", b.sops(t, v, "encrypt", "--encrypted-regex", secretKeys, "--age", recipient, file).ok(t))
				sameTrees(t, "talmirror opens theirs", b.talmirror(t, nil, "decrypt", theirs).ok(t), []byte(plain))

				changed := bytes.ReplaceAll([]byte(plain), []byte("s3cret-one"), []byte("s3cret-new"))
				for _, sealed := range []string{ours, theirs} {
					b.talmirror(t, changed, "encrypt", "--update", sealed).ok(t)
					sameTrees(t, "sops opens what talmirror changed", b.sops(t, v, "decrypt", sealed).ok(t), changed)
				}
			}
		})
	}
}

// TestSOPSPostQuantumRekey: from a classic key to a post-quantum one by way of both. age mixes the two kinds in no one file
// (a file is either safe from quantum computers or not), and SOPS wraps its key for each recipient by itself.
func TestSOPSPostQuantumRekey(t *testing.T) {
	for _, v := range postQuantum {
		check(t, v, func(t *testing.T) {
			b, recipient := alone(t)
			classicFile, classic := b.identity(t, "classic")
			file := b.write(t, "f.yaml", b.with("SOPS_AGE_KEY_FILE="+classicFile).talmirror(t, []byte(plainLegacy), "encrypt", "--encrypted-regex", secretKeys, "--age", classic, "-").ok(t))

			rule := func(recipients string) {
				b.write(t, ".sops.yaml", []byte("creation_rules:\n  - encrypted_regex: "+secretKeys+"\n    age: "+recipients+"\n"))
			}

			rule(classic + "," + recipient)
			b.with("SOPS_AGE_KEY_FILE="+classicFile).talmirror(t, nil, "rekey", file).ok(t)

			for _, key := range []string{classicFile, b.path("pq.txt")} {
				sameTrees(t, "either key", b.with("SOPS_AGE_KEY_FILE="+key).sops(t, v, "decrypt", file).ok(t), []byte(plainLegacy))
			}

			rule(recipient)
			b.talmirror(t, nil, "rekey", file).ok(t)
			sameTrees(t, "the new key", b.sops(t, v, "decrypt", file).ok(t), []byte(plainLegacy))

			if r := b.with("SOPS_AGE_KEY_FILE="+classicFile).sops(t, v, "decrypt", file); r.code == 0 {
				t.Error("the old key still opens the file")
			}
		})
	}
}
