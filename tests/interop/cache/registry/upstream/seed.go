package main

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"math/rand"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image is what a reference stands for, with everything below it.
type image struct {
	Digest    string           `json:"digest"`
	Objects   map[string]int64 `json:"objects"`             // manifests, configs and layers of every platform
	Manifests []string         `json:"manifests"`           // among the objects
	Referrers []string         `json:"referrers,omitempty"` // digests
	Layer     string           `json:"layer,omitempty"`     // the largest
}

// seed fills the registry at host; the bytes are the same in every run.
func seed(host string) (map[string]image, error) {
	s := seeder{host: host, random: rand.New(rand.NewSource(1)), images: map[string]image{}}

	docker := s.image(types.DockerManifestSchema2, 4<<10, 200<<10)
	s.push("library/single:1", docker)
	s.push("library/single:latest", docker)
	s.push("library/multi:1", s.index())
	s.push("library/big:1", s.image(types.OCIManifestSchema1, 64<<20, 1<<10))
	s.push("library/big:2", s.image(types.OCIManifestSchema1, 24<<20))
	s.push("group/sub/team/deep:1", s.image(types.OCIManifestSchema1, 8<<10))
	s.signed("signed/app:1")
	s.signed("conformance/pull:1")
	s.push("conformance/pull:2", s.image(types.OCIManifestSchema1, 2048))
	s.put("conformance/pull", "blobs", "", "sha256:"+emptySHA256, nil)
	s.push("conformance/pull:multi", s.index())
	s.sha512("library/strong")

	return s.images, s.err
}

type seeder struct {
	host   string
	random *rand.Rand
	images map[string]image
	err    error
}

func (s *seeder) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *seeder) reference(ref string) name.Reference {
	r, err := name.ParseReference(s.host+"/"+ref, name.Insecure)
	s.fail(err)

	return r
}

// image is one for linux/amd64 with layers of about these sizes.
func (s *seeder) image(kind types.MediaType, sizes ...int64) v1.Image {
	return s.platform("amd64", kind, sizes...)
}

func (s *seeder) platform(architecture string, kind types.MediaType, sizes ...int64) v1.Image {
	base, config, layer := v1.Image(empty.Image), types.DockerConfigJSON, types.DockerUncompressedLayer
	if kind == types.OCIManifestSchema1 {
		config, layer = types.OCIConfigJSON, types.OCIUncompressedLayer
	}

	for _, size := range sizes {
		l, err := random.Layer(size, layer, random.WithSource(s.random))
		s.fail(err)

		image, err := mutate.Append(base, mutate.Addendum{Layer: l})
		s.fail(err)
		base = image
	}

	file, err := base.ConfigFile()
	s.fail(err)

	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", architecture
	base, err = mutate.ConfigFile(base, file)
	s.fail(err)

	return mutate.ConfigMediaType(mutate.MediaType(base, kind), config)
}

func (s *seeder) index() v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)

	for _, architecture := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        s.platform(architecture, types.OCIManifestSchema1, 3<<10, 5<<10),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}

	return index
}

// push writes an image or an index, and remembers what it is made of.
func (s *seeder) push(ref string, what remote.Taggable) image {
	if s.err != nil {
		return image{}
	}

	r := s.reference(ref)
	out := image{Objects: map[string]int64{}}

	switch what := what.(type) {
	case v1.Image:
		s.fail(remote.Write(r, what))
		s.walk(&out, what)
	case v1.ImageIndex:
		s.fail(remote.WriteIndex(r, what))

		manifest, err := what.IndexManifest()
		s.fail(err)
		out.Manifests = append(out.Manifests, s.add(&out, what))

		for _, child := range manifest.Manifests {
			img, err := what.Image(child.Digest)
			s.fail(err)
			s.walk(&out, img)
		}
	}

	digest, err := what.(interface{ Digest() (v1.Hash, error) }).Digest()
	s.fail(err)

	out.Digest = digest.String()
	s.images[ref] = out

	return out
}

func (s *seeder) walk(out *image, img v1.Image) {
	out.Manifests = append(out.Manifests, s.add(out, img))

	config, err := img.RawConfigFile()
	s.fail(err)

	digest, err := img.ConfigName()
	s.fail(err)

	out.Objects[digest.String()] = int64(len(config))

	layers, err := img.Layers()
	s.fail(err)

	for _, layer := range layers {
		digest := s.add(out, layer)
		if out.Layer == "" || out.Objects[digest] > out.Objects[out.Layer] {
			out.Layer = digest
		}
	}
}

func (s *seeder) add(out *image, what interface {
	Digest() (v1.Hash, error)
	Size() (int64, error)
}) string {
	digest, err := what.Digest()
	s.fail(err)

	size, err := what.Size()
	s.fail(err)

	out.Objects[digest.String()] = size

	return digest.String()
}

// signed is an image with two referrers and a signature under cosign's tag.
func (s *seeder) signed(ref string) {
	img := s.image(types.OCIManifestSchema1, 6<<10)
	out := s.push(ref, img)
	repository, _, _ := strings.Cut(ref, ":")

	subject, err := partial.Descriptor(img)
	if err != nil {
		s.fail(err)

		return
	}

	for _, artifact := range []types.MediaType{"application/vnd.example.sbom", "application/vnd.example.signature"} {
		referrer := mutate.ConfigMediaType(s.image(types.OCIManifestSchema1, 512), artifact)
		referrer = mutate.Annotations(referrer, map[string]string{"of": ref}).(v1.Image)
		referrer = mutate.Subject(referrer, *subject).(v1.Image) // last: the others forget it

		digest, err := referrer.Digest()
		s.fail(err)

		if s.err != nil {
			return
		}

		s.fail(remote.Write(s.reference(repository+"@"+digest.String()), referrer))
		out.Referrers = append(out.Referrers, digest.String())
	}

	s.images[ref] = out
	s.push(repository+":"+strings.Replace(out.Digest, ":", "-", 1)+".sig", s.image(types.OCIManifestSchema1, 256))
}

// emptySHA256 is the digest of a blob of no bytes.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// sha512 is an image that is named by the other digest, and whose parts are.
func (s *seeder) sha512(repository string) {
	out := image{Objects: map[string]int64{}}
	add := func(kind, media string, body []byte) string {
		sum := sha512.Sum512(body)
		digest := "sha512:" + hex.EncodeToString(sum[:])
		out.Objects[digest] = int64(len(body))
		s.put(repository, kind, media, digest, body)

		return digest
	}

	layer := make([]byte, 9000)
	s.random.Read(layer) //nolint:errcheck // gives none

	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		types.OCIManifestSchema1,
		types.OCIConfigJSON, add("blobs", "", config), len(config),
		types.OCIUncompressedLayer, add("blobs", "", layer), len(layer))

	out.Digest = add("manifests", string(types.OCIManifestSchema1), manifest)
	out.Manifests = []string{out.Digest}
	s.images[repository+"@"+out.Digest] = out
}

// put writes what go-containerregistry's client has no words for.
func (s *seeder) put(repository, kind, media, digest string, body []byte) {
	method, url := http.MethodPut, "http://"+s.host+"/v2/"+repository+"/manifests/"+digest
	if kind == "blobs" {
		method, url = http.MethodPost, "http://"+s.host+"/v2/"+repository+"/blobs/uploads/?digest="+digest
	}

	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		s.fail(err)

		return
	}

	request.Header.Set("Content-Type", media)

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.fail(err)

		return
	}
	defer response.Body.Close()

	if response.StatusCode != http.StatusCreated {
		s.fail(fmt.Errorf("%s: %s", url, response.Status))
	}
}
