"""An image of Debian with the software of the tests, made from the sources that this machine's apt
has. It is made once per recipe; a cache outside the tree keeps it."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

NAME = "localhost/debian:software"
PACKAGES = ("nginx", "postgresql", "python3", "libpython3.11-testsuite")
KEPT_IMAGES = 2
SOURCES = Path("/etc/apt")
DEADLINE_S = 3600


def prepare(cache):
    """Path of the OCI archive in the directory `cache`."""
    archive = cache / f"{_key()}.tar"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "wb") as lock:
        # Whoever waited finds the result of the other.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            _make(archive, cache / "new")
            _drop_old(cache)
    return archive


def _make(archive, scratch):
    # Of a run that was killed.
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        tree, image = scratch / "tree.tar", scratch / "image.tar"
        _run(["mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(PACKAGES)}",
              _suite(), tree, *_sources()])
        _run(["skopeo", "copy", "--insecure-policy", f"tarball:{tree}", f"oci-archive:{image}:{NAME}"])
        # Complete or not there at all.
        image.rename(archive)
    finally:
        shutil.rmtree(scratch)


def _key():
    """Of the recipe: what is installed, from where, and how. Not of the packages' versions: a release's
    change for corrections only."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for source in _sources():
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _sources():
    """What apt reads, in its order."""
    parts = SOURCES / "sources.list.d"
    files = [SOURCES / "sources.list", *sorted((*parts.glob("*.list"), *parts.glob("*.sources")))]
    return [path for path in files if path.exists()]


def _suite():
    """This machine's, which its sources are for."""
    fields = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines()
                  if "=" in line)
    return fields["VERSION_CODENAME"].strip('"')


def _drop_old(cache):
    by_age = sorted(cache.glob("*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[KEPT_IMAGES:]:
        path.unlink()


def _run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False, timeout=DEADLINE_S)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stderr[-4000:]}"
