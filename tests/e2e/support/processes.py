"""Processes of the host, told apart by what their command line, environment or cgroup mentions."""

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    pid: int
    argv: tuple
    program: str  # base name of the executable

    def __str__(self):
        return f"{self.pid} {' '.join(self.argv)[:300]}"


def running():
    """Every process that has a command line: neither kernel threads nor zombies."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (process := _read(int(entry))):
            yield process


def mentioning(markers, cgroup_prefix=None):
    """Processes with one of `markers` in their command line or environment, or in a cgroup below
    `cgroup_prefix`."""
    needles = [os.fsencode(str(marker)) for marker in markers]
    if cgroup_prefix:
        needles.append(os.fsencode(f":{cgroup_prefix}/"))
    return [process for process in running()
            if any(needle in text for needle in needles for text in _traces(process.pid))]


def wait_gone(pid, deadline_s):
    """Waits for the end of a process; TimeoutError when it lives on."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([pidfd], [], [], deadline_s)[0]:
            raise TimeoutError(f"process {pid} still runs after {deadline_s} s")
    finally:
        os.close(pidfd)


def kill(process):
    """SIGKILL, also to one that has just ended; answers the monotonic time of it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    return time.monotonic()


def _read(pid):
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes()
        if not argv:
            return None
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return None
    return Process(pid, tuple(os.fsdecode(part) for part in argv.split(b"\0")[:-1]),
                   program.removesuffix(" (deleted)"))


def _traces(pid):
    for name in ("cmdline", "environ", "cgroup"):
        try:
            yield Path(f"/proc/{pid}/{name}").read_bytes()
        except OSError:
            continue
