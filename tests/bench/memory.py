"""What a pod's processes cost the host: proportional set sizes, and memory files of theirs (a guest's
RAM) as far as nobody has mapped them yet."""

import os
from dataclasses import dataclass
from pathlib import Path

# How /proc shows what memfd_create(2) has made.
MEMORY_FILE = "/memfd:"


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
    usages = [*filter(None, map(_usage, found)), _unmapped(found)]
    return sorted((usage for usage in usages if usage.pss_mb > 0), key=lambda usage: -usage.pss_mb)


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


def _unmapped(processes):
    """Pages of memory files are in no set size before somebody touches them by a mapping."""
    held_bytes, mapped_mb = {}, 0
    for process in processes:
        entry = Path("/proc") / str(process.pid)
        try:
            for fd in entry.joinpath("fd").iterdir():
                if os.readlink(fd).startswith(MEMORY_FILE):
                    file = fd.stat()
                    held_bytes[file.st_ino] = file.st_blocks * 512
            mapped_mb += mapped_memory_files_mb(entry.joinpath("smaps").read_text())
        except OSError:
            continue  # A process that has just ended.
    return Usage("memory files, not mapped", sum(held_bytes.values()) / 1e6 - mapped_mb, ())


def mapped_memory_files_mb(smaps):
    """Of one process: the proportional part of its mappings of memory files."""
    kib, counts = 0, False
    for line in smaps.splitlines():
        fields = line.split()
        if not fields[0].endswith(":"):
            counts = len(fields) > 5 and fields[5].startswith(MEMORY_FILE)
        elif counts and fields[0] == "Pss:":
            kib += int(fields[1])
    return kib * 1024 / 1e6


def pss_mb(smaps_rollup):
    kib = next((int(line.split()[1]) for line in smaps_rollup.splitlines()
                if line.startswith("Pss:")), 0)
    return kib * 1024 / 1e6
