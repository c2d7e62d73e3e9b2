#!/usr/bin/env python3
"""Writes what a release is made of: a CycloneDX document, and the texts of all licences.

    sbom.py OUT.cdx.json LICENCES.txt VERSION [PACKAGES...]

Crates are those that the two programs are linked of, on Linux, beside Rust's standard library and, of zig, musl and what its compiler adds;
each PACKAGES is a file of lines of name, version and SHA-256, as `libraries` leaves it, named ARCH/packages.
"""

import hashlib
import html
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import uuid

TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"]
TEXTS = re.compile(r"^(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)


def crates():
    """Returns every crate that is linked on any target, and which crates each uses."""
    packages, uses, root = {}, {}, None
    for target in TARGETS:
        command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
        data = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        known = {package["id"]: package for package in data["packages"]}
        nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
        root = data["resolve"]["root"]
        queue, seen = [root], set()
        while queue:
            at = queue.pop()
            if at in seen:
                continue
            seen.add(at)
            packages[at] = known[at]
            # Not what only tests need, nor what runs while it is built.
            needed = [dep["pkg"] for dep in nodes[at]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
            uses.setdefault(at, set()).update(needed)
            queue += needed
    return packages, uses, root


def checksums():
    text = pathlib.Path("Cargo.lock").read_text()
    found = re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"\nsource = "[^"]+"\nchecksum = "([0-9a-f]+)"', text)
    return {(name, version): checksum for name, version, checksum in found}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def said(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def toolchain():
    """Returns what compilers add to a program: name, version, licence, and the texts of it."""
    rust = pathlib.Path(said("rustc", "--print", "sysroot")) / "share/doc/rust/COPYRIGHT-library.html"
    page = re.sub(r"<(script|style).*?</\1>", "", rust.read_text(), flags=re.DOTALL)
    page = re.sub(r"\n\s*\n+", "\n\n", html.unescape(re.sub(r"<[^>]+>", "", page)))
    zig = pathlib.Path(said("python-zig", "env").split('.lib_dir = "')[1].split('"')[0])
    texts = [(zig.parent / "LICENSE").read_text(), (zig / "libunwind/LICENSE.TXT").read_text()]
    return [
        ("rust-std", said("rustc", "--version").split()[1], "MIT OR Apache-2.0", [page]),
        ("musl", f"of zig {said('python-zig', 'version')}", "MIT", [(zig / "libc/musl/COPYRIGHT").read_text()]),
        ("zig", said("python-zig", "version"), "MIT", texts),
    ]


def main():
    out, licences, version, *lists = sys.argv[1:]
    packages, uses, root = crates()
    sums = checksums()
    own = {"type": "application", "name": "talmirror", "version": version, "bom-ref": f"pkg:cargo/talmirror@{version}",
           "purl": f"pkg:cargo/talmirror@{version}", "licenses": [{"expression": "MIT OR Apache-2.0"}]}
    order = sorted((package for at, package in packages.items() if at != root), key=lambda one: (one["name"], one["version"]))
    components = []
    for package in order:
        component = {"type": "library", "name": package["name"], "version": package["version"], "bom-ref": purl(package),
                     "purl": purl(package)}
        if package["license"]:
            component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        checksum = sums.get((package["name"], package["version"]))
        if checksum:
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        components.append(component)
    added = toolchain()
    for name, release, licence, _ in added:
        components.append({"type": "library", "name": name, "version": release, "bom-ref": f"{name}@{release}",
                           "licenses": [{"expression": licence}]})
    for path in map(pathlib.Path, lists):
        for line in path.read_text().splitlines():
            name, release, checksum = line.split()
            reference = f"pkg:deb/debian/{name}@{release}?arch={path.parent.name}"
            components.append({"type": "library", "name": name, "version": release, "bom-ref": reference, "purl": reference,
                               "hashes": [{"alg": "SHA-256", "content": checksum}]})
    references = {at: own["bom-ref"] if at == root else purl(package) for at, package in packages.items()}
    dependencies = [{"ref": references[at], "dependsOn": sorted(references[used] for used in used_by)} for at, used_by in uses.items()]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))),
            "component": own,
        },
        "components": components,
        "dependencies": sorted(dependencies, key=lambda one: one["ref"]),
    }
    # A name that depends on the content alone, so that the same release has the same one.
    content = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    pathlib.Path(out).write_text(json.dumps(document, indent=1) + "\n")

    texts, without = {}, []
    for package in order:
        folder = pathlib.Path(package["manifest_path"]).parent
        found = sorted(path for path in folder.iterdir() if path.is_file() and TEXTS.match(path.name))
        if package["license_file"] and (folder / package["license_file"]).is_file():
            found = sorted({*found, folder / package["license_file"]})
        name = f"{package['name']} {package['version']} ({package['license'] or 'see its text'})"
        if not found:
            without.append(name)
        for path in found:
            text = path.read_text(errors="replace").replace("\r\n", "\n").strip()
            texts.setdefault(text, []).append(name)
    for name, release, licence, its in added:
        for text in its:
            texts.setdefault(text.replace("\r\n", "\n").strip(), []).append(f"{name} {release} ({licence})")
    with open(licences, "w") as file:
        file.write("talmirror and talmirror-cache are made of these crates and libraries, under these licences.\n")
        for text, names in sorted(texts.items(), key=lambda item: item[1]):
            file.write(f"\n{'=' * 100}\n" + "\n".join(sorted(set(names))) + f"\n{'-' * 100}\n{text}\n")
        if without:
            file.write(f"\n{'=' * 100}\nThese bring no text; their licence is the one that is named:\n" + "\n".join(without) + "\n")


main()
