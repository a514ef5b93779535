"""What a pod's processes cost the host: proportional set sizes."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    program: str
    pss_mb: float
    argv: tuple


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    argv: tuple


def processes_mentioning(*markers):
    """Every process with one of `markers` in an argument, and all that descend from one, largest
    first."""
    found = with_descendants(list(_running()), markers)
    return sorted(filter(None, map(_usage, found)), key=lambda usage: -usage.pss_mb)


def with_descendants(processes, markers):
    chosen = {process.pid for process in processes
              if any(marker in argument for argument in process.argv for marker in markers)}
    size = 0
    while len(chosen) != size:
        size = len(chosen)
        chosen |= {process.pid for process in processes if process.parent in chosen}
    return [process for process in processes if process.pid in chosen]


def _running():
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            argv = entry.joinpath("cmdline").read_text(errors="replace").split("\0")[:-1]
            # The name, in parentheses, can hold anything; state and parent follow it.
            parent = entry.joinpath("stat").read_text(errors="replace").rpartition(")")[2].split()[1]
        except OSError:
            continue  # A process that has just ended.
        yield Process(int(entry.name), int(parent), tuple(argv))


def _usage(process):
    entry = Path("/proc") / str(process.pid)
    try:
        program = os.path.basename(os.readlink(entry / "exe"))
        rollup = entry.joinpath("smaps_rollup").read_text()
    except OSError:
        return None  # A process that has just ended, or a zombie.
    return Usage(program, pss_mb(rollup), process.argv)


def pss_mb(smaps_rollup):
    kib = next((int(line.split()[1]) for line in smaps_rollup.splitlines()
                if line.startswith("Pss:")), 0)
    return kib * 1024 / 1e6
