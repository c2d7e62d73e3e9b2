package suite

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

type kept struct{ Name, File, State, Origin, Pending, AsOneValue string }

// backup keeps every node's config and tells what became of it.
func (f fake) backup(t *testing.T, code int, args ...string) (out []kept) {
	t.Helper()

	r := f.talmirror(t, nil, append([]string{"backup", "--output-dir", "backups", "-o", "json"}, args...)...).exits(t, code)

	var all struct{ Items []kept }
	if err := json.Unmarshal(r.stdout, &all); err != nil {
		t.Fatalf("%s\n%v\n%s%s", r.command, err, r.stdout, r.stderr)
	}

	for _, output := range [][]byte{r.stdout, r.stderr} {
		if bytes.Contains(output, []byte("s3cr3t")) || bytes.Contains(output, []byte("PRIVATE KEY")) {
			t.Fatalf("%s\nprints a secret", r.command)
		}
	}

	return all.Items
}

// all wants every node to be in one state, its config kept from one place.
func all(t *testing.T, got []kept, state, origin string) {
	t.Helper()

	for _, k := range got {
		if k.State != state || k.Origin != origin || k.AsOneValue != "" {
			t.Errorf("expected %s from %s: %+v", state, origin, k)
		}
	}
}

// backedUp starts a cluster with a key and a rule for backups: secrets by their keys, or everything.
func backedUp(t *testing.T, version string, network int, patch, selection string) fake {
	t.Helper()

	f := startWith(t, version, network, patch)
	file, recipient := f.identity(t, "keys")
	f.write(t, ".sops.yaml", []byte("creation_rules:\n  - path_regex: ^backups/\n    age: "+recipient+"\n"+selection))
	f.bed = f.with("SOPS_AGE_KEY_FILE=" + file)

	return f
}

// oldAuth is what oldMirror is, and credentials.
const oldAuth = oldMirror + "    config:\n      old.example:\n        auth: {username: u, password: s3cr3t-old}\n"

const secretsOfConfigs = "    encrypted_regex: ^(token|key|secret|clusterSecret|secretboxEncryptionSecret|password|auth|privateKey)$\n"

// TestNodesBackup: what every version generates is kept, read by every sops, loaded and taken back by Talos.
func TestNodesBackup(t *testing.T) {
	for network, version := range nodeVersions {
		check(t, version, func(t *testing.T) {
			f := backedUp(t, version, 30+network, oldAuth, secretsOfConfigs)
			disk := func(node int) []byte { return f.read(t, "cluster/"+f.nodes[node]+".yaml") }

			all(t, f.backup(t, 1, "--check"), "missing", "running")
			all(t, f.backup(t, 0), "created", "running")
			all(t, f.backup(t, 0, "--check"), "unchanged", "running")

			for i, file := range []string{"backups/n1.yaml", "backups/n2.yaml", "backups/n3.yaml"} {
				f.everySOPS(t, file, disk(i))

				if sealed := f.read(t, file); bytes.Contains(sealed, []byte("PRIVATE KEY")) || bytes.Contains(sealed, []byte("s3cr3t")) {
					t.Errorf("%s: secrets are in clear", file)
				}

				plain := f.talmirror(t, nil, "decrypt", file).ok(t)
				sameTrees(t, "decrypt", plain, disk(i))

				// The loader takes it for the same config, and a node takes it back.
				f.write(t, "back.yaml", plain)

				for _, question := range []string{"registries", "validate"} {
					was := f.talos(t, version, question, "--config", f.path("cluster/"+f.nodes[i]+".yaml")).ok(t)
					sameBytes(t, question, f.talos(t, version, question, "--config", f.path("back.yaml")).ok(t), was)
				}

				f.talosctl(t, "apply-config", "-n", f.nodes[i], "-f", f.path("back.yaml"), "--mode", "no-reboot").ok(t)
			}

			// What is applied is on the disk now. It differs from what was kept by a comment at most.
			f.backup(t, 0)
			all(t, f.backup(t, 0, "--check"), "unchanged", "disk")

			// One value changes, and no line besides it. sops lays the documents of a file of its own out otherwise, so it is not asked here.
			before := f.read(t, "backups/n2.yaml")
			config := strings.Replace(string(disk(1)), "s3cr3t-old", "s3cr3t-new", 1)
			f.talosctl(t, "apply-config", "-n", f.nodes[1], "-f", f.write(t, "n2.yaml", []byte(config)), "--mode", "no-reboot").ok(t)

			got := f.backup(t, 1, "--check")
			if got[0].State != "unchanged" || got[1].State != "differs" || got[2].State != "unchanged" {
				t.Errorf("%+v", got)
			}

			sameBytes(t, "--check", f.read(t, "backups/n2.yaml"), before)
			f.backup(t, 0)
			onlyChanged(t, "backup", before, f.read(t, "backups/n2.yaml"), "password")
			f.everySOPS(t, "backups/n2.yaml", []byte(config))

			// A trial is not kept, a staged config is.
			f.apply(t, 0, "https://two.example", "--mode", "try", "--timeout", "10m")
			f.apply(t, 1, "https://three.example", "--mode", "staged")

			got = f.backup(t, 0)
			if got[0].State != "unchanged" || got[0].Pending != "trial" || got[1].State != "updated" || got[1].Pending != "staged" {
				t.Errorf("%+v", got)
			}

			if plain := f.sops(t, newest, "decrypt", "backups/n2.yaml").ok(t); !bytes.Contains(plain, []byte("https://three.example")) {
				t.Error("the staged config is not kept")
			}

			// What sops changes in a backup is a difference, and the node's config comes back.
			old := f.read(t, "backups/n3.yaml")
			f.sops(t, newest, "set", "backups/n3.yaml", `["machine"]["type"]`, `"controlplane"`).ok(t)

			if got = f.backup(t, 1, "--check", "-n", "n3"); got[0].State != "differs" {
				t.Errorf("%+v", got)
			}

			f.backup(t, 0, "-n", "n3")
			f.everySOPS(t, "backups/n3.yaml", disk(2))

			if len(changed(old, f.read(t, "backups/n3.yaml"))) == 0 {
				t.Error("sops has changed nothing")
			}

			// talosctl reads the same.
			says := f.talosctl(t, "get", "machineconfig", "persistent", "-n", f.nodes[1], "-o", "jsonpath={.spec}").ok(t)
			sameTrees(t, "talosctl", f.talmirror(t, nil, "decrypt", "backups/n2.yaml").ok(t), says)
		})
	}
}

