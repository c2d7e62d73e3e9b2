package suite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// event is what a test looks at of a line of talos-node's log.
type event struct {
	Seq                                         int
	Node, Event, Method, Mode, TryTimeout, Path string
	Resource, Image, ID, Code                   string
	DryRun                                      bool
}

func (f fake) events(t *testing.T) (out []event) {
	t.Helper()

	for _, line := range bytes.Split(bytes.TrimSpace(f.read(t, "cluster/events.ndjson")), []byte("\n")) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}

		e.Method = e.Method[strings.LastIndex(e.Method, "/")+1:]
		out = append(out, e)
	}

	return out
}

// applies are the configs that nodes were given since an event, in order.
func (f fake) applies(t *testing.T, since int) (out []event) {
	t.Helper()

	for _, e := range f.events(t) {
		if e.Seq > since && e.Event == "call" && e.Method == "ApplyConfiguration" {
			out = append(out, e)
		}
	}

	return out
}

func (f fake) last(t *testing.T) int {
	t.Helper()

	events := f.events(t)

	return events[len(events)-1].Seq
}

func (f fake) disk(t *testing.T, node int) []byte {
	t.Helper()

	return f.read(t, "cluster/"+f.nodes[node]+".yaml")
}

func (f fake) disks(t *testing.T) (out [][]byte) {
	t.Helper()

	for i := range f.nodes {
		out = append(out, f.disk(t, i))
	}

	return out
}

// rolling starts a cluster whose inventory proves its mirrors with an image, and keeps pre-images encrypted.
func rolling(t *testing.T, version string, network int) fake {
	t.Helper()

	f := start(t, version, network)
	file, recipient := f.identity(t, "keys")
	f.bed = f.with("SOPS_AGE_KEY_FILE="+file, "XDG_STATE_HOME="+f.path("state"))
	f.write(t, "mirrors.yaml", append(f.read(t, "mirrors.yaml"), "verify: {images: [docker.io/library/alpine:3.22]}\n"...))
	f.talmirror(t, nil, "encrypt", "--in-place", "--age", recipient, "mirrors.yaml").ok(t)

	return f
}

// outcomes is what `rollout -o json` ends with, node by node.
func outcomes(t *testing.T, r result) map[string]string {
	t.Helper()

	if bytes.Contains(r.stdout, []byte("s3cr3t")) || bytes.Contains(r.stderr, []byte("s3cr3t")) {
		t.Fatalf("%s\nprints a secret", r.command)
	}

	lines := bytes.Split(bytes.TrimSpace(r.stdout), []byte("\n"))

	var end struct {
		Event string
		Nodes []struct{ Name, Outcome string }
	}

	if err := json.Unmarshal(lines[len(lines)-1], &end); err != nil || end.Event != "end" {
		t.Fatalf("%s\n%v\n%s%s", r.command, err, r.stdout, r.stderr)
	}

	out := map[string]string{}
	for _, n := range end.Nodes {
		out[n.Name] = n.Outcome
	}

	return out
}

// wanted is what the inventory of start gives every node, by hand.
func wanted() registries {
	endpoint := func(name string) []endpoint {
		return []endpoint{{URL: "https://harbor.example/v2/" + name, OverridePath: true}}
	}

	return registries{
		Mirrors: map[string]mirror{"docker.io": {Endpoints: endpoint("docker.io")}, "ghcr.io": {Endpoints: endpoint("ghcr.io"), SkipFallback: true}},
		Auth:    map[string]auth{"harbor.example": {Username: "robot$p", Password: "s3cr3t-p"}},
	}
}

