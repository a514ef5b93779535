"""nginx as its users run it: configuration test, a daemon whose workers drop their privileges, a file
over the loopback, a reload in the middle of a download, a graceful stop. Prints what is the same in
every run."""

import hashlib
import http.client
import os
import re
import select
import signal
import subprocess
from pathlib import Path

ROOT = Path("/srv/www")
LOG = Path("/var/log/nginx/software.log")
ERRORS = Path("/var/log/nginx/errors.log")
PID = Path("/run/software.pid")
CONFIGURATION = Path("/etc/nginx/software.conf")
TEXT = """
user www-data;
worker_processes 2;
pid {pid};
error_log {errors} notice;
events {{ worker_connections 64; }}
http {{
    sendfile on;
    log_format plain '$remote_addr "$request" $status $body_bytes_sent';
    access_log {log} plain;
    server {{
        listen 127.0.0.1:8080;
        root {root};
        location = /which {{ return 200 "{answer}\\n"; }}
    }}
}}
"""
FILE_BYTES = 8 << 20
DEADLINE_S = 120


def main():
    ROOT.mkdir(parents=True)
    block = hashlib.sha512(b"nginx").digest()
    (ROOT / "file").write_bytes(block * (FILE_BYTES // len(block)))
    configure("first")
    nginx("-t")
    nginx()
    master = int(PID.read_text())
    # Whoever answers has dropped its privileges; the others may be about to.
    get("/which")
    describe("master", master)
    for worker in workers_of(master):
        describe("worker", worker)
    get("/which")
    get("/file")
    get("/missing")
    reload(master)
    get("/which")
    stop(master)
    print("access log:", LOG.read_text(), sep="\n", end="")
    print("errors:", *re.findall(r"^\[(?:warn|error|crit|alert|emerg)\].*", without_pids(ERRORS.read_text()),
                                 re.MULTILINE), sep="\n")


def configure(answer):
    CONFIGURATION.write_text(TEXT.format(pid=PID, log=LOG, errors=ERRORS, root=ROOT, answer=answer))


def nginx(*arguments):
    done = subprocess.run(["nginx", "-c", CONFIGURATION, *arguments], capture_output=True, text=True,
                          check=False)
    print("nginx", *arguments, done.returncode, done.stdout, without_pids(done.stderr))


def without_pids(log):
    """Messages with their level, without time and process."""
    return re.sub(r"^\S+ \S+ (\[\w+\]) \d+#\d+:", r"\1", log, flags=re.MULTILINE)


def workers_of(master):
    return sorted(map(int, Path(f"/proc/{master}/task/{master}/children").read_text().split()))


def describe(what, pid):
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    print(what, *(f"{name}={fields[name].strip()}" for name in ("Uid", "Gid", "Groups", "CapEff")))


def get(path):
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=DEADLINE_S)
    connection.request("GET", path)
    show(path, connection.getresponse())


def show(path, response, begin=b""):
    body = begin + response.read()
    text = body.decode().strip() if len(body) < 100 else ""
    print(path, response.status, len(body), hashlib.sha256(body).hexdigest()[:16], text)


def reload(master):
    """New workers with the new configuration; the old ones end when their downloads have."""
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=DEADLINE_S)
    connection.request("GET", "/file")
    response = connection.getresponse()
    begin = response.read(1000)
    old = [os.pidfd_open(worker) for worker in workers_of(master)]
    configure("second")
    os.kill(master, signal.SIGHUP)
    wait_gone(old, len(old) - 1)
    show("/file during the reload", response, begin)
    connection.close()
    wait_gone(old, len(old))
    for worker in workers_of(master):
        describe("new worker", worker)


def wait_gone(pidfds, count):
    """Until so many of them have ended."""
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    gone = 0
    while gone < count:
        ended = poll.poll(DEADLINE_S * 1000)
        assert ended, f"{gone} of {count} processes have ended after {DEADLINE_S} s"
        for pidfd, _ in ended:
            poll.unregister(pidfd)
            gone += 1


def stop(master):
    pidfd = os.pidfd_open(master)
    nginx("-s", "quit")
    wait_gone([pidfd], 1)
    print("pid file:", PID.exists())


main()
