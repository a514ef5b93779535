"""What the benchmarks run in containers and in the floor, beside busybox."""

import re
import shutil
import subprocess
from pathlib import Path

import oci_image

PROGRAMS = tuple(Path("/usr/bin") / name for name in ("fio", "iperf3"))
LIBRARY = re.compile(r"(/\S+) \(0x")


def files(build):
    """Path in the image -> file: programs with the libraries that their loader finds here, and our
    loops."""
    listed = subprocess.run(["ldd", *PROGRAMS], check=True, capture_output=True, text=True).stdout
    libraries = [Path(path) for path in LIBRARY.findall(listed)]
    return {**{str(path): path for path in (*PROGRAMS, *libraries)},
            "/usr/bin/guest-loops": build.guest_loops}


def make_share(directory, programs):
    """root/: the image's tree; data/: what all peers work on."""
    shutil.rmtree(directory, ignore_errors=True)
    oci_image.make_root(directory / "root", programs)
    for path in ("root/data", "data"):
        (directory / path).mkdir()
    return directory
