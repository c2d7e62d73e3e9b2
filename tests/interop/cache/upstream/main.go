// Command upstream is a registry with known content, for a cache to pull from: go-containerregistry's, behind what registries of
// the field put before it.
//
//	upstream --log FILE    prints one line of JSON, what there is and where, and serves until its standard input ends
//
// The same content at four addresses: `open` asks for nothing; `hub` wants a token, which anybody gets, and sends blobs on to a
// storage that takes no Authorization, as Docker Hub does; `private` gives tokens to whom it knows; `basic` wants Basic.
// Every request is a line of JSON in FILE.
package main

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	user     = "upstream"
	password = "s3cr3t-upstream"
	token    = "s3cr3t-token"
)

func main() {
	file := flag.String("log", os.DevNull, "where requests are written down")
	flag.Parse()

	if err := run(*file); err != nil {
		log.Fatal(err)
	}
}

func run(file string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}

	blobs := registry.NewInMemoryBlobHandler()
	u := &upstream{
		blobs: blobs,
		inner: registry.New(registry.WithBlobHandler(blobs), registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))),
		log:   out,
		at:    map[string]string{},
	}

	for _, l := range []struct {
		name    string
		handler http.HandlerFunc
	}{{"open", u.open}, {"storage", u.storage}, {"hub", u.hub}, {"private", u.private}, {"basic", u.basic}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}

		u.at[l.name] = "http://" + listener.Addr().String()
		go http.Serve(listener, u.logged(l.name, l.handler)) //nolint:errcheck // ends with the process
	}

	images, err := seed(strings.TrimPrefix(u.at["open"], "http://"))
	if err != nil {
		return err
	}

	// What the seed asked for is nothing that a test did.
	if err := out.Truncate(0); err != nil {
		return err
	}

	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"at": u.at, "images": images, "user": user, "password": password}); err != nil {
		return err
	}

	_, err = io.Copy(io.Discard, os.Stdin)

	return err
}

type upstream struct {
	blobs registry.BlobHandler
	inner http.Handler
	at    map[string]string

	mu  sync.Mutex
	log *os.File
}

type entry struct {
	Listener      string `json:"listener"`
	Method        string `json:"method"`
	Path          string `json:"path"`
	Range         string `json:"range,omitempty"`
	Authorization bool   `json:"authorization"`
	Encoding      string `json:"acceptEncoding,omitempty"`
	Status        int    `json:"status"`
}

type answer struct {
	http.ResponseWriter
	status int
	digest string
}

func (a *answer) WriteHeader(status int) {
	a.status = status

	if a.digest != "" && status < 300 {
		a.Header().Set("Docker-Content-Digest", a.digest)
	}

	a.ResponseWriter.WriteHeader(status)
}

// logged writes a request down when it is answered, before its body has gone.
func (u *upstream) logged(listener string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: w, status: http.StatusOK}
		e := entry{
			Listener: listener, Method: r.Method, Path: r.URL.RequestURI(), Range: r.Header.Get("Range"),
			Authorization: r.Header.Get("Authorization") != "", Encoding: r.Header.Get("Accept-Encoding"),
		}

		defer func() {
			e.Status = a.status
			line, _ := json.Marshal(e) //nolint:errcheck // strings and numbers

			u.mu.Lock()
			defer u.mu.Unlock()

			// A file that was truncated is written at its end.
			if _, err := u.log.Seek(0, io.SeekEnd); err == nil {
				u.log.Write(append(line, '\n')) //nolint:errcheck // a test that misses the line says so
			}
		}()

		next(a, r)
	})
}

// open is the registry. Blobs go the way of net/http, which knows every form of range; go-containerregistry knows `bytes=a-b`.
func (u *upstream) open(w http.ResponseWriter, r *http.Request) {
	name, kind, reference := split(r.URL.Path)

	switch {
	case kind == "blobs" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		u.blob(w, r, name, reference)
	case kind == "manifests" && strings.HasPrefix(reference, "sha512:"):
		w.(*answer).digest = reference // it would say the sha256
		u.inner.ServeHTTP(w, r)
	default:
		u.inner.ServeHTTP(w, r)
	}
}