// TestNodesBackupComments: configs as Talos generates them, comments and all; the one behind the `|` of a sealed value goes with it.
func TestNodesBackupComments(t *testing.T) {
	for network, version := range nodeVersions {
		check(t, version, func(t *testing.T) {
			f := backedUp(t, version, 60+network, "", secretsOfConfigs)
			all(t, f.backup(t, 0), "created", "running")
			all(t, f.backup(t, 0), "unchanged", "running")

			for i, file := range []string{"backups/n1.yaml", "backups/n2.yaml"} {
				disk := f.read(t, "cluster/"+f.nodes[i]+".yaml")
				f.everySOPS(t, file, disk)

				want := regexp.MustCompile(`(?m): \| #.*$`).ReplaceAll(disk, []byte(": |"))
				sameBytes(t, "decrypt", f.talmirror(t, nil, "decrypt", file).ok(t), want)

				if bytes.Count(disk, []byte(" # ")) < 10 {
					t.Error("the config has no comments")
				}
			}
		})
	}
}

// TestNodesBackupUnsure: a trial before anything was applied for good cannot be told from a config on disk, which is told.
func TestNodesBackupUnsure(t *testing.T) {
	for network, version := range nodeVersions {
		check(t, version, func(t *testing.T) {
			f := backedUp(t, version, 40+network, oldMirror, secretsOfConfigs)
			f.apply(t, 0, "https://two.example", "--mode", "try", "--timeout", "10m")

			got := f.backup(t, 0)
			if got[0].Origin != "unsure" || got[1].Origin != "running" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestNodesBackupWhole: where a rule seals everything, comments in lists cannot stay, and configs are kept as one value.
func TestNodesBackupWhole(t *testing.T) {
	for network, version := range nodeVersions {
		check(t, version, func(t *testing.T) {
			f := backedUp(t, version, 50+network, oldMirror, "")
			disk := f.read(t, "cluster/"+f.nodes[0]+".yaml")
			config := bytes.Replace(disk, []byte("endpoints:\n"), []byte("endpoints:\n                    # in a list\n"), 1)
			file := f.write(t, "n1.yaml", config)
			f.talosctl(t, "apply-config", "-n", f.nodes[0], "-f", file, "--mode", "no-reboot").ok(t)

			got := f.backup(t, 0)
			if got[0].AsOneValue == "" || got[1].AsOneValue != "" {
				t.Errorf("%+v", got)
			}

			for _, v := range sopses {
				sameBytes(t, "sops "+v, f.sops(t, v, "decrypt", "--extract", `["data"]`, "backups/n1.yaml").ok(t), config)
			}

			f.everySOPS(t, "backups/n2.yaml", f.read(t, "cluster/"+f.nodes[1]+".yaml"))

			if sealed := f.read(t, "backups/n2.yaml"); bytes.Contains(sealed, []byte("old.example")) {
				t.Error("a value is in clear")
			}

			all(t, f.backup(t, 0, "--check")[1:], "unchanged", "running")

			if err := os.Remove(f.path("backups/n1.yaml")); err != nil {
				t.Fatal(err)
			}

			f.fault(t, `{"*": {}, "`+f.nodes[1]+`": {"unreachable": true}}`)

			if got = f.backup(t, 5); got[0].State != "created" || got[1].State != "failed" || got[2].State != "unchanged" {
				t.Errorf("%+v", got)
			}
		})
	}
}
