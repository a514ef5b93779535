"""What a container's shim holds."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path


class NoShim(Exception):
    """No shim serves this container."""


@dataclass(frozen=True)
class Usage:
    descriptors: int
    threads: int
    rss_kb: int

    def to_json(self):
        return asdict(self)


def of_shim(container):
    return of_process(_shim_of(container))


def of_process(pid):
    process = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in process.joinpath("status").read_text().splitlines())
    return Usage(len(os.listdir(process / "fd")), int(status["Threads"]),
                 int(status["VmRSS"].split()[0]))


def _shim_of(container):
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            argv = entry.joinpath("cmdline").read_text(errors="replace").split("\0")
        except OSError:
            continue  # A process that has just ended.
        if "containerd-shim" in argv[0] and container in argv:
            return int(entry.name)
    raise NoShim(f"no process containerd-shim… with the argument {container}")
