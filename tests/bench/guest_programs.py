"""What the benchmarks run in containers and in the floor, beside busybox."""

import re
import shutil
import subprocess
from pathlib import Path

import oci_image

FIO = Path("/usr/bin/fio")
LIBRARY = re.compile(r"(/\S+) \(0x")


def files(build):
    """Path in the image -> file: fio with the libraries that its loader finds here, and our loops."""
    listed = subprocess.run(["ldd", FIO], check=True, capture_output=True, text=True).stdout
    libraries = [Path(path) for path in LIBRARY.findall(listed)]
    return {**{str(path): path for path in (FIO, *libraries)}, "/usr/bin/guest-loops": build.guest_loops}


def make_share(directory, programs):
    """root/: the image's tree; data/: what all peers work on."""
    shutil.rmtree(directory, ignore_errors=True)
    oci_image.make_root(directory / "root", programs)
    for path in ("root/data", "data"):
        (directory / path).mkdir()
    return directory
