"""Follows the README on the machine in the folder ROOT, block by block, and prints how long each took: follow.py ROOT"""

import os
import re
import subprocess
import sys
import time

LIMIT = 3600
root = sys.argv[1]
source = "/root/talmirror"
begun = time.monotonic()
steps = []
environment = {
    "HOME": "/root",
    "PATH": "/rust/bin:/root/.cargo/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
}


def end(why):
    print(f"FAILED  {why}")
    sys.exit(1)


def shell(script, folder, inside=("chroot", root)):
    return [*inside, "/bin/bash", "-c", f"cd {folder} && {script}"]


def run(name, script, folder):
    """Runs it, and fails with the end of what it printed."""
    at = time.monotonic()
    print(f"== {name}", file=sys.stderr, flush=True)
    done = subprocess.run(
        shell(script, folder), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    steps.append((time.monotonic() - at, name))
    if done.returncode != 0:
        end(f"{name}: ended with {done.returncode}\n" + "\n".join(done.stdout.splitlines()[-30:]))
    return done.stdout


def in_background(name, script, folder, ready, inside=("chroot", root)):
    """Starts it, and waits for a line that it prints; returns the process and what it printed until then."""
    at = time.monotonic()
    print(f"== {name}", file=sys.stderr, flush=True)
    job = subprocess.Popen(
        shell(f"exec {script}", folder, inside), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )
    printed = ""
    for line in job.stdout:
        printed += line
        if re.search(ready, printed, re.S):
            steps.append((time.monotonic() - at, name))
            return job, printed
    end(f"{name}: ended with {job.wait()}\n{printed}")


def session(block, exports=""):
    """Returns the commands of a session as a script that stops at the first that fails."""
    return exports + "set -e\n" + "\n".join(line[2:] for line in block.splitlines() if line.startswith("$ "))


readme = open(f"{root}{source}/README.md").read()
parts = re.findall(r"```(sh|console simulated|console)\n(.*?)```|`(cargo install[^`]*)`", readme, re.S)
cluster, exports = None, ""
os.makedirs(f"{root}/root/session")
for kind, block, install in parts:
    if install:
        run(install, install, source)
    elif kind == "console":
        run("the session: " + block.split()[2], session(block, exports), "/root/session")
        # One terminal: what is exported in it stays.
        exports += "".join(f"{line[2:]}\n" for line in block.splitlines() if line.startswith("$ export "))
    elif kind == "console simulated":
        folder = re.search(r"cd (\S+)", cluster[1])[1]
        named = re.search(r"export .*", cluster[1])[0] + "\n"
        printed = run("the session beside nodes", session(block, named), folder)
        if printed.count(" updated\n") < 3 or "0 to change, 3 unchanged" not in printed:
            end(f"the rollout does not end as the README says:\n{printed}")
    elif "simulated-cluster" in block:
        cluster = in_background("a simulated cluster", block.strip(), source, "Ctrl-C ends it")
    elif "talmirror-cache" in block:
        # It listens on every address of the machine, so it gets a machine that has none but its own.
        serve, patch = block.strip().splitlines()
        alone = ("unshare", "--net", "bash", "-c", f'ip link set lo up && exec chroot {root} "$@"', "-")
        cache, _ = in_background("the cache", serve, source, "listening on", alone)
        here = f"nsenter --net=/proc/{cache.pid}/ns/net"
        asked = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:5000/v2/').status)"
        answer = subprocess.run([*here.split(), "python3", "-c", asked], capture_output=True, text=True)
        if answer.stdout != "200\n":
            end(f"the cache does not answer: {answer.stderr}")
        printed = run("the patch for the cache", patch.split("|")[0], source)
        if "http://10.0.0.5:5000/v2/docker.io" not in printed:
            end(f"the patch for the cache is another:\n{printed}")
        cache.terminate()
        if cache.wait() != 0:
            end(f"the cache ends with {cache.returncode}")
    else:
        for line in block.strip().splitlines():
            run(line, line, source)
if cluster:
    cluster[0].terminate()
    cluster[0].wait()
total = time.monotonic() - begun
for seconds, name in steps:
    print(f"{seconds:8.1f} s  {name}")
print(f"{total:8.1f} s  in all")
if total > LIMIT:
    end("the first hour takes longer")
print("ok      the first hour")
