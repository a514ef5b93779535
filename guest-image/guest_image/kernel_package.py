"""The distribution's kernel packages, binary and source: which one, and its download into a cache
outside the tree. They are never installed."""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import GuestImageError

KEPT_ENTRIES = 4
REMEDY = "run 'apt-get update' as root, or pass --package FILE"


@dataclass(frozen=True)
class Origin:
    meta_package: str      # depends on the current package
    prefix: str            # of that package's name
    cache: str             # directory of the cache that keeps it
    kept: int              # packages there


IMAGE = Origin("linux-image-cloud-amd64", "linux-image-", "packages", KEPT_ENTRIES)
SOURCE = Origin("linux-source", "linux-source-", "sources", 2)


def cache_directory():
    """$XDG_CACHE_HOME/kata-cpp; without it /var/cache/kata-cpp for root, ~/.cache/kata-cpp else."""
    base = os.environ.get("XDG_CACHE_HOME")
    if not base:
        base = "/var/cache" if os.geteuid() == 0 else Path.home() / ".cache"
    return Path(base) / "kata-cpp"


def current(origin=IMAGE):
    """Path of the package that the meta-package depends on now, downloaded unless the cache has it.
    Where apt knows nothing (offline, no package lists), the newest one of the cache."""
    packages = cache_directory() / origin.cache
    package = _candidate(origin)
    if package is None:
        return _newest_cached(packages, origin)
    path = packages / Path(package["Filename"]).name
    if not path.exists():
        _download(package, path)
        drop_old(packages, origin.kept)
    return path


def sha256_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def drop_old(directory, kept=KEPT_ENTRIES):
    """Keeps the newest entries of a cache directory."""
    by_age = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[kept:]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _candidate(origin):
    """Fields of the package that the meta-package's candidate depends on; None if apt has none."""
    meta = _show(origin.meta_package)
    if meta is None:
        return None
    depends = re.search(rf"\b{origin.prefix}[^\s,]+", meta.get("Depends", ""))
    if not depends:
        raise GuestImageError(f"package {origin.meta_package} depends on no {origin.prefix}…; "
                              f"{REMEDY}")
    return _show(depends.group())


def _show(name):
    result = subprocess.run(["apt-cache", "show", "--no-all-versions", name],
                            capture_output=True, text=True, check=False)
    if result.returncode != 0 or not result.stdout.strip():
        return None
    fields = re.findall(r"^(\S+): (.*)$", result.stdout, re.MULTILINE)
    return dict(fields)


def _download(package, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    # As root apt drops to a user who cannot write here; the hash below is what counts.
    command = ["apt-get", "-o", "APT::Sandbox::User=root", "-qq", "download",
               f"{package['Package']}={package['Version']}"]
    scratch = path.parent / f"download-{os.getpid()}"
    scratch.mkdir(exist_ok=True)
    try:
        result = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        downloaded = list(scratch.glob("*.deb"))
        if result.returncode != 0 or len(downloaded) != 1:
            raise GuestImageError(f"cannot download {package['Package']} {package['Version']}: "
                                  f"{result.stderr.strip()}; {REMEDY}")
        if sha256_file(downloaded[0]) != package["SHA256"]:
            raise GuestImageError(f"{downloaded[0].name} differs from the SHA256 that the package "
                                  f"lists give; {REMEDY}")
        downloaded[0].rename(path)
    finally:
        shutil.rmtree(scratch)


def _newest_cached(packages, origin):
    cached = sorted(packages.glob(f"{origin.prefix}*.deb"), key=lambda path: path.stat().st_mtime)
    if not cached:
        raise GuestImageError(f"apt does not know {origin.meta_package} and {packages} holds none; "
                              f"{REMEDY}")
    return cached[-1]
