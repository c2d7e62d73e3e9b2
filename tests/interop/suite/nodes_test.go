package suite

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var nodeVersions = []string{"1.11.6", "1.12.7", "1.13.9", "1.14.1"}

// fake is a running talos-node: a control plane node and two workers, whose files lie in bed.path("cluster").
type fake struct {
	bed
	version string
	nodes   []string
}

const oldMirror = "machine:\n  registries:\n    mirrors:\n      docker.io:\n        endpoints: [https://old.example]\n"

// start starts a talos-node on addresses of its own; names in the inventory are n1, n2, n3.
func start(t *testing.T, version string, network int) fake {
	t.Helper()

	return startWith(t, version, network, oldMirror)
}

// startWith patches the generated configs, which takes their comments, or leaves them as they are.
func startWith(t *testing.T, version string, network int, patch string) fake {
	t.Helper()

	b := newBed(t)
	f := fake{b, version, nil}

	for i := range 3 {
		f.nodes = append(f.nodes, fmt.Sprintf("127.83.%d.%d", network, i+2))
	}

	args := []string{"--nodes", strings.Join(f.nodes, ","), "--dir", b.path("cluster"), "--faults", b.path("faults.json")}
	if patch != "" {
		args = append(args, "--patch", b.write(t, "old.yaml", []byte(patch)))
	}

	cmd := exec.Command(oracle(t, "talos-node-"+version), args...)
	cmd.Stderr = os.Stderr

	stdout, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			t.Log(err)
		}
	})

	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal("talos-node did not start")
	}

	f.env = append(f.env, "TALOSCONFIG="+b.path("cluster/talosconfig"))
	b.write(t, "mirrors.yaml", fmt.Appendf(nil, `mirrors:
    harbor: {kind: harbor, url: https://harbor.example, credentials: {username: 'robot$p', password: s3cr3t-p}}
registries: {docker.io: {}, ghcr.io: {fallback: never}}
defaults: {via: [harbor]}
nodes: {n1: {address: %s}, n2: {address: %s}, n3: {address: %s}}
`, f.nodes[0], f.nodes[1], f.nodes[2]))

	return f
}

func (f fake) talosctl(t *testing.T, args ...string) result {
	t.Helper()

	return f.run(t, nil, oracle(t, "talosctl-1.13.9"), args...)
}

// apply gives a node its config with another endpoint. talosctl patches no config that is newer than it is.
func (f fake) apply(t *testing.T, node int, endpoint string, flags ...string) {
	t.Helper()

	put := strings.NewReplacer("https://old.example", endpoint, "https://one.example", endpoint)
	config := put.Replace(string(f.read(t, "cluster/"+f.nodes[node]+".yaml")))
	file := f.write(t, "config.yaml", []byte(config))
	f.talosctl(t, append([]string{"apply-config", "-n", f.nodes[node], "-f", file}, flags...)...).ok(t)
}

func (f fake) fault(t *testing.T, faults string) {
	t.Helper()

	if err := os.Rename(f.write(t, "faults.new", []byte(faults)), f.path("faults.json")); err != nil {
		t.Fatal(err)
	}
}

type item struct {
	Name, Version, Role, Stage, Schema, Pending string
	Reachable, Ready, Changed                   bool
	ForeignHosts                                []string
	Error                                       struct{ Reason, Message string }
}

// items reads what `nodes -o json` and `diff -o json` print; nothing of it is a secret.
func items(t *testing.T, r result) (out []item) {
	t.Helper()

	var all struct{ Items []item }
	if err := json.Unmarshal(r.stdout, &all); err != nil {
		t.Fatalf("%s\n%v\n%s%s", r.command, err, r.stdout, r.stderr)
	}

	if strings.Contains(string(r.stdout)+string(r.stderr), "s3cr3t") {
		t.Fatalf("%s\nprints a secret", r.command)
	}

	return all.Items
}

