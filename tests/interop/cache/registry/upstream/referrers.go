package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// referrers lists them as the specification has it: by the artifactType of a manifest before the type of its config, filtered when that
// is asked for, and none where there is no repository.
func (c content) referrers(w http.ResponseWriter, r *http.Request, name string) {
	got := c.get(r.URL.Path)
	if got.Code != http.StatusOK && got.Code != http.StatusNotFound {
		w.WriteHeader(got.Code)
		w.Write(got.Body.Bytes()) //nolint:errcheck // the client is gone

		return
	}

	var listed v1.IndexManifest
	if got.Code == http.StatusOK {
		json.Unmarshal(got.Body.Bytes(), &listed) //nolint:errcheck // the registry's own
	}

	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	wanted := r.URL.Query().Get("artifactType")

	for _, d := range listed.Manifests {
		var manifest struct {
			ArtifactType string `json:"artifactType"`
		}

		json.Unmarshal(c.get("/v2/"+name+"/manifests/"+d.Digest.String()).Body.Bytes(), &manifest) //nolint:errcheck // the registry's own

		if manifest.ArtifactType != "" {
			d.ArtifactType = manifest.ArtifactType
		}

		if wanted == "" || wanted == d.ArtifactType {
			index.Manifests = append(index.Manifests, d)
		}
	}

	if wanted != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}

	w.Header().Set("Content-Type", string(types.OCIImageIndex))
	json.NewEncoder(w).Encode(index) //nolint:errcheck // the client is gone
}

// get asks the registry itself.
func (c content) get(path string) *httptest.ResponseRecorder {
	got := httptest.NewRecorder()
	c.inner.ServeHTTP(got, httptest.NewRequest(http.MethodGet, path, nil))

	return got
}

// subject says what a manifest refers to, and gives its body back to the request.
func subject(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}

	r.Body = io.NopCloser(bytes.NewReader(body))

	var manifest struct{ Subject struct{ Digest string } }
	if json.Unmarshal(body, &manifest) != nil {
		return ""
	}

	return manifest.Subject.Digest
}
