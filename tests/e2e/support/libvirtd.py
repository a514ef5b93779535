"""A libvirt system daemon for the tests, where no systemd starts one.

It runs in a mount namespace of its own, where its configuration, state and log directories are
empty ones: nothing of the system's libvirt is read or written, and all goes with the daemon.
"""

import json
import os
import signal
import subprocess
import time

from .wakeups import Wakeups

START_DEADLINE_S = 20
# It ends only after it has probed QEMU, which takes long when it was just started.
STOP_DEADLINE_S = 60
DAEMON = "/usr/sbin/libvirtd"
# What works without systemd; see docs/design.md, VM drivers.
QEMU_CONF = """\
stdio_handler = "file"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
user = "root"
group = "root"
"""
HIDDEN_DIRECTORIES = ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt",
                      "/run/libvirt")


def mount_namespace(pid):
    return os.readlink(f"/proc/{pid}/ns/mnt")


class Libvirtd:
    """For `with`: entered when the daemon answers, left when it has ended."""

    def __init__(self, directory):
        self._directory = directory
        self._process = None

    @property
    def socket(self):
        return self._directory / "libvirt-sock"

    @property
    def uri(self):
        return f"qemu:///system?socket={self.socket}"

    @property
    def mount_namespace(self):
        return mount_namespace(self._process.pid)

    def __enter__(self):
        self._directory.mkdir(exist_ok=True)
        (self._directory / "qemu.conf").write_text(QEMU_CONF)
        (self._directory / "libvirtd.conf").write_text(
            f"unix_sock_dir = {json.dumps(str(self._directory))}\n"
            'auth_unix_rw = "none"\nauth_unix_ro = "none"\n'
            f"log_outputs = {json.dumps(f'2:file:{self._directory}/libvirtd.log')}\n")
        script = " && ".join(
            ["set -e", *(f"mkdir -p {path} && mount -t tmpfs none {path}"
                         for path in HIDDEN_DIRECTORIES),
             f"cp {self._directory}/qemu.conf /etc/libvirt/qemu.conf",
             f"exec {DAEMON} --config {self._directory}/libvirtd.conf"
             f" --pid-file {self._directory}/pid"])
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script],
            stdin=subprocess.DEVNULL)
        try:
            self._wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def domains(self):
        listed = subprocess.run(["virsh", "--connect", self.uri, "list", "--all", "--uuid"],
                                check=True, capture_output=True, text=True, timeout=30)
        return listed.stdout.split()

    def _wait_ready(self):
        end = time.monotonic() + START_DEADLINE_S
        with Wakeups() as wakeups:
            wakeups.watch_process(self._process.pid)
            wakeups.watch_directory(self._directory)
            while not self.socket.exists():
                alive = wakeups.wait(end - time.monotonic()) and self._process.poll() is None
                assert alive, f"libvirtd did not start; see {self._directory}/libvirtd.log"
        self.domains()