func TestNodes(t *testing.T) {
	for network, version := range nodeVersions {
		check(t, version, func(t *testing.T) {
			f := start(t, version, network)

			// talosctl agrees with what is said of the nodes.
			for i, n := range items(t, f.talmirror(t, nil, "nodes", "-o", "json").exits(t, 0)) {
				role := strings.TrimSpace(string(f.talosctl(t, "get", "machinetype", "-n", f.nodes[i], "-o", "jsonpath={.spec}").ok(t)))
				says := string(f.talosctl(t, "version", "-n", f.nodes[i]).ok(t))
				schema := "legacy"

				if since(version, "1.12") {
					schema = "documents"
				}

				if n.Role != role || !strings.Contains(says, n.Version) || n.Version != "v"+version ||
					n.Stage != "running" || !n.Ready || n.Schema != schema || n.Pending != "nothing" || len(n.ForeignHosts) > 0 {
					t.Errorf("%+v, talosctl: %s %s", n, role, says)
				}
			}

			// A config on trial, and one that is staged.
			f.apply(t, 0, "https://one.example", "--mode", "no-reboot")
			f.apply(t, 0, "https://two.example", "--mode", "try", "--timeout", "10m")
			f.apply(t, 1, "https://one.example", "--mode", "staged")
			f.write(t, "cluster/"+f.nodes[2]+"/etc/cri/conf.d/hosts/_default/hosts.toml", []byte("[host.'http://10.0.0.1:30021']\n"))

			got := items(t, f.talmirror(t, nil, "nodes", "-o", "json").exits(t, 0))
			if got[0].Pending != "trial" || got[1].Pending != "staged" || got[2].Pending != "nothing" {
				t.Errorf("pending: %+v", got)
			}

			if !slices.Equal(got[2].ForeignHosts, []string{"http://10.0.0.1:30021"}) || len(got[1].ForeignHosts) > 0 {
				t.Errorf("foreign hosts: %+v", got)
			}

			// A node that is down, and one that does not answer, harm no other.
			f.fault(t, fmt.Sprintf(`{%q: {"unreachable": true}, %q: {"notReady": true}}`, f.nodes[2], f.nodes[1]))

			got = items(t, f.talmirror(t, nil, "nodes", "-o", "json").exits(t, 5))
			if got[2].Reachable || got[2].Error.Reason != "unreachable" || !got[0].Ready || got[1].Ready {
				t.Errorf("unreachable: %+v", got)
			}

			f.fault(t, fmt.Sprintf(`{%q: {"hang": true}}`, f.nodes[2]))

			begin := time.Now()
			got = items(t, f.talmirror(t, nil, "nodes", "-o", "json", "-n", "n1,"+f.nodes[2]+":50000", "--timeout", "2s").exits(t, 5))

			if !got[0].Reachable || got[1].Error.Reason != "timeout" || time.Since(begin) > 10*time.Second {
				t.Errorf("hanging: %+v", got)
			}

			// An endpoint that hangs is passed over; a worker as endpoint leads to the node itself.
			f.talmirror(t, nil, "nodes", "-n", "n1", "-e", f.nodes[2]+","+f.nodes[0]).ok(t)
			f.talmirror(t, nil, "nodes", "-n", "n1", "-e", f.nodes[1]).ok(t)
			f.fault(t, "{}")

			// Who may not read configs sees the rest. The node that was down is left out: the endpoint waits before it tries it again.
			got = items(t, f.talmirror(t, nil, "nodes", "-o", "json", "-n", "n1", "--talosconfig", f.path("cluster/talosconfig.reader")).exits(t, 0))
			if got[0].Pending != "" || got[0].Role != "controlplane" {
				t.Errorf("reader: %+v", got)
			}
		})
	}
}

func TestNodesDiff(t *testing.T) {
	for network, version := range nodeVersions {
		check(t, version, func(t *testing.T) {
			f := start(t, version, 10+network)

			for _, n := range items(t, f.talmirror(t, nil, "diff", "-o", "json").exits(t, 1)) {
				if !n.Changed {
					t.Errorf("%+v does not differ", n)
				}
			}

			// A node whose config talmirror has edited, and talosctl has applied, does not differ any more.
			config := f.talmirror(t, f.read(t, "cluster/"+f.nodes[1]+".yaml"), "mc", "patch", "-", "-n", "n2", "--talos-version", version).ok(t)
			f.talosctl(t, "apply-config", "-n", f.nodes[1], "-f", f.write(t, "n2.yaml", config), "--mode", "no-reboot").ok(t)

			got := items(t, f.talmirror(t, nil, "diff", "-o", "json").exits(t, 1))
			if !got[0].Changed || got[1].Changed || !got[2].Changed {
				t.Errorf("%+v", got)
			}

			f.talmirror(t, nil, "diff", "-n", "n2").ok(t)

			matrix := string(f.talmirror(t, nil, "diff", "--matrix").exits(t, 1).stdout)
			want := "KIND     NAME             n1   n2   n3\nmirror   docker.io        ≠1   =    ≠1\nmirror   ghcr.io          -    =    -\nauth     harbor.example   -    =    -\n"

			if matrix != want {
				t.Errorf("%s", diff([]byte(matrix), []byte(want)))
			}

			// Another cluster's endpoint is not taken for this one's.
			other := start(t, version, 20+network)
			if r := f.talmirror(t, nil, "diff", "-e", other.nodes[0]).exits(t, 5); !strings.Contains(string(r.stderr), "belongs to another cluster") {
				t.Errorf("%s", r.stderr)
			}
		})
	}
}
