"""Where a Meson build directory holds what is measured."""

from pathlib import Path


class Build:
    FLOOR_INIT, VSOCK_FLOOR, VSOCK_FLOOR_INIT = "floor-init", "vsock-floor", "vsock-floor-init"
    SHARE_FLOOR_INIT, GUEST_LOOPS = "share-floor-init", "guest-loops"
    PROGRAMS = (FLOOR_INIT, VSOCK_FLOOR, VSOCK_FLOOR_INIT, SHARE_FLOOR_INIT, GUEST_LOOPS)

    def __init__(self, directory, guest=None):
        self.directory = Path(directory).resolve()
        self.guest = Path(guest or self.directory / "guest").resolve()
        self.shim_directory = self.directory / "shim/command"
        self.kernel = self.guest / "vmlinux"
        self.initrd = self.guest / "kata-initrd.img"
        self.floor_init = self._program(self.FLOOR_INIT)
        self.vsock_floor = self._program(self.VSOCK_FLOOR)
        self.vsock_floor_init = self._program(self.VSOCK_FLOOR_INIT)
        self.share_floor_init = self._program(self.SHARE_FLOOR_INIT)
        self.guest_loops = self._program(self.GUEST_LOOPS)

    def missing(self):
        needed = (self.shim_directory / "containerd-shim-kata-v2", self.kernel, self.initrd,
                  *map(self._program, self.PROGRAMS))
        return [path for path in needed if not path.exists()]

    def _program(self, name):
        return self.directory / "tests/bench" / name
