"""Where a Meson build directory holds what is measured."""

from pathlib import Path


class Build:
    FLOOR_INIT, VSOCK_FLOOR, VSOCK_FLOOR_INIT = "floor-init", "vsock-floor", "vsock-floor-init"
    FLOORS = (FLOOR_INIT, VSOCK_FLOOR, VSOCK_FLOOR_INIT)

    def __init__(self, directory, guest=None):
        self.directory = Path(directory).resolve()
        self.guest = Path(guest or self.directory / "guest").resolve()
        self.shim_directory = self.directory / "shim/command"
        self.kernel = self.guest / "vmlinux"
        self.initrd = self.guest / "kata-initrd.img"
        self.floor_init = self.directory / "tests/bench" / self.FLOOR_INIT
        self.vsock_floor = self.directory / "tests/bench" / self.VSOCK_FLOOR
        self.vsock_floor_init = self.directory / "tests/bench" / self.VSOCK_FLOOR_INIT

    def missing(self):
        needed = (self.shim_directory / "containerd-shim-kata-v2", self.kernel, self.initrd,
                  self.floor_init, self.vsock_floor, self.vsock_floor_init)
        return [path for path in needed if not path.exists()]
