"""The distribution's kernel package: which one, and its download into a cache outside the tree. It is
never installed."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from . import GuestImageError

META_PACKAGE = "linux-image-cloud-amd64"
KEPT_ENTRIES = 4
REMEDY = "run 'apt-get update' as root, or pass --package FILE"


def cache_directory():
    """$XDG_CACHE_HOME/kata-cpp; without it /var/cache/kata-cpp for root, ~/.cache/kata-cpp else."""
    base = os.environ.get("XDG_CACHE_HOME")
    if not base:
        base = "/var/cache" if os.geteuid() == 0 else Path.home() / ".cache"
    return Path(base) / "kata-cpp"


def current():
    """Path of the package that META_PACKAGE depends on now, downloaded unless the cache has it.
    Where apt knows nothing (offline, no package lists), the newest one of the cache."""
    packages = cache_directory() / "packages"
    package = _candidate()
    if package is None:
        return _newest_cached(packages)
    path = packages / Path(package["Filename"]).name
    if not path.exists():
        _download(package, path)
    return path


def sha256_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def drop_old(directory):
    """Keeps the newest entries of a cache directory."""
    by_age = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[KEPT_ENTRIES:]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _candidate():
    """Fields of the image package that META_PACKAGE's candidate depends on; None if apt has none."""
    meta = _show(META_PACKAGE)
    if meta is None:
        return None
    depends = re.search(r"\blinux-image-\S+", meta.get("Depends", ""))
    if not depends:
        raise GuestImageError(f"package {META_PACKAGE} depends on no linux-image-…; {REMEDY}")
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
    drop_old(path.parent)


def _newest_cached(packages):
    cached = sorted(packages.glob("linux-image-*.deb"), key=lambda path: path.stat().st_mtime)
    if not cached:
        raise GuestImageError(f"apt does not know {META_PACKAGE} and {packages} holds none; {REMEDY}")
    return cached[-1]
