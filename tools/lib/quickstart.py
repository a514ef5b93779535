"""tools/quickstart: from a fresh Debian 12 to a container in its own VM."""

import argparse
import json
import os
import subprocess
import sys

import oci_image
import packages
import project
from private_containerd import ContainerdError, PrivateContainerd
from progress import Progress

DIRECTORY = project.BUILD / "quickstart"
CONTAINER = "quickstart"
# A first run may meet a machine without KVM that is busy with other things.
BOOT_TIMEOUT_S = 180
# A JSON string is a TOML basic string.
CONFIGURATION = f"""\
[hypervisor.qemu]
kernel = {json.dumps(str(project.GUEST / "vmlinux"))}
initrd = {json.dumps(str(project.GUEST / "kata-initrd.img"))}
[agent.kata]
dial_timeout = {BOOT_TIMEOUT_S}
"""
NEEDS_ROOT = """\
tools/quickstart has to run as root, for
  - apt-get: packages to build and run (listed in tools/lib/packages.txt)
  - containerd and the shim: mounts, cgroups, namespaces, /dev/kvm
Everything else stays in {build} and the package cache. Run: sudo tools/quickstart"""


def main():
    arguments = parse_arguments()
    if os.geteuid() != 0:
        sys.exit(NEEDS_ROOT.format(build=project.BUILD))
    progress = Progress("quickstart", project.LOGS)
    prepare(progress)
    guest = run_container(progress, arguments.image)
    progress.finish()
    report(host=os.uname().release, guest=guest)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tools/quickstart", description="Builds everything, starts "
                                     "a private containerd and runs a container in its own VM.")
    parser.add_argument("--image", metavar="REF", help="image to pull and run; without it one is "
                        "made here from Debian's busybox-static and no registry is needed")
    return parser.parse_args()


def prepare(progress):
    with progress.stage("packages", failures=(packages.PackagesMissing,)) as stage:
        packages.install(stage.run, "build", "run")
    with progress.stage("configure") as stage:
        project.configure(stage)
    with progress.stage("build") as stage:
        project.compile_targets(stage, project.target(project.SHIM), project.target(project.AGENT))
    with progress.stage("guest image") as stage:
        project.build_guest_image(stage)


def run_container(progress, reference):
    """What `uname -r` prints in a container with our runtime."""
    failures = (ContainerdError, subprocess.CalledProcessError, subprocess.TimeoutExpired)
    with progress.stage("image", failures) as stage:
        name, archive = fetch_image(stage, reference)
    configuration = DIRECTORY / "configuration.toml"
    configuration.write_text(CONFIGURATION)
    containerd = PrivateContainerd(DIRECTORY / "containerd", project.target(project.SHIM).parent,
                                   conf_file=configuration)
    with progress.stage("containerd", failures):
        containerd.start()
    try:
        with progress.stage("import", failures):
            containerd.import_image(archive)
        with progress.stage("container", failures):
            guest = containerd.ctr(
                "run", "--rm", "--snapshotter", containerd.snapshotters()[0],
                "--runtime", "io.containerd.kata.v2", name, CONTAINER, "uname", "-r",
                timeout=2 * BOOT_TIMEOUT_S).stdout.strip()
    except BaseException:
        # Without a stage of its own: the report of what failed stays the last on the screen.
        containerd.stop()
        raise
    with progress.stage("stop", failures):
        containerd.stop()
    return guest


def fetch_image(stage, reference):
    """(name after the import, OCI archive)"""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    if reference is None:
        return oci_image.BUSYBOX_IMAGE, oci_image.build_busybox_image(DIRECTORY / "busybox.tar")
    archive = DIRECTORY / "pulled.tar"
    archive.unlink(missing_ok=True)
    name = "localhost/quickstart:latest"
    local = reference.partition(":")[0].partition("/")[0] in ("localhost", "127.0.0.1")
    stage.run(["skopeo", "--insecure-policy", "copy", f"--src-tls-verify={str(not local).lower()}",
               f"docker://{reference}", f"oci-archive:{archive}:{name}"])
    return name, archive


def report(host, guest):
    print(f"host kernel:  {host}\nguest kernel: {guest}", flush=True)
    if not guest or guest == host:
        sys.exit("quickstart: the container did not run on a kernel of its own")


if __name__ == "__main__":
    main()
