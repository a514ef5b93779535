"""What a container may have left on the host.

Ours is what mentions this session: its directory (containerd's root, state and socket) or the
runtime's state root in a command line, an environment, a mount or a socket's name; its containerd
namespace in a cgroup; its containerd's objects. So other users of the machine do not disturb.
"""

import os
import shutil
import time
from pathlib import Path

from . import processes
from .client import NAMESPACE
from .wakeups import Wakeups

SHIM_SOCKETS = Path("/run/containerd/s")
NETNS_DIRECTORY = Path("/run/netns")
# A process gets its program's name by exec, which makes no event.
EXEC_RELOOK_S = 0.05


class LeakCheck:
    def __init__(self, directory, containerd, events, state_root, namespace=NAMESPACE):
        """directory: of the session; everything that it starts mentions a path below it or below
        the state root. namespace: containerd's."""
        self._directory = directory
        self._containerd = containerd
        self._events = events
        self._state_root = state_root
        self._namespace = namespace
        self._before = None
        self._spared = []

    def spare(self, containerd):
        """One that more tests than the one that is checked use."""
        self._spared.append(containerd)

    def begin(self):
        self._before = {directory: _entries(directory)
                        for directory in (SHIM_SOCKETS, NETNS_DIRECTORY)}

    def wait_clean(self, deadline_s):
        """What is left after `deadline_s`, each with its kind; empty as soon as nothing is."""
        end = time.monotonic() + deadline_s
        with Wakeups() as wakeups:
            wakeups.watch_readable(self._events.fileno())
            while True:
                self.watch(wakeups)
                left = self.leftovers()
                if not left or not wakeups.wait(end - time.monotonic()):
                    return left
                self._events.drain()

    def leftovers(self):
        found = {
            "process": self.processes(),
            "mount": self._mounts(),
            "listening socket": self._listening_sockets(),
            "socket that nobody serves": self._dead_shim_sockets(),
            "state directory": self._state_directories(),
            "network namespace": _entries(NETNS_DIRECTORY) - self._before[NETNS_DIRECTORY],
            "cgroup": self._cgroups(),
            "task": self._ctr("tasks", "ls", "-q"),
            "container": self._ctr("containers", "ls", "-q"),
            "snapshot": self._active_snapshots(),
        }
        return [f"{kind}: {item}" for kind, items in found.items() for item in items]

    def processes(self):
        """Ours, without the harness: shims, QEMU, virtiofsd, a container's, a ctr that was left."""
        harness = {os.getpid(), self._containerd.pid, self._events.pid,
                   *(containerd.pid for containerd in self._spared)}
        return [process for process in processes.mentioning(
            [self._directory, self._state_root], f"/{self._namespace}")
                if process.pid not in harness]

    def programs(self, name):
        """Those of processes() whose executable's name begins so."""
        return [process for process in self.processes() if process.program.startswith(name)]

    def only(self, name):
        found = self.programs(name)
        assert len(found) == 1, f"{name}: {found} among {self.processes()}"
        return found[0]

    def wait_for_start(self, name, deadline_s, expected=lambda: True):
        """Until one of programs(name) is there; False when it is not in time, or when `expected`
        says that it will not come any more."""
        end = time.monotonic() + deadline_s
        with Wakeups() as wakeups:
            while True:
                self.watch(wakeups)
                if self.programs(name):
                    return True
                if time.monotonic() >= end or not expected():
                    return False
                wakeups.wait(EXEC_RELOOK_S)

    def clean_by_force(self):
        """After a failed test, so that the next one starts clean."""
        self._containerd.remove_all_tasks()
        for process in self.processes():
            processes.kill(process)
            processes.wait_gone(process.pid, 10)
        for snapshotter in self._containerd.snapshotters():
            for key in self._active_snapshots(snapshotter):
                self._ctr("snapshots", "--snapshotter", snapshotter, "rm", key)
        for line in reversed(self._mounts()):
            os.system(f"umount --lazy '{line.split()[4]}'")
        for directory in self._state_directories():
            shutil.rmtree(directory, ignore_errors=True)
        self.remove_dead_shim_sockets()
        for cgroup in sorted(self._cgroups(), reverse=True):
            os.rmdir(cgroup)

    def remove_dead_shim_sockets(self):
        for socket in self._dead_shim_sockets():
            Path(socket).unlink(missing_ok=True)

    def watch(self, wakeups):
        """Wakes up when one of our processes ends or a directory of ours changes."""
        for process in self.processes():
            wakeups.watch_process(process.pid)
        for directory in (SHIM_SOCKETS, NETNS_DIRECTORY, self._directory, *self._state_parents(),
                          *self._state_directories(), *_namespace_cgroups(self._namespace)):
            wakeups.watch_directory(directory)

    # -- what is looked at -------------------------------------------------------------------------

    def _mounts(self):
        """Of the host and of every mount namespace that a process of ours lives in."""
        views = {os.readlink("/proc/self/ns/mnt"): "self"}
        for process in self.processes():
            try:
                views.setdefault(os.readlink(f"/proc/{process.pid}/ns/mnt"), process.pid)
            except OSError:
                continue
        lines = []
        for pid in views.values():
            try:
                text = Path(f"/proc/{pid}/mountinfo").read_text()
            except OSError:
                continue
            lines += [line for line in text.splitlines() if self._is_ours(line)]
        return lines

    def _is_ours(self, text):
        return any(f"{directory}/" in text for directory in (self._directory, self._state_root))

    def _listening_sockets(self):
        """Unix sockets with our directory in their name, also abstract ones, as in `ss -xl`."""
        own = {f"{containerd.address}{suffix}" for containerd in (self._containerd, *self._spared)
               if containerd.pid for suffix in ("", ".ttrpc")}
        return [name for name in _unix_socket_names()
                if self._is_ours(name) and name not in own]

    def _dead_shim_sockets(self):
        served = _unix_socket_names()
        return [name for name in _entries(SHIM_SOCKETS) - self._before[SHIM_SOCKETS]
                if name not in served]

    def _state_parents(self):
        bundles = f"io.containerd.runtime.v2.task/{self._namespace}"
        return (self._state_root, self._containerd.state / bundles,
                self._containerd.directory / "root" / bundles)

    def _state_directories(self):
        return sorted(entry for parent in self._state_parents() for entry in _entries(parent))

    def _cgroups(self):
        return sorted(directory for parent in _namespace_cgroups(self._namespace)
                      for directory, _, _ in os.walk(parent) if directory != parent)

    def _ctr(self, *args):
        return self._containerd.ctr(*args, namespace=self._namespace, check=False).stdout.split()

    def _active_snapshots(self, snapshotter=None):
        names = [snapshotter] if snapshotter else self._containerd.snapshotters()
        rows = [line.split() for name in names for line in self._containerd.ctr(
            "snapshots", "--snapshotter", name, "ls", namespace=self._namespace).stdout.splitlines()[1:]]
        return [row[0] for row in rows if row[-1] != "Committed"]


def _entries(directory):
    try:
        return {str(Path(directory) / name) for name in os.listdir(directory)}
    except FileNotFoundError:
        return set()


def _unix_socket_names():
    """Names of listening Unix sockets. /proc/net/unix: Num RefCount Protocol Flags Type St Inode
    Path; __SO_ACCEPTCON is 0x10000."""
    rows = [line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {row[7] for row in rows if len(row) == 8 and int(row[3], 16) & 0x10000}


def remove_namespace_cgroups(namespace=NAMESPACE):
    """At the end of the session: runc and containerd leave the parents."""
    for cgroup in _namespace_cgroups(namespace):
        os.rmdir(cgroup)


def _namespace_cgroups(namespace):
    """The session's parent cgroup in each hierarchy."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    parents = [f"{fields[1]}/{namespace}" for fields in mounts
               if fields[2] in ("cgroup", "cgroup2")]
    return [parent for parent in parents if os.path.isdir(parent)]
