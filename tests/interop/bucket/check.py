#!/usr/bin/env python3
"""Caches over one bucket of a real store: what one fetched, another reads from there; three fetch a cold blob once between them, also
when the one that fetches is killed. Clients are sent to the store with an address that it takes. What is in the bucket is listed and checked. What no
image needs goes, and what is named, where files of the store can be changed and made older than they are.

  check.py TALMIRROR_CACHE versitygw PROGRAM
  check.py TALMIRROR_CACHE seaweedfs PROGRAM

Everything listens on loopback, on free ports, in a folder that is removed at the end. Ends with 1 where something is wrong.
"""
import hashlib
import hmac
import http.client
import http.server
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

KEY, SECRET = "AKTEST", "secret-of-the-store"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def free_port():
    """A port to which 10,000 can be added: SeaweedFS does, for its own protocol."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        if port < 50000:
            return port


class Registry(http.server.BaseHTTPRequestHandler):
    """A registry of one repository; it counts what it is asked for."""

    protocol_version = "HTTP/1.1"
    objects, counts, asked, slow = {}, {}, [], set()

    def do_GET(self):
        self.counts[self.path] = self.counts.get(self.path, 0) + 1
        name = self.path.rsplit("/", 1)[-1]
        if name in self.slow and self.command == "GET":
            return self.slowly(Registry.objects[name][1])
        found = self.objects.get(name)
        kind, body = found or ("application/json", b'{"errors":[{"code":"BLOB_UNKNOWN"}]}')
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if found:
            self.send_header("Docker-Content-Digest", digest(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def slowly(self, body):
        """A blob, or the rest of one, at 8 MiB/s."""
        wanted = self.headers.get("Range")
        self.asked.append(wanted or "all")
        first = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        try:
            for at in range(first, len(body), 256 << 10):
                self.wfile.write(body[at : at + (256 << 10)])
                time.sleep(1 / 32)
        except OSError:
            pass  # the cache was killed

    def log_message(self, *_):
        pass


def digest(body):
    return "sha256:" + hashlib.sha256(body).hexdigest()


def wait(what, so, seconds=60):
    end = time.monotonic() + seconds
    while not so():
        if time.monotonic() > end:
            sys.exit(f"FAILED  in vain: {what}")
        time.sleep(0.05)


def answers(url):
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def versitygw(program, folder, port):
    data = os.path.join(folder, "store")
    os.makedirs(data)
    env = {"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
    return [program, "--port", f"127.0.0.1:{port}", "posix", data], env


def seaweedfs(program, folder, port):
    config = os.path.join(folder, "s3.json")
    who = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin", "Read", "Write", "List"]}
    with open(config, "w", encoding="utf8") as file:
        json.dump({"identities": [who]}, file)
    data = os.path.join(folder, "store")
    os.makedirs(data)
    ports = [f"-master.port={free_port()}", f"-volume.port={free_port()}", "-filer", f"-filer.port={free_port()}", "-s3", f"-s3.port={port}"]
    rest = [f"-s3.config={config}", "-master.telemetry=false", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    return [program, "server", f"-dir={data}", *ports, *rest], {"PATH": os.environ["PATH"], "HOME": folder}


def make_bucket(url):
    """Makes the bucket with a signature of version 4, for which no library has to be there."""
    host, now = url.split("//")[1], time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    day, empty = now[:8], hashlib.sha256(b"").hexdigest()
    names = "host;x-amz-content-sha256;x-amz-date"
    request = f"PUT\n/images\n\nhost:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{now}\n\n{names}\n{empty}"
    scope = f"{day}/us-east-1/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + SECRET.encode()
    for part in (day, "us-east-1", "s3", "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    headers = {
        "x-amz-content-sha256": empty,
        "x-amz-date": now,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={key.hex()}",
    }
    try:
        urllib.request.urlopen(urllib.request.Request(f"{url}/images", method="PUT", headers=headers), timeout=10).close()
    except urllib.error.HTTPError as error:
        return error.code == 409  # it is there
    except OSError:
        return False
    return True


def environment(folder):
    env = {"PATH": os.environ["PATH"], "HOME": folder, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    # Collections take minutes otherwise.
    return {**env, "TALMIRROR_CACHE_BUCKET_HASTE": "30"}


class Cache:
    def __init__(self, program, folder, store, upstream, secret=None, flags=()):
        self.program, self.folder = program, folder
        command = [program, "serve", "--root", folder, "--listen", "127.0.0.1:0", "--upstream", f"docker.io={upstream}"]
        command += ["--bucket", "s3://images/talmirror", "--s3-endpoint", store, "--s3-path-style"]
        command += flags
        if secret:
            command += ["--peer-listen", "127.0.0.1:0", "--peer-secret", secret]
        self.process = subprocess.Popen(command, env=environment(folder), stderr=subprocess.PIPE, text=True)
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            if line.startswith("listening on "):
                self.url = line.split()[2]
                break
        else:
            sys.exit("FAILED  the cache does not start:\n" + "".join(self.log))
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()

    def get(self, path):
        with urllib.request.urlopen(self.url + "/v2/docker.io/library/x/" + path, timeout=120) as answer:
            return answer.headers["X-Cache"], answer.read()

    def stats(self):
        said = subprocess.run([self.program, "stats", "--root", self.folder, "-o", "json"], capture_output=True, text=True, check=True)
        return json.loads(said.stdout)

    def bucket(self):
        return self.stats()["bucket"]

    def reaches(self):
        return sum(member["reached"] for member in self.stats()["peers"]["members"])

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


def main():
    program, kind, store_program = sys.argv[1:4]
    chance = random.Random(1)
    layers = [chance.randbytes(size) for size in (1000, 3 << 20, 64 << 20)]
    config = b"{}"
    described = [{"mediaType": "application/octet-stream", "digest": digest(one), "size": len(one)} for one in layers]
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": "application/json", "digest": digest(config), "size": 2}, "layers": described}).encode()
    for one in [*layers, config]:
        Registry.objects[digest(one)] = ("application/octet-stream", one)
    Registry.objects[digest(manifest)] = Registry.objects["1.0.0"] = (MANIFEST, manifest)
    registry = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=registry.serve_forever, daemon=True).start()
    upstream = f"http://127.0.0.1:{registry.server_port}"
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command, env = {"versitygw": versitygw, "seaweedfs": seaweedfs}[kind](store_program, folder, port)
        log = open(os.path.join(folder, "store.log"), "wb")
        store = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        caches = []
        try:
            url = f"http://127.0.0.1:{port}"
            wait(f"{kind} serves", lambda: answers(url))
            wait("the bucket is made", lambda: make_bucket(url))
            check(program, folder, url, upstream, layers, manifest, caches)
        finally:
            for cache in caches:
                cache.process.kill()
            store.kill()
            store.wait()
            registry.shutdown()
    print(f"ok      {kind}")


def check(program, folder, store, upstream, layers, manifest, caches):
    def pull(cache, want):
        begun = time.monotonic()
        came = [cache.get("manifests/1.0.0")] + [cache.get(f"blobs/{digest(one)}") for one in layers]
        took = time.monotonic() - begun
        if [body for _, body in came] != [manifest, *layers]:
            sys.exit("FAILED  other bytes came")
        if [where for where, _ in came] != [want] * len(came):
            sys.exit(f"FAILED  {[where for where, _ in came]} instead of {want}: {cache.bucket()}\n{''.join(cache.log)}")
        print(f"ok      {want}: {took * 1000:.0f} ms for {sum(map(len, layers)) >> 20} MiB")

    def start(name):
        cache = Cache(program, os.path.join(folder, name), store, upstream)
        caches.append(cache)
        return cache

    first = start("first")
    pull(first, "MISS")
    # What a client has read to its end is kept, and then written, a moment later.
    whole = sum(map(len, layers))
    wait("all is written", lambda: first.bucket()["sentBytes"] >= whole and first.bucket()["pending"] == 0)
    state = first.bucket()
    if state["conditionalWrites"] is not True or state["trouble"] or state["dropped"]:
        sys.exit(f"FAILED  {state}")
    print("ok      conditional writes are enforced")
    Registry.counts.clear()
    second = start("second")
    pull(second, "BUCKET")
    wait("nothing is to be written", lambda: second.bucket()["pending"] == 0)
    asked = []
    for _ in range(3):
        before = second.bucket()["requests"]
        pull(second, "HIT")
        # It may look meanwhile whether others collect.
        asked.append(second.bucket()["requests"] - before)
    if min(asked) > 0:
        sys.exit(f"FAILED  a warm pull asks the bucket: {asked}")
    if Registry.counts:
        sys.exit(f"FAILED  upstream was asked: {Registry.counts}")
    print("ok      upstream is asked once, and a warm pull asks no bucket")
    redirects(program, folder, store, upstream, layers, caches)
    care(program, folder, store)
    if os.path.isdir(os.path.join(folder, "store", "images")):
        collection(program, folder, store, upstream, caches)
    replicas(program, folder, store, upstream, caches)


class Stay(urllib.request.HTTPRedirectHandler):
    """A client that goes nowhere else."""

    def redirect_request(self, *_):
        return None


def redirects(program, folder, store, upstream, layers, caches):
    def status(url, headers=None):
        try:
            with urllib.request.build_opener(Stay).open(urllib.request.Request(url, headers=headers or {}), timeout=20) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    flags = ["--redirect", "docker.io"]
    command = [program, "check", "--upstream", f"docker.io={upstream}", "--bucket", "s3://images/talmirror", "--s3-endpoint", store, "--s3-path-style"]
    checked = subprocess.run([*command, *flags, "-o", "json"], env=environment(folder), capture_output=True, text=True)
    if not json.loads(checked.stdout)["redirect"]["ok"]:
        sys.exit(f"FAILED  {checked.stdout}")
    cache = Cache(program, os.path.join(folder, "sends"), store, upstream, flags=flags)
    caches.append(cache)
    Registry.counts.clear()
    for layer in layers:
        path = f"/v2/docker.io/library/x/blobs/{digest(layer)}"
        code, headers, _ = status(cache.url + path)
        location = headers["Location"]
        if (code, headers["X-Cache"]) != (307, "REDIRECT") or not location.startswith(store):
            sys.exit(f"FAILED  {code} {headers['X-Cache']}\n{''.join(cache.log)}")
        whole, part = status(location), status(location, {"Range": "bytes=10-19"})
        if (whole[0], whole[2]) != (200, layer) or (part[0], part[2]) != (206, layer[10:20]):
            sys.exit(f"FAILED  the store answers {whole[0]} and {part[0]} to what is signed")
        other = location.replace(digest(layer)[-10:], digest(layers[0])[-10:-1] + "0")
        if status(other)[0] != 403 or status(location.split("?")[0])[0] != 403:
            sys.exit("FAILED  the store takes what is not signed")
        came = cache.get(f"blobs/{digest(layer)}")
        if came != ("BUCKET", layer):
            sys.exit(f"FAILED  a client that comes back gets {came[0]}")
    if [path for path in Registry.counts if "/blobs/" in path]:
        sys.exit(f"FAILED  upstream was asked: {Registry.counts}")
    print("ok      clients are sent to the store, which takes what is signed and nothing else")


def run(program, folder, store, *command, code=0):
    """Runs a command about the bucket by itself; returns what it prints."""
    command = [program, *command, "--bucket", "s3://images/talmirror", "--s3-endpoint", store, "--s3-path-style", "-o", "json"]
    said = subprocess.run(command, env=environment(folder), capture_output=True, text=True)
    if said.returncode != code:
        sys.exit(f"FAILED  {command[1]} ends with {said.returncode}: {said.stderr}")
    return json.loads(said.stdout)


def care(program, folder, store):
    listed = run(program, folder, store, "ls", "--tier", "bucket")["items"]
    # Nobody has pulled the configuration.
    if [(one["image"], one["tiers"], one["missing"]) for one in listed] != [("docker.io/library/x:1.0.0", ["bucket"], 1)]:
        sys.exit(f"FAILED  {listed}")
    checked = run(program, folder, store, "verify", "--tier", "bucket")
    if checked["checked"] != 4 or checked["damaged"] or checked.get("unread"):
        sys.exit(f"FAILED  {checked}")
    young = run(program, folder, store, "prune", "docker.io/library/*", "--tier", "bucket", "--dry-run")
    if young["tags"] or young["objects"] or young["young"] != 5:
        sys.exit(f"FAILED  {young}")
    print(f"ok      what is in the bucket is listed and checked: {checked['bytes'] >> 20} MiB")


def collection(program, folder, store, upstream, caches):
    def gc(*flags):
        return run(program, folder, store, "gc", *flags)

    def went(said):
        return said["manifests"], said["blobs"], said["uploads"]

    layer = random.Random(3).randbytes(2 << 20)
    described = [{"mediaType": "application/octet-stream", "digest": digest(layer), "size": len(layer)}]
    config = {"mediaType": "application/json", "digest": digest(b"{}"), "size": 2}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": described}).encode()
    Registry.objects[digest(layer)] = ("application/octet-stream", layer)
    Registry.objects[digest(manifest)] = Registry.objects["1.0.0"] = (MANIFEST, manifest)

    def pull(name):
        cache = Cache(program, os.path.join(folder, name), store, upstream, flags=["--tag-ttl", "0s"])
        caches.append(cache)
        came = [cache.get("manifests/1.0.0"), cache.get(f"blobs/{digest(layer)}")]
        if [body for _, body in came] != [manifest, layer]:
            sys.exit("FAILED  other bytes came")
        return cache, [where for where, _ in came]

    moved, _ = pull("moved")
    wait("what the tag is now is written", lambda: moved.bucket()["sentBytes"] >= len(layer) and moved.bucket()["pending"] == 0)
    bucket = os.path.join(folder, "store", "images", "talmirror")

    def age():
        old = time.time() - 40 * 24 * 3600
        for place, _, files in os.walk(bucket):
            for name in files:
                os.utime(os.path.join(place, name), (old, old))

    age()
    planned, done, again = gc("--dry-run"), gc(), gc()
    if went(planned) != (1, 3, 0) or went(done) != (1, 3, 0) or went(again) != (0, 0, 0):
        sys.exit(f"FAILED  {planned}, {done}, {again}")
    _, came = pull("after")
    if came[1] != "BUCKET":
        sys.exit(f"FAILED  what is needed is not there: {came}")
    print(f"ok      what no image needs goes: {done['freedBytes'] >> 20} MiB, and what is needed stays")
    for cache in caches:
        cache.stop()
    with open(os.path.join(bucket, "blobs", *digest(layer).split(":")), "r+b") as file:
        file.write(b"else")
    found = run(program, folder, store, "verify", "--tier", "bucket", code=1)["damaged"]
    if [(one["digest"], one.get("kept")) for one in found] != [(digest(layer), None)]:
        sys.exit(f"FAILED  {found}")
    age()
    pruned = run(program, folder, store, "prune", "docker.io/library/*", "--tier", "bucket")
    if pruned["tags"] != ["docker.io/library/x:1.0.0"] or pruned["objects"] != 1:
        sys.exit(f"FAILED  {pruned}")
    if run(program, folder, store, "ls", "--objects", "--tier", "bucket")["items"]:
        sys.exit("FAILED  something is left")
    print("ok      what is damaged is found and removed, and what is named goes")


def replicas(program, folder, store, upstream, caches):
    secret = os.path.join(folder, "secret")
    with open(secret, "w", encoding="utf8") as file:
        file.write("secret-of-all-members\n")
    three = [Cache(program, os.path.join(folder, f"replica-{n}"), store, upstream, secret) for n in range(3)]
    caches += three
    wait("they know each other", lambda: all(one.reaches() == 2 for one in three))
    chance = random.Random(2)
    for kills in (False, True):
        body = chance.randbytes(8 << 20)
        name = digest(body)
        Registry.objects[name] = ("application/octet-stream", body)
        Registry.slow.add(name)
        Registry.asked.clear()
        came, broken = [], []

        def pull(cache):
            try:
                came.append((cache, *cache.get(f"blobs/{name}")))
            except (OSError, http.client.HTTPException):
                broken.append(cache)

        clients = [threading.Thread(target=pull, args=(three[n % 3],)) for n in range(12)]
        for client in clients:
            client.start()
        holder = None
        if kills:
            time.sleep(0.5)
            taken = {one: one.stats()["peers"]["leases"] for one in three}
            holder = max(three, key=lambda one: taken[one] - before[one])
            holder.process.kill()
        for client in clients:
            client.join()
        if any(got != body for _, _, got in came) or any(cache is not holder for cache in broken):
            sys.exit(f"FAILED  other bytes, or none\n{''.join(three[0].log)}")
        wanted = len(Registry.asked) == 1 or (kills and len(Registry.asked) == 2 and Registry.asked[1] != "all")
        if not wanted:
            sys.exit(f"FAILED  upstream was asked for {Registry.asked}")
        if not kills:
            before = {one: one.stats()["peers"]["leases"] for one in three}
            if sum(before.values()) != 1 or sum(where == "PEER" for _, where, _ in came) != 8:
                sys.exit(f"FAILED  leases {list(before.values())}, {[where for _, where, _ in came]}")
        print(f"ok      three caches ask upstream for {Registry.asked}" + (", one of them killed" if kills else ""))


main()
