"""gVisor's runsc as a containerd runtime. Debian has no shim of it: it runs below runc's, as a program
that takes runc's command line."""

import shutil
import subprocess

import pods
from private_containerd import ContainerdError

# Of tools/lib/packages.txt, apart from the others: without it only a row is missing.
PACKAGE_GROUP = "bench-runsc"
# systrap is faster; Debian 12's runsc does not know it yet.
PLATFORMS = ("systrap", "ptrace")


class NotUsable(Exception):
    """Why there is no row of runsc."""


def runtime(platform):
    wrapper = pods.DIRECTORY / f"runsc-{platform}"
    # Without a network: its own stack does not come up on every kernel, and no pod has interfaces.
    wrapper.write_text(f'#!/bin/sh\nexec runsc --platform={platform} --network=none "$@"\n')
    wrapper.chmod(0o755)
    return pods.Runtime(pods.RUNC.type, ("--runc-binary", str(wrapper),
                                         "--runc-root", str(pods.DIRECTORY / "runsc")))


def find(containers):
    """(platform, Runtime) of the first platform on which a container runs; NotUsable if none."""
    if not shutil.which("runsc"):
        raise NotUsable("Debian's package runsc is not installed")
    cause = None
    for platform in PLATFORMS:
        candidate = runtime(platform)
        try:
            containers.run(candidate, f"kata-bench-{platform}", "true")
        except (ContainerdError, subprocess.TimeoutExpired) as error:
            cause = error
            continue
        return platform, candidate
    # Published: the cause, which may name paths of this machine, is not part of it.
    raise NotUsable(f"no container runs here with {' or '.join(PLATFORMS)}") from cause
