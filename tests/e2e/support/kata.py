"""What the tests set up for our runtime: its configuration, and initramfs images that fail."""

import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import kata_configuration
from oci_image import BUSYBOX


# Of the guest; less than a client's patience, so that the runtime's own message is seen.
BOOT_DEADLINE_S = 120


@dataclass(frozen=True)
class KataBuild:
    """Where a Meson build directory holds the pieces, and where the guest image is."""
    directory: Path
    guest: Path

    @classmethod
    def chosen(cls, pytestconfig):
        """By the options --build and --guest."""
        directory = pytestconfig.getoption("--build").resolve()
        return cls(directory, (pytestconfig.getoption("--guest") or directory / "guest").resolve())

    @property
    def shim_directory(self):
        return self.directory / "shim/command"

    @property
    def module_directory(self):
        """Of the launcher for libvirt, for KATA_MODULE_DIR."""
        return self.directory / "runtime/hypervisor"

    @property
    def kernel(self):
        return self.guest / "vmlinux"

    @property
    def initrd(self):
        return self.guest / "kata-initrd.img"

    def missing(self):
        needed = (self.shim_directory / "containerd-shim-kata-v2", self.kernel, self.initrd)
        return [str(path) for path in needed if not path.exists()]


class KataConfig:
    """The configuration.toml that containerd's environment names. Shims read it when they start."""

    def __init__(self, path, state_root, build, template, hypervisor=()):
        self.path = path
        self.state_root = state_root
        self._defaults = {
            "hypervisor.qemu": {"kernel": str(build.kernel), "initrd": str(build.initrd),
                                **dict(hypervisor)},
            "agent.kata": {"dial_timeout": BOOT_DEADLINE_S},
            "runtime": {"state_root": str(state_root), "enable_debug": True},
            "factory": {"template": template, "template_path": str(path.parent / "template")},
        }
        self.reset()

    @property
    def drop_ins(self):
        return self.path.parent / "config.d"

    def reset(self):
        shutil.rmtree(self.drop_ins, ignore_errors=True)
        kata_configuration.write(self.path, self._defaults)

    def change(self, **changes):
        """The session's settings overlaid by these, until the end of the test."""
        self.write(self.path, **changes)

    def write(self, path, hypervisor=(), agent=(), runtime=(), factory=()):
        """Another file with the session's settings, overlaid by these."""
        changes = {"hypervisor.qemu": hypervisor, "agent.kata": agent, "runtime": runtime,
                   "factory": factory}
        kata_configuration.write(path, {table: {**values, **dict(changes[table])}
                                        for table, values in self._defaults.items()})

    def drop_in(self, name, **hypervisor):
        """config.d/<name>, until the end of the test."""
        self.drop_ins.mkdir(exist_ok=True)
        kata_configuration.write(self.drop_ins / name, {"hypervisor.qemu": hypervisor})
        return self.drop_ins / name


def write_initrd(path, init_script):
    """An initramfs whose /init is a busybox shell script."""
    with open(path, "wb") as archive:
        _add(archive, "bin", stat.S_IFDIR | 0o755)
        _add(archive, "bin/busybox", stat.S_IFREG | 0o755, BUSYBOX.read_bytes())
        _add(archive, "init", stat.S_IFREG | 0o755, f"#!/bin/busybox sh\n{init_script}\n".encode())
        _add(archive, "TRAILER!!!", 0)
    return path


def _add(archive, name, mode, data=b""):
    """One entry in the "newc" format (Linux: Documentation/driver-api/early-userspace/
    buffer-format.rst): inode, mode, uid, gid, nlink, mtime, size, device and rdev as major and
    minor, length of the name with its NUL, checksum; name and data padded to 4 bytes."""
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    for part in (header, data):
        archive.write(part + b"\0" * (-len(part) % 4))
