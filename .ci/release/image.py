#!/usr/bin/env python3
"""Makes the image of talmirror-cache, for each architecture, as one OCI archive: no daemon, no root, the same bytes each time.

    image.py OUT.tar VERSION BINARIES LIBRARIES DOCS ARCH...

BINARIES/ARCH/talmirror-cache is the program, LIBRARIES/ARCH/root what `libraries` unpacked, DOCS a folder of texts about licences.
Needs the package zopfli. In the image are the program, the libraries that it names and those that they name, the certificate authorities, and no shell.
"""

import hashlib
import io
import json
import os
import pathlib
import struct
import sys
import tarfile
import time

import zopfli.gzip

EPOCH = int(os.environ["SOURCE_DATE_EPOCH"])
USER = 65532
CREATED = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))
COMMIT = os.environ.get("TALMIRROR_COMMIT", "")


def elf(path):
    """Returns the interpreter and the needed libraries of a 64-bit little-endian ELF file."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        sys.exit(f"{path} is not a 64-bit ELF file")
    offset, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", data, offset + at * size) for at in range(count)]

    def place(address):
        for kind, _, start, virtual, _, length, _, _ in headers:
            if kind == 1 and virtual <= address < virtual + length:
                return start + address - virtual
        sys.exit(f"{path}: nothing is loaded at {address:#x}")

    def text(start):
        return data[start:data.index(b"\0", start)].decode()

    interpreter, needed, strings = None, [], None
    for kind, _, start, _, _, length, _, _ in headers:
        if kind == 3:
            interpreter = text(start)
        if kind == 2:
            for at in range(start, start + length, 16):
                tag, value = struct.unpack_from("<QQ", data, at)
                if tag == 1:
                    needed.append(value)
                if tag == 5:
                    strings = place(value)
    return interpreter, [text(strings + at) for at in needed]


def library(root, name):
    """Returns the path of a library, as the image has it."""
    found = sorted(path for path in root.rglob(name) if path.exists())
    if not found:
        sys.exit(f"{name} is in none of the packages: add its package to .ci/release/libraries")
    return found[0]


class Layer:
    """A tar file whose bytes depend on its content alone."""

    def __init__(self):
        self.entries = {}

    def folder(self, path, mode=0o755, user=0):
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.folder(parent)
        self.entries.setdefault(path, (tarfile.DIRTYPE, mode, user, b""))

    def file(self, path, data, mode=0o644):
        self.folder(os.path.dirname(path))
        self.entries[path] = (tarfile.REGTYPE, mode, 0, data)

    def tar(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path, (kind, mode, user, data) in sorted(self.entries.items()):
                info = tarfile.TarInfo(path)
                info.type, info.mode, info.uid, info.gid = kind, mode, user, user
                info.mtime, info.size = EPOCH, len(data)
                tar.addfile(info, io.BytesIO(data))
        return out.getvalue()


def base(root, binary, docs):
    """Returns the layer of all but the program."""
    layer = Layer()
    interpreter, queue = elf(binary)
    if interpreter is None:
        sys.exit(f"{binary} is static: the cache has to be linked against glibc")
    layer.file(interpreter.lstrip("/"), library(root, os.path.basename(interpreter)).read_bytes(), 0o755)
    seen = {os.path.basename(interpreter)}
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        path = library(root, name)
        layer.file(str(path.relative_to(root)), path.read_bytes())
        queue += elf(path)[1]
    authorities = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    if len(authorities) < 50:
        sys.exit(f"there are {len(authorities)} certificate authorities: that cannot be all")
    layer.file("etc/ssl/certs/ca-certificates.crt", b"".join(path.read_bytes() for path in authorities))
    layer.file("etc/passwd", f"root:x:0:0:root:/:/nologin\nnonroot:x:{USER}:{USER}:nonroot:/:/nologin\n".encode())
    layer.file("etc/group", f"root:x:0:\nnonroot:x:{USER}:\n".encode())
    layer.file("etc/nsswitch.conf", b"hosts: files dns\n")
    layer.folder("var/lib/talmirror-cache", 0o700, USER)
    layer.folder("tmp", 0o1777)
    for package in ["libc6", "libgcc-s1", "ca-certificates"]:
        text = root / "usr/share/doc" / package / "copyright"
        if text.exists():
            layer.file(f"usr/share/doc/{package}/copyright", text.read_bytes())
    for text in sorted(pathlib.Path(docs).iterdir()):
        layer.file(f"usr/share/doc/talmirror-cache/{text.name}", text.read_bytes())
    return layer


class Blobs:
    """Blobs by their digest, and what describes each."""

    def __init__(self):
        self.content = {}

    def add(self, media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        self.content[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def json(self, media_type, value):
        return self.add(media_type, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def main():
    out, version, binaries, libraries, docs, *architectures = sys.argv[1:]
    binaries, libraries, blobs, manifests = pathlib.Path(binaries), pathlib.Path(libraries), Blobs(), []
    kind = "application/vnd.oci.image"
    labels = {
        "org.opencontainers.image.title": "talmirror-cache",
        "org.opencontainers.image.description": "Pull-through cache for container registries",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": COMMIT,
        "org.opencontainers.image.created": CREATED,
        "org.opencontainers.image.source": "https://github.com/talmirror/talmirror",
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    }
    for architecture in architectures:
        binary = binaries / architecture / "talmirror-cache"
        program = Layer()
        program.file("usr/bin/talmirror-cache", binary.read_bytes(), 0o755)
        tars = [base(libraries / architecture / "root", binary, docs).tar(), program.tar()]
        # 3 % less than zlib for every node to pull, and the same bytes whatever zlib there is.
        packed = [zopfli.gzip.compress(tar, numiterations=5) for tar in tars]
        layers = [blobs.add(f"{kind}.layer.v1.tar+gzip", one) for one in packed]
        config = blobs.json(f"{kind}.config.v1+json", {
            "architecture": architecture,
            "os": "linux",
            "created": CREATED,
            "config": {
                "User": f"{USER}:{USER}",
                "Entrypoint": ["/usr/bin/talmirror-cache"],
                "Cmd": ["serve", "--listen", ":5000", "--metrics-listen", ":9090", "--root", "/var/lib/talmirror-cache"],
                "Env": ["PATH=/usr/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
                "ExposedPorts": {"5000/tcp": {}, "9090/tcp": {}},
                "Volumes": {"/var/lib/talmirror-cache": {}},
                "WorkingDir": "/",
                "StopSignal": "SIGTERM",
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest() for tar in tars]},
            "history": [
                {"created": CREATED, "created_by": "libraries of Debian, certificate authorities"},
                {"created": CREATED, "created_by": f"talmirror-cache {version}"},
            ],
        })
        manifest = blobs.json(f"{kind}.manifest.v1+json", {
            "schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json", "config": config, "layers": layers,
            "annotations": labels,
        })
        manifests.append({**manifest, "platform": {"os": "linux", "architecture": architecture}})
        size = sum(layer["size"] for layer in layers) + config["size"] + manifest["size"]
        print(f"image of {architecture}: {size / (1 << 20):.2f} MiB", file=sys.stderr)
    index = blobs.json(f"{kind}.index.v1+json", {
        "schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": manifests, "annotations": labels,
    })
    names = {"org.opencontainers.image.ref.name": version, "io.containerd.image.name": f"ghcr.io/talmirror/talmirror-cache:{version}"}
    layout = Layer()
    layout.file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    top = {"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": [{**index, "annotations": names}]}
    layout.file("index.json", json.dumps(top, sort_keys=True, separators=(",", ":")).encode())
    for digest, data in blobs.content.items():
        layout.file(f"blobs/sha256/{digest}", data)
    layout.entries.pop("", None)
    pathlib.Path(out).write_bytes(layout.tar())
    print(index["digest"])


main()
