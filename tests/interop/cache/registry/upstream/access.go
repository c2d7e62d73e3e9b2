package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func known(r *http.Request) bool {
	name, word, _ := r.BasicAuth()

	return name == user && word == password
}

type basic struct{ next http.Handler }

func (b basic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if known(r) {
		b.next.ServeHTTP(w, r)

		return
	}

	w.Header().Set("WWW-Authenticate", `Basic realm="upstream"`)
	fail(w, http.StatusUnauthorized, "UNAUTHORIZED")
}

// tokens gives a token for the scopes that are asked for, and lets pass whoever has one for the repository.
type tokens struct {
	next  http.Handler
	known bool // whether only to whom we know
}

const token = "s3cr3t-token."

func (t tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		t.give(w, r)

		return
	}

	var scope string
	if name, _, _ := split(r.URL.Path); name != "" {
		scope = "repository:" + name + ":pull"
	}

	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "+token)
	scopes, err := base64.RawURLEncoding.DecodeString(given)

	if ok && err == nil && (scope == "" || slices.Contains(strings.Fields(string(scopes)), scope)) {
		t.next.ServeHTTP(w, r)

		return
	}

	challenge := fmt.Sprintf(`Bearer realm="http://%s/token",service="upstream"`, r.Host)
	if scope != "" {
		challenge += fmt.Sprintf(`,scope="%s"`, scope)
	}

	w.Header().Set("WWW-Authenticate", challenge)
	fail(w, http.StatusUnauthorized, "UNAUTHORIZED")
}

func (t tokens) give(w http.ResponseWriter, r *http.Request) {
	if t.known && !known(r) {
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED")

		return
	}

	scopes := base64.RawURLEncoding.EncodeToString([]byte(strings.Join(r.URL.Query()["scope"], " ")))

	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"token": token + scopes, "expires_in": 300}) //nolint:errcheck // the client is gone
}

const signature = "s3cr3t-signature"

// redirects sends who asks for a blob that is there to the storage.
type redirects struct {
	content
	storage string
}

func (s redirects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, kind, reference := split(r.URL.Path); kind == "blobs" {
		if hash, err := v1.NewHash(reference); err == nil {
			if blob, err := s.blobs.Get(r.Context(), "", hash); err == nil {
				blob.Close()
				http.Redirect(w, r, s.storage+"/"+reference+"?signature="+signature, http.StatusTemporaryRedirect)

				return
			}
		}
	}

	s.content.ServeHTTP(w, r)
}

// storage is where redirects lead. As S3 ("Only one auth mechanism allowed"), it wants no Authorization besides the signature.
type storage struct{ content }

func (s storage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Authorization") != "":
		fail(w, http.StatusBadRequest, "DENIED")
	case r.URL.Query().Get("signature") != signature:
		fail(w, http.StatusForbidden, "DENIED")
	default:
		s.blob(w, r, strings.TrimPrefix(r.URL.Path, "/"))
	}
}
