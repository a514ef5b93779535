"""A containerd of our own: root, state, sockets and log under one directory, never the system's.

Used by tools/quickstart, tools/bench and the Python tests:

    with PrivateContainerd(directory, path_prefix=build_dir / "shim/command") as containerd:
        containerd.import_image(archive)
        containerd.ctr("run", "--rm", "--runtime", "io.containerd.kata.v2", image, "c1", "true")

Needs root. An instance belongs to one thread; one directory belongs to one instance at a time (a
lock on it is held while containerd runs). start() first ends whatever an earlier, killed user of the
same directory left behind, so a directory can be used again and again.
"""

import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 20
CTR_TIMEOUT_S = 120
# sun_path has 108 bytes; containerd appends ".ttrpc" to the address and a NUL ends it.
SOCKET_PATH_MAX_BYTES = 100
LOG_TAIL_LINES = 20
MNT_DETACH = 2

CONFIG = """\
version = 2
root = {root}
state = {state}
# aufs, btrfs, devmapper and zfs only fill the log with skips.
disabled_plugins = [{disabled}
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = {address}

[ttrpc]
  address = {ttrpc_address}

[debug]
  level = "debug"

[plugins."io.containerd.internal.v1.opt"]
  path = {opt}
"""


class ContainerdError(Exception):
    """containerd or ctr failed; the message holds its last words."""