// TestNodesRollout: every node ends with the inventory's registries and no other change; tried, read back, committed, one by one.
func TestNodesRollout(t *testing.T) {
	for network, version := range nodeVersions {
		check(t, version, func(t *testing.T) {
			f := rolling(t, version, 70+network)
			before, begin := f.disks(t), f.last(t)

			got := outcomes(t, f.talmirror(t, nil, "rollout", "--yes", "-o", "json").exits(t, 0))
			if fmt.Sprint(got) != "map[n1:updated n2:updated n3:updated]" {
				t.Errorf("%v", got)
			}

			for i := range f.nodes {
				// Talos' loader takes what the node ends with.
				file := f.write(t, "end.yaml", f.disk(t, i))
				wanted().wants(t, f.nodes[i], parseRegistries(t, f.talos(t, version, "registries", "--config", file).ok(t)))

				if now, was := foreign(t, f.disk(t, i)), foreign(t, before[i]); now != was {
					t.Errorf("%s: what is no registry has changed\n%s", f.nodes[i], diff([]byte(now), []byte(was)))
				}
			}

			f.proves(t, begin)

			// There is nothing to do any more, and nothing is done.
			begin = f.last(t)
			f.talmirror(t, nil, "rollout", "--yes").ok(t)
			f.talmirror(t, nil, "diff").ok(t)

			if again := f.applies(t, begin); len(again) > 0 {
				t.Errorf("%+v", again)
			}

			// talosctl reads the same.
			says := f.talosctl(t, "get", "machineconfig", "v1alpha1", "-n", f.nodes[1], "-o", "jsonpath={.spec}").ok(t)
			sameTrees(t, "talosctl", says, f.disk(t, 1))

			// And back, byte for byte.
			begin = f.last(t)
			got = outcomes(t, f.talmirror(t, nil, "rollback", "--yes", "-o", "json").exits(t, 0))

			for i, disk := range f.disks(t) {
				sameBytes(t, fmt.Sprintf("rollback of n%d: %v", i+1, got), disk, before[i])
			}

			for _, e := range f.applies(t, begin) {
				if e.Mode == "REBOOT" || e.DryRun {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

// proves wants the log to show, node after node: TRY, what is read back, NO_REBOOT.
func (f fake) proves(t *testing.T, since int) {
	t.Helper()

	order := []string{f.nodes[1], f.nodes[2], f.nodes[0]} // the control plane comes last

	var seen []string

	for _, e := range f.applies(t, since) {
		if e.DryRun || e.Mode != "TRY" && e.Mode != "NO_REBOOT" || e.Mode == "TRY" && e.TryTimeout != "5m0s" {
			t.Errorf("%+v", e)
		}

		if len(seen) == 0 || seen[len(seen)-1] != e.Node {
			seen = append(seen, e.Node)
		}
	}

	if !slices.Equal(seen, order) {
		t.Errorf("nodes are worked on in the order %v", seen)
	}

	for _, node := range order {
		var story []string

		for _, e := range f.events(t) {
			if e.Seq <= since || e.Node != node || e.Event != "call" {
				continue
			}

			word := ""

			switch {
			case e.Method == "ApplyConfiguration":
				word = e.Mode
			case e.Method == "Get" && strings.Contains(e.Resource, "/MachineConfigs."):
				word = "config"
			case e.Method == "Get" && strings.Contains(e.Resource, "/RegistryConfigs."):
				word = "registries"
			case e.Method == "Read":
				word = e.Path[strings.LastIndex(e.Path, "/")+1:]
			case e.Image != "":
				word = "pull"
			}

			if word != "" && !slices.Contains(story[last(story, "TRY", "NO_REBOOT"):], word) {
				story = append(story, word)
			}
		}

		// On trial is the variant without fallback, and the inventory's is committed from there.
		commit := last(story, "NO_REBOOT")
		try := last(story[:commit], "TRY")

		if commit == 0 || story[try] != "TRY" {
			t.Fatalf("%s: %v", node, story)
		}

		for _, part := range [][]string{story[try:commit], story[commit:]} {
			for _, word := range []string{"config", "registries", "hosts.toml", "cri.toml"} {
				if !slices.Contains(part, word) {
					t.Errorf("%s: %s is not read back after %s: %v", node, word, part[0], story)
				}
			}
		}

		if !slices.Contains(story[:commit], "pull") {
			t.Errorf("%s: no image is pulled before it is committed: %v", node, story)
		}
	}
}

// last is where the last of some words stands, or 0.
func last(story []string, words ...string) int {
	for i := len(story) - 1; i > 0; i-- {
		if slices.Contains(words, story[i]) {
			return i
		}
	}

	return 0
}

// TestNodesRolloutFault: what goes wrong on the canary takes it back to its old bytes, touches no other node, and can be taken up again.
func TestNodesRolloutFault(t *testing.T) {
	for network, version := range nodeVersions {
		for i, fault := range []string{`{"pullFail": ["docker.io/library/alpine:*"]}`, `{"renderWrong": "stale"}`, `{"applyModes": ["NO_REBOOT"], "applyError": "Internal: disk full"}`} {
			check(t, fmt.Sprintf("%s/%d", version, i), func(t *testing.T) {
				f := rolling(t, version, 80+10*i+network)
				before, begin := f.disks(t), f.last(t)
				f.fault(t, fmt.Sprintf(`{%q: %s}`, f.nodes[1], fault))

				r := f.talmirror(t, nil, "rollout", "--yes", "-o", "json", "--settle", "3s")
				got := outcomes(t, r)

				// A node that refuses to keep anything cannot be put back; its trial ends by itself.
				want, code := "reverted", 6
				if i == 2 {
					want, code = "unknown", 7
				}

				if r.code != code || got["n2"] != want || got["n1"] != "untouched" || got["n3"] != "untouched" {
					t.Errorf("%d %v\n%s", r.code, got, r.stderr)
				}

				for i, disk := range f.disks(t) {
					sameBytes(t, f.nodes[i], disk, before[i])
				}

				for _, e := range f.applies(t, begin) {
					if e.Node != f.nodes[1] || e.Mode == "REBOOT" {
						t.Errorf("%+v", e)
					}
				}

				if want == "reverted" {
					active := f.talosctl(t, "get", "machineconfig", "v1alpha1", "-n", f.nodes[1], "-o", "jsonpath={.spec}").ok(t)
					sameTrees(t, "what runs", active, before[1])
				}

				if err := os.WriteFile(f.path("faults.json"), []byte("{}"), 0o600); err != nil {
					t.Fatal(err)
				}

				got = outcomes(t, f.talmirror(t, nil, "rollout", "--resume", "--yes", "-o", "json").exits(t, 0))
				resumed := []string{"map[n1:updated n2:updated n3:updated]"}
				if version < "1.13" {
					// An image that the first attempt has pulled stays there, where none can be removed, and proves nothing more.
					resumed = append(resumed, "map[n1:updated n2:unproven n3:updated]")
				}

				if !slices.Contains(resumed, fmt.Sprint(got)) {
					t.Errorf("resumed: %v", got)
				}

				f.talmirror(t, nil, "diff").ok(t)
			})
		}
	}
}
