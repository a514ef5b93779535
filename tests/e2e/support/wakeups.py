"""Waits until something on the host has changed: a process ended, a mount, a directory, an event.

The caller looks at the host, finds it not yet as it should be, and waits here for the next change.
All sources are armed before the look, so that no change is missed.
"""

import ctypes
import os
import select

IN_MODIFY = 0x2
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_MOVE = 0xC0
IN_NONBLOCK = 0x800
IN_CLOEXEC = 0x80000

_libc = ctypes.CDLL(None, use_errno=True)


class Wakeups:
    """A context manager. watch_…() may be called again with what is watched already."""

    def __init__(self):
        self._poll = select.poll()
        self._inotify = _libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll.register(self._inotify, select.POLLIN)
        self._poll.register(self._mounts, select.POLLPRI)
        self._pidfds = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for fd in (self._inotify, self._mounts, *self._pidfds.values()):
            os.close(fd)

    def watch_process(self, pid):
        if pid in self._pidfds:
            return
        try:
            self._pidfds[pid] = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        self._poll.register(self._pidfds[pid], select.POLLIN)

    def watch_directory(self, directory):
        """Entries that come and go directly below `directory`, which need not exist."""
        _libc.inotify_add_watch(self._inotify, os.fsencode(directory),
                                IN_CREATE | IN_DELETE | IN_MOVE)

    def watch_file(self, path):
        """What is written to it."""
        _libc.inotify_add_watch(self._inotify, os.fsencode(path), IN_MODIFY)

    def watch_readable(self, fd):
        """The caller reads from `fd` before the next wait()."""
        self._poll.register(fd, select.POLLIN)

    def wait(self, seconds):
        """False when nothing happened within `seconds`."""
        ready = self._poll.poll(max(0, seconds) * 1000)
        for fd, _ in ready:
            if fd == self._inotify:
                os.read(fd, 65536)
            elif fd in self._pidfds.values():
                self._poll.unregister(fd)
        return bool(ready)