class PrivateContainerd:
    def __init__(self, directory, path_prefix=(), *, conf_file=None, env=None,
                 binary="containerd", ctr_binary="ctr", extra_config="", cri=False, enter=()):
        """path_prefix: one directory or several, first in containerd's PATH (where the shim is).

        conf_file becomes KATA_CONF_FILE; env is added to containerd's environment and with it to
        the shims'; extra_config is appended to config.toml. cri: with the CRI plugin, which needs CNI
        and a pause image. enter: a command that starts containerd with the pid that it has itself
        (nsenter).
        """
        self.directory = Path(directory).resolve()
        prefixes = [path_prefix] if isinstance(path_prefix, (str, Path)) else list(path_prefix)
        self.binary = binary
        self.ctr_binary = ctr_binary
        self.log_path = self.directory / "containerd.log"
        self._extra_config = extra_config
        self._cri = cri
        self._enter = tuple(enter)
        self._environment = {**os.environ, **(env or {})}
        self._environment["PATH"] = os.pathsep.join(
            [*(str(Path(prefix).resolve()) for prefix in prefixes), os.environ["PATH"]])
        if conf_file is not None:
            self._environment["KATA_CONF_FILE"] = str(Path(conf_file).resolve())
        self._process = None
        self._lock = None
        self._socket_dir = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        """Pid of the running containerd, None when it does not run."""
        return self._process.pid if self._process else None

    @property
    def address(self):
        """Unix socket of the gRPC API. Valid while containerd runs."""
        return self._socket_dir / "containerd.sock"

    @property
    def state(self):
        """containerd's state: bundles are <state>/io.containerd.runtime.v2.task/<namespace>/<id>."""
        return self.directory / "state"

    def start(self, keep_tasks=False):
        """Returns when containerd serves; ContainerdError with the log's end when it does not.

        keep_tasks: containers that outlived an earlier containerd (see kill()) stay.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._end_leftover_instance()
            self._launch()
            if not keep_tasks:
                self.remove_all_tasks()
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """Ends every task, then containerd, and unmounts what they left. Safe to repeat."""
        if self._process:
            if self._process.poll() is None:
                self._stop_running()
            self._process = None
        if self._lock:
            self._remove_traces()
            self._lock.close()
            self._lock = None

    def kill(self):
        """SIGKILLs containerd alone, as a crash would; shims live on. start() then finds them."""
        self._process.kill()
        self._process.wait()
        self._process = None
        self._lock.close()
        self._lock = None

    def ctr_argv(self, *args, namespace="default"):
        """The command line for a ctr of the caller's own."""
        return [self.ctr_binary, "--address", str(self.address), "--namespace", namespace,
                *(str(arg) for arg in args)]

    def ctr(self, *args, namespace="default", check=True, timeout=CTR_TIMEOUT_S, prefix=(),
            **run_options):
        """Runs ctr to its end: a CompletedProcess with text stdout and stderr.

        prefix: a command that runs ctr. run_options go to subprocess.run (input=…, text=False…). check: ContainerdError unless the
        status is 0. After `timeout` seconds ctr is killed and subprocess.TimeoutExpired raised.
        """
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        if "input" not in run_options:
            options["stdin"] = subprocess.DEVNULL
        result = subprocess.run([*prefix, *self.ctr_argv(*args, namespace=namespace)], timeout=timeout,
                                env=self._environment, check=False, **{**options, **run_options})
        if check and result.returncode != 0:
            raise ContainerdError(f"ctr {' '.join(map(str, args))} ended with status "
                                  f"{result.returncode}: {str(result.stderr or '').strip()} "
                                  f"(containerd's log: {self.log_path})")
        return result

    def import_image(self, archive, namespace="default"):
        """Imports an OCI archive and unpacks it for every snapshotter that works here."""
        # From 1.7 on ctr leaves the import to containerd, which unpacks for its default alone.
        local = ["--local"] if "--local" in self.ctr("image", "import", "--help").stdout else []
        for snapshotter in self.snapshotters():
            self.ctr("image", "import", *local, "--snapshotter", snapshotter, archive,
                     namespace=namespace)

    def snapshotters(self):
        """Those of overlayfs and native that work in this directory, the preferred one first."""
        plugins = [line.split() for line in self.ctr("plugins", "ls").stdout.splitlines()]
        working = {fields[1] for fields in plugins
                   if fields and fields[0] == "io.containerd.snapshotter.v1" and fields[-1] == "ok"}
        return [name for name in ("overlayfs", "native") if name in working]

    def remove_all_tasks(self):
        """Kills and deletes every task and container of every namespace."""
        for namespace in self.ctr("namespaces", "ls", "-q").stdout.split():
            for task in self.ctr("tasks", "ls", "-q", namespace=namespace).stdout.split():
                # "tasks rm -f" sends SIGKILL, waits for the exit and deletes.
                self.ctr("tasks", "rm", "-f", task, namespace=namespace, check=False, timeout=30)
            for container in self.ctr("containers", "ls", "-q", namespace=namespace).stdout.split():
                self.ctr("containers", "rm", container, namespace=namespace, check=False)

    def log_tail(self, lines=LOG_TAIL_LINES):
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    # -- start -------------------------------------------------------------------------------------

    def _take_lock(self):
        lock = open(self.directory / "lock", "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ContainerdError(f"{self.directory} is in use by another private containerd; "
                                  "wait for its user to end") from None
        self._lock = lock

    def _end_leftover_instance(self):
        """What a SIGKILLed user of this directory left: its containerd. The sockets' directory is
        used again, because shims that live publish to the address they know."""
        record = self.directory / "instance.json"
        if not record.exists():
            return
        old = json.loads(record.read_text())
        self._socket_dir = Path(old["socket_dir"])
        try:
            pidfd = os.pidfd_open(old["pid"])
        except ProcessLookupError:
            return
        try:
            # A reused pid is told apart by the configuration that only our containerd has.
            arguments = Path(f"/proc/{old['pid']}/cmdline").read_bytes().split(b"\0")
            if str(self._config_path()).encode() in arguments:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                select.select([pidfd], [], [], STOP_TIMEOUT_S)
        except (ProcessLookupError, FileNotFoundError):
            pass
        finally:
            os.close(pidfd)

    def _launch(self):
        self._make_socket_dir()
        self._write_config()
        ready_socket = self._socket_dir / "notify"
        ready_socket.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, \
                open(self.log_path, "wb") as log:
            # containerd speaks systemd's readiness protocol: an event, where the socket file
            # would have to be polled for.
            ready.bind(str(ready_socket))
            self._process = subprocess.Popen(
                [*self._enter, self.binary, "--config", str(self._config_path())],
                env={**self._environment, "NOTIFY_SOCKET": str(ready_socket)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            self._record_instance()
            self._wait_ready(ready)
        ready_socket.unlink()

    def _wait_ready(self, ready):
        pidfd = os.pidfd_open(self._process.pid)
        try:
            readable, _, _ = select.select([ready, pidfd], [], [], START_TIMEOUT_S)
        finally:
            os.close(pidfd)
        if ready in readable and b"READY=1" in ready.recv(4096).split(b"\n"):
            return
        cause = (f"ended with status {self._process.wait()}" if readable
                 else f"was not ready after {START_TIMEOUT_S} s")
        raise ContainerdError(f"containerd {cause}; the end of {self.log_path}:\n{self.log_tail()}")

    def _make_socket_dir(self):
        if self._socket_dir and self._socket_dir.is_dir():
            return
        if len(str(self.directory / "containerd.sock.ttrpc").encode()) <= SOCKET_PATH_MAX_BYTES:
            self._socket_dir = self.directory
        else:
            self._socket_dir = Path(tempfile.mkdtemp(prefix="kata-test-", dir="/run"))

    def _config_path(self):
        return self.directory / "config.toml"

    def _write_config(self):
        # A JSON string is a TOML basic string.
        self._config_path().write_text(CONFIG.format(
            disabled="" if self._cri else '\n  "io.containerd.grpc.v1.cri",',
            root=json.dumps(str(self.directory / "root")),
            state=json.dumps(str(self.state)),
            opt=json.dumps(str(self.directory / "opt")),
            address=json.dumps(str(self.address)),
            ttrpc_address=json.dumps(f"{self.address}.ttrpc")) + self._extra_config)

    def _record_instance(self):
        (self.directory / "instance.json").write_text(
            json.dumps({"pid": self._process.pid, "socket_dir": str(self._socket_dir)}))

    # -- stop --------------------------------------------------------------------------------------

    def _stop_running(self):
        try:
            self.remove_all_tasks()
        except (ContainerdError, subprocess.TimeoutExpired):
            pass  # A containerd that does not answer is ended all the same.
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _remove_traces(self):
        self._unmount_below(self.directory)
        (self.directory / "instance.json").unlink(missing_ok=True)
        if not self._socket_dir:
            return
        if self._socket_dir == self.directory:
            for name in ("containerd.sock", "containerd.sock.ttrpc", "notify"):
                (self.directory / name).unlink(missing_ok=True)
        else:
            shutil.rmtree(self._socket_dir)
        self._socket_dir = None

    def _unmount_below(self, directory):
        libc = ctypes.CDLL(None, use_errno=True)
        mount_points = [line.split()[4].encode().decode("unicode_escape")
                        for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount_point in reversed(mount_points):
            if directory in Path(mount_point).parents:
                libc.umount2(os.fsencode(mount_point), MNT_DETACH)
