"""What is compared: each peer starts, runs a program on the same files and streams, in its own way."""

import abc
import itertools

import disks
import floor
import pods
import stdio_benchmark
import timed_output
from share_floor import ShareFloor

# Where a container sees the files that all peers work on.
DATA = "/data"
RUNC_TRIES = 3


class Peer(abc.ABC):
    """Methods answer milliseconds unless they say something else."""

    def __init__(self, name, data):
        """data: the host's directory that is DATA."""
        self.name = name
        self.data = data

    @abc.abstractmethod
    def start(self, *command):
        """(to the first output, to the end of everything) of a container with this command."""

    @abc.abstractmethod
    def output(self, *command):
        """bytes: what the command prints that runs with DATA; its program is an absolute path."""

    @abc.abstractmethod
    def output_on_disk(self, *command):
        """The same with a root on a disk (disks.py); None: this machine cannot have such roots."""

    @abc.abstractmethod
    def stream(self, mib):
        """From the first byte to the last of what comes out of the guest."""


class FloorPeer(Peer):
    """A bare QEMU with nothing of ours in it but a PID 1 for each purpose."""

    def __init__(self, name, build, pods_directory, sockets, share, pod_processes):
        """pod_processes: memory.Usages of an idle pod of our runtime, whose machine this is."""
        super().__init__(name, share / "data")
        self._build = build
        self._sockets = sockets
        self.runtime_argv = floor.qemu_argv(pod_processes)
        self.argv = floor.command_line(self.runtime_argv, floor.write_initramfs(
            pods_directory / "floor.img", build.floor_init))
        self._share = ShareFloor(share, sockets, floor.write_initramfs_with_modules(
            pods_directory / "share-floor.img", build.share_floor_init, build.guest), pod_processes)
        self._disk = disks.DiskFloor(share / "root", pods_directory, floor.command_line(
            self.runtime_argv, pods_directory / "share-floor.img"))

    def start(self, *command):
        """Without the command: its PID 1 prints a line and switches off."""
        run = floor.run(self.argv)
        return run.pid1_ms, run.total_ms

    def output(self, *command):
        return self._share.output(*command)

    def output_on_disk(self, *command):
        return self._disk.output(*command)

    def stream(self, mib):
        return stdio_benchmark.time_stream(stdio_benchmark.floor_argv(
            self._build, self._sockets, mib, self.runtime_argv), mib)


class ContainerPeer(Peer):
    """A containerd runtime."""

    def __init__(self, name, containers, runtime, data, on_disks=None):
        """on_disks: the same containers with their roots on disks."""
        super().__init__(name, data)
        self.containers = containers
        self._on_disks = on_disks
        self.runtime = runtime
        self._mount = ("--mount", f"type=bind,src={data},dst={DATA},options=rbind:rw")
        self._numbers = itertools.count(1)

    def new_name(self):
        return f"kata-bench-{self.name}-{next(self._numbers)}"

    def start(self, *command):
        output = timed_output.run(self.containers.run_argv(self.runtime, self.new_name(), *command))
        return output.first_ms, output.total_ms

    def output(self, *command):
        return timed_output.run(self.containers.run_argv(
            self.runtime, self.new_name(), *command, options=self._mount)).stdout

    def output_on_disk(self, *command):
        if self._on_disks is None:
            return None
        return timed_output.run(self._on_disks.run_argv(
            self.runtime, self.new_name(), *command)).stdout

    def stream(self, mib):
        """runc's shim, gVisor's, too, may lose the end of what a process has written: again then."""
        tries = RUNC_TRIES if self.runtime.type == pods.RUNC.type else 1
        while True:
            tries -= 1
            try:
                return stdio_benchmark.time_stream(stdio_benchmark.container_argv(
                    self.containers, self.runtime, self.new_name(), mib), mib)
            except stdio_benchmark.Incomplete:
                if tries == 0:
                    raise
