package suite

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// changing is a registry that answers in one way after another.
type changing struct {
	url string
	way atomic.Pointer[http.HandlerFunc]
}

func newChanging(t *testing.T, way http.HandlerFunc) *changing {
	t.Helper()

	c := &changing{}
	c.way.Store(&way)

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*c.way.Load())(w, r) }))
	t.Cleanup(server.Close)
	c.url = server.URL

	return c
}

// startDockerRegistry runs Debian's docker-registry in front of an upstream, which it asks at its start.
func startDockerRegistry(t *testing.T, upstream string) string {
	t.Helper()

	command, err := exec.LookPath("docker-registry")
	if err != nil && os.Getenv("TALMIRROR_CLIENTS") != "required" {
		t.Skip("no docker-registry (Debian's package)")
	} else if err != nil {
		t.Fatal(err)
	}

	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	address := free.Addr().String()
	free.Close()

	b := newBed(t)
	config := b.write(t, "registry.yml", fmt.Appendf(nil, "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\nproxy: {remoteurl: %q}\n", b.path("registry"), address, upstream))

	cmd := exec.Command(command, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = errors.Join(cmd.Process.Kill(), cmd.Wait()) })

	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			connection.Close()

			return "http://" + address
		}

		if time.Now().After(deadline) {
			t.Fatal("docker-registry does not listen: ", err)
		}
	}
}

// TestVerifyMirrors: the same of programs that pull through, whose upstream is broken in each of the ways; `kept` images were pulled
// before it broke.
func TestVerifyMirrors(t *testing.T) {
	image := newMirrored()
	well := http.HandlerFunc(image.serve)
	ways := image.ways()
	ways["well"] = well
	ways["web page"] = func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			image.serve(w, r)

			return
		}

		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html>a portal</html>"))
	}
	// What upstream gives under a tag is another image, and a good one.
	delete(ways, "wrong manifest")

	ways["closes"] = func(w http.ResponseWriter, _ *http.Request) {
		if connection, _, err := w.(http.Hijacker).Hijack(); err == nil {
			connection.Close()
		}
	}

	for _, mirror := range []struct {
		name, kind string
		start      func(t *testing.T, upstream string) string
	}{
		{"talmirror-cache", "cache", func(t *testing.T, upstream string) string {
			t.Helper()

			return "http://" + startCache(t, "--upstream", "reg.test="+upstream).host
		}},
		{"docker-registry", "plain", startDockerRegistry},
	} {
		// One containerd for each mirror's way: what differs between them, the small servers show.
		for name, way := range ways {
			check(t, mirror.name+"/"+name, func(t *testing.T) {
				upstream := newChanging(t, well)
				url := mirror.start(t, upstream.url)
				upstream.way.Store(&way)
				sameVerdict(t, containerds[len(containerds)-1], mirror.kind, url, image)
			})
		}

		for _, version := range containerds {
			check(t, mirror.name+"/well/"+version, func(t *testing.T) {
				sameVerdict(t, version, mirror.kind, mirror.start(t, newChanging(t, well).url), image)
			})

			check(t, mirror.name+"/kept/"+version, func(t *testing.T) {
				upstream := newChanging(t, well)
				url := mirror.start(t, upstream.url)
				b := newBed(t)
				b.hosts(t, "reg.test", nowhere, via{url: url})

				if p := b.containerd(t, version, "reg.test/a/b:1"); p.code != 0 {
					t.Fatalf("the image is not pulled: %s%s", p.failed, p.story())
				}

				gone := ways["closes"]
				upstream.way.Store(&gone)
				sameVerdict(t, version, mirror.kind, url, image)
			})
		}
	}
}
