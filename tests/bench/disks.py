"""Roots on disks: containers of a containerd with the blockfile snapshotter, and their floor, a bare
QEMU with the same tree in an image of its own. Debian 12's containerd has no such snapshotter; that of
the next release is fetched, checked against Debian's keys and never installed."""

import json
import subprocess

import floor
import newer_containerd
import pods
import project
from progress import CommandFailed
from share_floor import LINE, with_command

SUITE = "trixie"
IMAGE_MIB = 256
NAME = "kata-bench-disk"


class NotUsable(Exception):
    """Why this machine has no such roots."""


def open_pods(stage, build, programs, directory):
    """pods.Pods whose containers' roots are disks. Close it."""
    try:
        newer_containerd.fetch(stage.run, project.NEWER_CONTAINERDS, SUITE)
    except (CommandFailed, LookupError) as error:
        raise NotUsable(f"no containerd of Debian {SUITE} could be fetched") from error
    if not newer_containerd.available(project.NEWER_CONTAINERDS, SUITE):
        raise NotUsable(f"the containerd of Debian {SUITE} does not run here")
    directory.mkdir(parents=True, exist_ok=True)
    scratch = make_image(directory / "scratch.ext4")
    containerd = newer_containerd.directory(project.NEWER_CONTAINERDS, SUITE)
    return pods.Pods(build, programs, name="containerd-disks", snapshotter="blockfile",
                     binary=str(containerd / "containerd"), ctr_binary=str(containerd / "ctr"),
                     extra_config=f"""
[plugins."io.containerd.snapshotter.v1.blockfile"]
  scratch_file = "{scratch}"
  fs_type = "ext4"
  recreate_scratch = true
""")


def make_image(path, *options):
    path.unlink(missing_ok=True)
    with open(path, "wb") as image:
        image.truncate(IMAGE_MIB << 20)
    # Nothing is left to be initialized in the background of a measurement.
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", *options, path],
                   check=True)
    return path


class DiskFloor:
    """The machine of a pod with one disk, as runtime/hypervisor/device_rendering.cc attaches it."""

    def __init__(self, root, directory, argv):
        """root: the tree; argv: the floor's, with the PID 1 of share_floor_init.cc."""
        self._root = root
        self._image = directory / "floor.ext4"
        self._argv = argv

    def output(self, *command):
        """What the command prints: an absolute path in the tree and arguments without spaces."""
        make_image(self._image, "-d", str(self._root))
        try:
            floor.run(with_command([*self._argv, *disk_arguments(self._image)], ("disk", *command)),
                      LINE)
            return subprocess.run(["debugfs", "-R", "cat /data/floor-output", self._image],
                                  check=True, capture_output=True).stdout
        finally:
            self._image.unlink()


def disk_arguments(image):
    blockdev = {"driver": "raw", "node-name": "disk", "discard": "unmap", "read-only": False,
                "file": {"driver": "file", "filename": str(image)}}
    device = {"driver": "virtio-blk-pci", "drive": "disk", "serial": "disk1"}
    return "-blockdev", json.dumps(blockdev), "-device", json.dumps(device)
