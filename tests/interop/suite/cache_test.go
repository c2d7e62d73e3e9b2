package suite

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var containerds = []string{"2.1.5", "2.2.5", "2.3.4"}

// image is what the upstream has under a reference.
type image struct {
	Digest    string
	Objects   map[string]int64
	Manifests []string // among the objects
	Referrers []string
	Layer     string
}

// upstreams is the registry of cache/registry/upstream, one for all tests; each test asks it for addresses of its own.
type upstreams struct {
	Images         map[string]image
	User, Password string

	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

var registry = sync.OnceValues(func() (*upstreams, error) {
	cmd := exec.Command(filepath.Join(os.Getenv("TALMIRROR_ORACLES"), "cache-upstream"))
	cmd.Stderr = os.Stderr

	in, err := cmd.StdinPipe() // it ends when this process does
	if err != nil {
		return nil, err
	}

	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		return nil, err
	}

	u := &upstreams{in: in, out: bufio.NewReader(out)}

	line, err := u.out.ReadBytes('\n')
	if err != nil {
		return nil, err
	}

	return u, json.Unmarshal(line, u)
})

func seeded(t *testing.T) *upstreams {
	t.Helper()
	oracle(t, "cache-upstream")

	u, err := registry()
	if err != nil {
		t.Fatal("the upstream does not start: ", err)
	}

	return u
}

// image finds what must be there.
func (u *upstreams) image(t *testing.T, ref string) image {
	t.Helper()

	i, ok := u.Images[ref]
	if !ok {
		t.Fatalf("the upstream has no %s", ref)
	}

	return i
}

// front is an address of the upstream, and what was asked there.
type front struct{ url, journal string }

// front opens an address: open, hub, private or basic.
func (u *upstreams) front(t *testing.T, kind string) front {
	t.Helper()

	f := front{journal: filepath.Join(t.TempDir(), kind)}

	u.mu.Lock()
	defer u.mu.Unlock()

	_, err := fmt.Fprintln(u.in, kind, f.journal)
	line, failed := u.out.ReadString('\n')

	if err := errors.Join(err, failed); err != nil {
		t.Fatal("the upstream is gone: ", err)
	}

	f.url = strings.TrimSpace(line)

	return f
}

type arrival struct {
	Method, URL, Range, AcceptEncoding string
	Status                             int
	Authorization                      bool
}

func (f front) requests(t *testing.T) []arrival {
	t.Helper()
	return lines[arrival](t, read(t, f.journal))
}

// served says how many bodies went out under a URL with this part.
func (f front) served(t *testing.T, part string) (n int) {
	t.Helper()

	for _, e := range f.requests(t) {
		if e.Method == http.MethodGet && e.Status/100 == 2 && strings.Contains(e.URL, part) {
			n++
		}
	}

	return n
}

func lines[T any](t *testing.T, data []byte) (out []T) {
	t.Helper()

	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var one T

		switch err := d.Decode(&one); {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			t.Fatalf("not JSON: %v\n%s", err, data)
		}

		out = append(out, one)
	}
}

// cache is a running talmirror-cache.
type cache struct {
	bed
	host string
}

// startCache runs talmirror-cache with flags; it must say where it listens, drain at SIGTERM, and print no secret.
func startCache(t *testing.T, flags ...string) cache {
	t.Helper()

	c := cache{bed: newBed(t)}
	cmd := exec.Command(need(t, os.Getenv("TALMIRROR_CACHE"), "talmirror-cache (TALMIRROR_CACHE)"),
		append([]string{"serve", "--listen", "127.0.0.1:0", "--root", c.path("cache")}, flags...)...)
	cmd.Dir, cmd.Env = c.dir, c.env

	said, err := cmd.StderrPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}

	address := regexp.MustCompile(`listening on https?://(127\.0\.0\.1:\d+)`)
	bound, story, ended := make(chan string, 1), strings.Builder{}, make(chan struct{})

	go func() {
		defer close(ended)
		defer close(bound)

		found := false

		for lines := bufio.NewScanner(said); lines.Scan(); {
			fmt.Fprintln(&story, lines.Text())

			if host := address.FindStringSubmatch(lines.Text()); host != nil && !found {
				found = true
				bound <- host[1]
			}
		}
	}()

	t.Cleanup(func() {
		stop := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() }) //nolint:errcheck // Wait says it
		defer stop.Stop()

		err := cmd.Process.Signal(syscall.SIGTERM)
		<-ended

		if err := errors.Join(err, cmd.Wait()); err != nil {
			t.Errorf("talmirror-cache at its end: %v", err)
		}

		if strings.Contains(story.String(), "s3cr3t") {
			t.Error("talmirror-cache prints a secret")
		}

		if t.Failed() {
			t.Logf("talmirror-cache said:\n%s", story.String())
		}
	})

	select {
	case host, ok := <-bound:
		if !ok {
			t.Fatal("talmirror-cache ends at once")
		}

		c.host = host
	case <-time.After(20 * time.Second):
		t.Fatal("talmirror-cache does not say where it listens")
	}

	return c
}