func (u *upstream) blob(w http.ResponseWriter, r *http.Request, name, reference string) {
	hash, err := v1.NewHash(reference)
	if err != nil {
		fail(w, http.StatusBadRequest, "DIGEST_INVALID")

		return
	}

	blob, err := u.blobs.Get(r.Context(), name, hash)
	if err != nil {
		fail(w, http.StatusNotFound, "BLOB_UNKNOWN")

		return
	}
	defer blob.Close()

	w.Header().Set("Docker-Content-Digest", hash.String())
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+hash.String()+`"`)
	http.ServeContent(w, r, "", time.Time{}, blob.(io.ReadSeeker))
}

// storage serves what hub redirects to.
func (u *upstream) storage(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Authorization") != "": // S3: "Only one auth mechanism allowed"
		fail(w, http.StatusBadRequest, "DENIED")
	case r.URL.Query().Get("signature") != "s3cr3t-signature":
		fail(w, http.StatusForbidden, "DENIED")
	default:
		u.blob(w, r, "", strings.TrimPrefix(r.URL.Path, "/"))
	}
}

func (u *upstream) hub(w http.ResponseWriter, r *http.Request) {
	if !u.bearer(w, r, "hub", func(*http.Request) bool { return true }) {
		return
	}

	if _, kind, reference := split(r.URL.Path); kind == "blobs" {
		hash, err := v1.NewHash(reference)
		if err == nil {
			_, err = u.blobs.(registry.BlobStatHandler).Stat(r.Context(), "", hash)
		}

		if err == nil {
			http.Redirect(w, r, u.at["storage"]+"/"+reference+"?signature=s3cr3t-signature", http.StatusTemporaryRedirect)

			return
		}
	}

	u.open(w, r)
}

func (u *upstream) private(w http.ResponseWriter, r *http.Request) {
	if u.bearer(w, r, "private", known) {
		u.open(w, r)
	}
}

func (u *upstream) basic(w http.ResponseWriter, r *http.Request) {
	if !known(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="upstream"`)
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED")

		return
	}

	u.open(w, r)
}

func known(r *http.Request) bool {
	name, word, _ := r.BasicAuth()

	return name == user && word == password
}

// bearer gives tokens, and lets pass whoever has the one for what is asked.
func (u *upstream) bearer(w http.ResponseWriter, r *http.Request, listener string, may func(*http.Request) bool) bool {
	name, _, _ := split(r.URL.Path)

	if r.URL.Path == "/token" {
		if !may(r) {
			fail(w, http.StatusUnauthorized, "UNAUTHORIZED")

			return false
		}

		scopes := strings.Join(r.URL.Query()["scope"], " ")
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"token": seal(listener, scopes), "expires_in": 300}) //nolint:errcheck // the client is gone

		return false
	}

	scope := "repository:" + name + ":pull"
	if name == "" {
		scope = ""
	}

	if given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && opens(given, listener, scope) {
		return true
	}

	challenge := fmt.Sprintf(`Bearer realm="%s/token",service="upstream"`, u.at[listener])
	if scope != "" {
		challenge += fmt.Sprintf(`,scope="%s"`, scope)
	}

	w.Header().Set("WWW-Authenticate", challenge)
	fail(w, http.StatusUnauthorized, "UNAUTHORIZED")

	return false
}

func seal(listener, scopes string) string {
	return token + "." + base64.RawURLEncoding.EncodeToString([]byte(listener+" "+scopes))
}

func opens(given, listener, scope string) bool {
	secret, rest, _ := strings.Cut(given, ".")
	granted, err := base64.RawURLEncoding.DecodeString(rest)
	words := strings.Fields(string(granted))

	if err != nil || secret != token || len(words) == 0 || words[0] != listener {
		return false
	}

	for _, word := range words[1:] {
		if word == scope {
			return true
		}
	}

	return scope == ""
}

// split takes /v2/NAME/KIND/REFERENCE apart.
func split(path string) (name, kind, reference string) {
	words := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	if !strings.HasPrefix(path, "/v2/") || len(words) < 3 {
		return "", "", ""
	}

	n := len(words)

	return strings.Join(words[:n-2], "/"), words[n-2], words[n-1]
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"the upstream says no"}]}`, code) //nolint:errcheck // the client is gone
}

