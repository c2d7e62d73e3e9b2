// Package suite drives talmirror, Talos' own config code and released sops as commands, and compares what they say.
// TestTalos… and TestSOPS… test talmirror. TestOracle… need no talmirror: they show that the references answer as the other tests
// take for granted, so that a pass there means something.
package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

var passed, failed, skipped atomic.Int64

func TestMain(m *testing.M) {
	code := m.Run()

	missing.Range(func(what, _ any) bool {
		fmt.Printf("skipped for want of %s\n", what)

		return true
	})

	for _, figure := range figures.sorted() {
		fmt.Println(figure)
	}

	fmt.Printf("%d passed, %d failed, %d skipped\n", passed.Load(), failed.Load(), skipped.Load())
	os.Exit(code)
}

// noted are figures that a run ends with.
type noted struct {
	mu    sync.Mutex
	lines []string
}

var figures noted

func (n *noted) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()

	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *noted) sorted() []string {
	n.mu.Lock()
	defer n.mu.Unlock()

	return slices.Sorted(slices.Values(n.lines))
}

// check runs a parallel subtest and counts it.
func check(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		t.Cleanup(func() {
			switch {
			case t.Failed():
				failed.Add(1)
			case t.Skipped():
				skipped.Add(1)
			default:
				passed.Add(1)
			}
		})
		f(t)
	})
}

var missing sync.Map

// need finds a command that `run` has built or was told of.
func need(t *testing.T, path, what string) string {
	t.Helper()

	if info, err := os.Stat(path); err != nil || info.IsDir() {
		if os.Getenv("TALMIRROR_INTEROP") == "required" {
			t.Fatalf("no %s", what)
		}

		missing.Store(what, nil)
		t.Skipf("no %s", what)
	}

	return path
}

func oracle(t *testing.T, name string) string {
	t.Helper()

	return need(t, filepath.Join(os.Getenv("TALMIRROR_ORACLES"), name), name+" (run oracles, run client)")
}

type result struct {
	command        string
	stdout, stderr []byte
	code           int
}

// bed is where commands of one test run: an empty directory, an empty home, and only the environment the test asks for.
type bed struct {
	dir string
	env []string
}

func newBed(t *testing.T, env ...string) bed {
	t.Helper()

	dir := t.TempDir()

	return bed{dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(dir, "home"), "NO_COLOR=1"}, env...)}
}

func (b bed) with(env ...string) bed { return bed{b.dir, append(slices.Clone(b.env), env...)} }

func (b bed) path(name string) string { return filepath.Join(b.dir, name) }

func (b bed) write(t *testing.T, name string, data []byte) string {
	t.Helper()

	path := b.path(name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}

	return path
}

func (b bed) read(t *testing.T, name string) []byte { return read(t, b.path(name)) }

func read(t *testing.T, path string) []byte {
	t.Helper()

	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	return data
}

func (b bed) run(t *testing.T, stdin []byte, command string, args ...string) result {
	t.Helper()

	var stdout, stderr bytes.Buffer

	// A command that hangs is a failure with a name.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = b.dir, b.env, bytes.NewReader(stdin), &stdout, &stderr

	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}

	// Paths of the run are noise in a message that somebody is going to repeat.
	line := strings.ReplaceAll(strings.Join(append([]string{filepath.Base(command)}, args...), " "), b.dir+"/", "")

	return result{line, stdout.Bytes(), stderr.Bytes(), cmd.ProcessState.ExitCode()}
}

// talmirror runs the binary under test.
func (b bed) talmirror(t *testing.T, stdin []byte, args ...string) result {
	t.Helper()

	return b.run(t, stdin, need(t, os.Getenv("TALMIRROR"), "talmirror (TALMIRROR)"), args...)
}

func (b bed) sops(t *testing.T, version string, args ...string) result {
	t.Helper()

	return b.run(t, nil, oracle(t, "sops-"+version), args...)
}

// talos asks the reference of a version.
func (b bed) talos(t *testing.T, version string, args ...string) result {
	t.Helper()

	return b.run(t, nil, oracle(t, "talos-oracle-"+version), args...)
}

// ok wants success and gives stdout.
func (r result) ok(t *testing.T) []byte {
	t.Helper()
	r.exits(t, 0)

	return r.stdout
}

func (r result) exits(t *testing.T, code int) result {
	t.Helper()

	if r.code != code {
		t.Fatalf("%s\nexpected exit code %d, got %d\nstderr: %s", r.command, code, r.code, r.stderr)
	}

	return r
}

// trees are the documents of a YAML stream, resolved; empty documents at the ends do not count.
func trees(t *testing.T, data []byte) []any {
	t.Helper()

	var out []any

	for decoder := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc any

		err := decoder.Decode(&doc)
		if err != nil && err.Error() == "EOF" {
			return out
		}

		if err != nil {
			t.Fatalf("not YAML: %v\n%s", err, data)
		}

		if doc != nil {
			out = append(out, doc)
		}
	}
}

func sameTrees(t *testing.T, what string, got, want []byte) {
	t.Helper()

	g, _ := yaml.Marshal(trees(t, got))  //nolint:errcheck // came from YAML
	w, _ := yaml.Marshal(trees(t, want)) //nolint:errcheck

	if !bytes.Equal(g, w) {
		t.Fatalf("%s: trees differ\n%s", what, diff(g, w))
	}
}

func sameBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()

	if !bytes.Equal(got, want) {
		t.Fatalf("%s: bytes differ\n%s", what, diff(got, want))
	}
}

// diff shows the lines that the other side does not have where they stand; both sides are short or nearly equal.
func diff(got, want []byte) string {
	var out strings.Builder

	for _, line := range changed(want, got) {
		fmt.Fprintf(&out, "  expected %s\n", line)
	}

	for _, line := range changed(got, want) {
		fmt.Fprintf(&out, "  got      %s\n", line)
	}

	if out.Len() == 0 {
		return "  the same lines in another order or number\n"
	}

	return out.String()
}

// changed gives the lines of a that b lacks.
func changed(a, b []byte) []string {
	have := map[string]int{}
	for _, line := range strings.Split(string(b), "\n") {
		have[line]++
	}

	var out []string

	for _, line := range strings.Split(string(a), "\n") {
		if have[line]--; have[line] < 0 {
			out = append(out, line)
		}
	}

	return out
}
