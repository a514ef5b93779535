"""Debian packages that the tools need, from packages.txt."""

import os
import subprocess
from pathlib import Path

LIST = Path(__file__).with_name("packages.txt")
# guest-image/build takes its kernel from here, and its sources from what comes with it; apt has to
# know it, it is never installed.
KERNEL_PACKAGE = "linux-image-cloud-amd64"


class PackagesMissing(Exception):
    """Packages are missing and this user cannot install them."""


def names(*groups):
    result, group = [], None
    for line in LIST.read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("["):
            group = line.strip("[]")
        elif line and group in groups:
            result.append(line)
    return result


def missing(*groups):
    wanted = names(*groups)
    query = subprocess.run(["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n",
                            *wanted], capture_output=True, text=True, check=False)
    installed = {line.split()[0] for line in query.stdout.splitlines()
                 if line.split()[-1] == "installed"}
    return [name for name in wanted if name not in installed]


def install(run, *groups):
    """Installs what is missing of the groups; `run` executes a command line and raises on failure."""
    absent = missing(*groups)
    kernel_known = subprocess.run(["apt-cache", "show", KERNEL_PACKAGE], check=False,
                                  capture_output=True).returncode == 0
    if not absent and kernel_known:
        return
    if os.geteuid() != 0:
        needed = f"apt-get install {' '.join(absent)}" if absent else "apt-get update"
        raise PackagesMissing(f"root has to run this first: {needed}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "-q", "update"], env=environment)
    if absent:
        run(["apt-get", "-q", "install", "--yes", "--no-install-recommends", *absent],
            env=environment)
