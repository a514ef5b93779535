"""Debian's kernel, not the cloud kernel that guests have: with all its modules, unpacked once into the
cache outside the tree, never installed."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from guest_image import kernel_package
from guest_image.modules import canonical

KEPT = 2
ORIGIN = kernel_package.Origin("linux-image-amd64", "linux-image-", "host-packages", KEPT)


@dataclass(frozen=True)
class HostKernel:
    image: Path
    modules: Path          # the host's /lib/modules
    available: dict        # name -> path of every module
    built_in: frozenset    # names


def prepare():
    package = kernel_package.current(ORIGIN)
    directory = (kernel_package.cache_directory() / "host-kernel"
                 / kernel_package.sha256_file(package)[:16])
    if not directory.exists():
        _unpack(package, directory)
    [image] = directory.glob("boot/vmlinuz-*")
    [tree] = directory.glob("lib/modules/*")
    return HostKernel(image, tree.parent,
                      {canonical(path.stem): path for path in tree.rglob("*.ko")},
                      frozenset(canonical(Path(line).stem)
                                for line in (tree / "modules.builtin").read_text().split()))


def _unpack(package, directory):
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        root = Path(scratch) / "root"
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
        [tree] = root.glob("lib/modules/*")
        subprocess.run(["/sbin/depmod", "--basedir", root, tree.name], check=True)
        # Complete or not there at all: another one may have been faster.
        shutil.rmtree(directory, ignore_errors=True)
        root.rename(directory)
    kernel_package.drop_old(directory.parent, KEPT)
