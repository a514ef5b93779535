"""The floor of what runs in a container: a bare QEMU with the machine and the virtiofs settings of a pod
of our runtime, whose PID 1 (share_floor_init.cc) runs the same program on the same files."""

import contextlib
import json
import socket
import subprocess

import floor

TAG = "share"
EXIT_TIMEOUT_S = 30
LINE = b"the command has ended well"
# Of a pod's device these have their place in the pod's machine only.
OF_THE_POD = ("driver", "id", "chardev", "bus", "addr", "tag")


class ShareFloor:
    def __init__(self, share, sockets, initramfs, pod_processes):
        """share: directory with root/ and data/; sockets: one with a short path; pod_processes: the
        memory.Usages of a pod of our runtime."""
        self._share = share
        self._socket = sockets / "share.sock"
        self._qemu = command_line(floor.qemu_argv(pod_processes), initramfs, self._socket)
        self._daemon = daemon_argv(pod_processes)

    def output(self, *command):
        """What the command prints: an absolute path in root/ and arguments without spaces."""
        with self._served():
            try:
                floor.run(with_command(self._qemu, command), LINE)
            except floor.FloorError as error:
                said = self._output().decode(errors="replace").strip()
                raise floor.FloorError(f"{error} (the command said: {said[-500:]})") from None
        return self._output()

    def _output(self):
        return (self._share / "data/floor-output").read_bytes()

    @contextlib.contextmanager
    def _served(self):
        """virtiofsd ends by itself when its VM has."""
        self._socket.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._socket))
            listener.listen(1)
            daemon = subprocess.Popen(
                with_share(self._daemon, listener.fileno(), self._share),
                pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
            daemon.wait(EXIT_TIMEOUT_S)
        finally:
            daemon.kill()
            daemon.wait()
            self._socket.unlink()


def daemon_argv(pod_processes):
    for usage in pod_processes:
        if usage.program == "virtiofsd":
            return usage.argv
    raise floor.FloorError("our runtime's pod has no virtiofsd whose settings the floor could use")


def with_share(runtime_argv, descriptor, directory):
    """virtiofsd's command line of a pod with another socket and another directory."""
    argv = []
    for argument in runtime_argv:
        if argument.startswith("--fd="):
            argument = f"--fd={descriptor}"
        elif argument.startswith("source="):
            argument = f"source={directory}"
        argv.append(argument)
    return argv


def command_line(runtime_argv, initramfs, socket_path):
    """The floor's machine with the pod's virtiofs device."""
    device = {"driver": "vhost-user-fs-pci", "chardev": "share", "tag": TAG}
    for option, value in zip(runtime_argv, runtime_argv[1:]):
        if option == "-device" and value.startswith("{"):
            given = json.loads(value)
            if given["driver"] == device["driver"]:
                device |= {name: given[name] for name in given if name not in OF_THE_POD}
    return [*floor.command_line(runtime_argv, initramfs),
            "-chardev", f"socket,id=share,path={socket_path}", "-device", json.dumps(device)]


def with_command(argv, command):
    """The kernel hands what is after "--" to PID 1."""
    append = argv.index("-append") + 1
    words = " ".join(map(str, command))
    return [*argv[:append], f"{argv[append]} -- {words}", *argv[append + 1:]]