// via is a host of a hosts.toml.
type via struct {
	url          string
	override     bool
	capabilities []string // besides those that Talos gives
}

// hosts writes the directory of a registry in a hosts directory: mirrors in their order, and what comes after them.
func (b bed) hosts(t *testing.T, registry, server string, mirrors ...via) string {
	t.Helper()

	text := fmt.Sprintf("server = %q\n", server)
	for _, m := range mirrors {
		text += fmt.Sprintf("[host.%q]\ncapabilities = [\"%s\"]\noverride_path = %v\n",
			m.url, strings.Join(append([]string{"pull", "resolve"}, m.capabilities...), `", "`), m.override)
	}

	if host, port, ok := strings.Cut(registry, ":"); ok {
		registry = host + "_" + port + "_"
	}

	b.write(t, "hosts/"+registry+"/hosts.toml", []byte(text))

	return b.path("hosts")
}

// nowhere is a server that must not be asked.
const nowhere = "http://127.0.0.1:1"

// pull is what containerd did, and got.
type pull struct {
	result
	resolved  string
	objects   map[string]int64
	referrers []string
	requests  []request
	failed    string
}

type request struct {
	Method, URL, Range, Protocol, Error string
	Status                              int
	Authorization                       bool
	Header                              http.Header
}

func (b bed) containerd(t *testing.T, version string, flags ...string) (p pull) {
	t.Helper()

	store, err := os.MkdirTemp(b.dir, "store")
	if err != nil {
		t.Fatal(err)
	}

	p.result = b.run(t, nil, oracle(t, "cache-containerd-"+version), append([]string{"--store", store, "--hosts", b.path("hosts")}, flags...)...)
	p.objects = map[string]int64{}

	for _, l := range lines[struct {
		request
		Event, Digest string
		Size          int64
		Digests       []string
	}](t, p.stdout) {
		switch l.Event {
		case "request":
			p.requests = append(p.requests, l.request)
		case "resolved":
			p.resolved = l.Digest
		case "object":
			p.objects[l.Digest] = l.Size
		case "referrers":
			p.referrers = l.Digests
		case "failed":
			p.failed = l.request.Error
		}
	}

	return p
}

// has wants the whole image, and each byte verified.
func (p pull) has(t *testing.T, want image) pull {
	t.Helper()

	if p.code != 0 || p.resolved != want.Digest || !maps.Equal(p.objects, want.Objects) {
		t.Fatalf("%s\nexit code %d: %s\nexpected %s: %v\ngot      %s: %v\nrequests: %s",
			p.command, p.code, p.failed, want.Digest, want.Objects, p.resolved, p.objects, p.story())
	}

	return p
}

// from wants every request answered well by a host.
func (p pull) from(t *testing.T, host string) pull {
	t.Helper()

	for _, r := range p.requests {
		if _, where, _ := strings.Cut(r.URL, "://"); !strings.HasPrefix(where, host+"/") || r.Status/100 != 2 || r.Protocol != "HTTP/1.1" {
			t.Errorf("%s\n%s is not the only one who answers: %s", p.command, host, p.story())

			break
		}
	}

	return p
}

func (p pull) story() string {
	var out strings.Builder
	for _, r := range p.requests {
		fmt.Fprintf(&out, "\n  %s %s %s: %d %s", r.Method, r.URL, r.Range, r.Status, r.Error)
	}

	return out.String()
}

// crane runs cache/registry/crane.
func (b bed) crane(t *testing.T, args ...string) result {
	t.Helper()

	return b.run(t, nil, oracle(t, "cache-crane"), args...)
}

// words of what a command printed.
func (r result) words(t *testing.T) []string { t.Helper(); return strings.Fields(string(r.ok(t))) }

func sorted(words []string) []string { return slices.Sorted(slices.Values(words)) }
