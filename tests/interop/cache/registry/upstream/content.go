package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// content is the registry with what go-containerregistry lacks: ranges other than `bytes=a-b`, the Location and the subject of what was
// written, the sha512 that was asked for, and types of referrers.
type content struct {
	blobs registry.BlobHandler
	inner http.Handler
}

func (c content) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, kind, reference := split(r.URL.Path)
	repository, upload := strings.CutSuffix(name, "/blobs")
	digest := ""

	if strings.HasPrefix(reference, "sha512:") {
		digest = reference
	}

	switch {
	case upload || kind == "blobs" && reference == "uploads":
		c.inner.ServeHTTP(&mended{w, "", "/v2/" + repository + "/blobs/"}, r)
	case kind == "blobs" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		c.blob(w, r, reference)
	case kind == "manifests" && r.Method == http.MethodPut:
		if of := subject(r); of != "" {
			w.Header().Set("OCI-Subject", of)
		}

		c.inner.ServeHTTP(&mended{w, digest, "/v2/" + name + "/manifests/"}, r)
	case kind == "manifests":
		c.inner.ServeHTTP(&mended{w, digest, ""}, r)
	case kind == "referrers" && r.Method == http.MethodGet:
		c.referrers(w, r, name)
	default:
		c.inner.ServeHTTP(w, r)
	}
}

type mended struct {
	http.ResponseWriter
	digest   string
	location string
}

func (m *mended) WriteHeader(status int) {
	if m.digest != "" && status < 300 {
		m.Header().Set("Docker-Content-Digest", m.digest)
	}

	if status == http.StatusCreated {
		m.Header().Set("Location", m.location+m.Header().Get("Docker-Content-Digest"))
	}

	m.ResponseWriter.WriteHeader(status)
}

func (c content) blob(w http.ResponseWriter, r *http.Request, reference string) {
	hash, err := v1.NewHash(reference)
	if err != nil {
		fail(w, http.StatusBadRequest, "DIGEST_INVALID")

		return
	}

	blob, err := c.blobs.Get(r.Context(), "", hash)
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
