"""What a pod's processes cost the host: proportional set sizes."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    program: str
    pss_mb: float
    argv: tuple


def processes_mentioning(*markers):
    """Every process with one of `markers` in an argument, largest first."""
    usages = [_usage(entry, markers) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return sorted(filter(None, usages), key=lambda usage: -usage.pss_mb)


def _usage(entry, markers):
    try:
        argv = tuple(entry.joinpath("cmdline").read_text(errors="replace").split("\0")[:-1])
        if not any(marker in argument for argument in argv for marker in markers):
            return None
        program = os.path.basename(os.readlink(entry / "exe"))
        rollup = entry.joinpath("smaps_rollup").read_text()
    except OSError:
        return None  # A process that has just ended.
    return Usage(program, pss_mb(rollup), argv)


def pss_mb(smaps_rollup):
    kib = next(int(line.split()[1]) for line in smaps_rollup.splitlines()
               if line.startswith("Pss:"))
    return kib * 1024 / 1e6
